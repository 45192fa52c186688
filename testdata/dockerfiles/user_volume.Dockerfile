FROM redis:7
USER redis:redis
VOLUME ["/data", "/backup"]
WORKDIR data
STOPSIGNAL 9
CMD ["redis-server", "--appendonly", "yes"]

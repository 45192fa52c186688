FROM nginx:1.27-alpine
LABEL maintainer="web@example.org"
LABEL org.opencontainers.image.title="site" org.opencontainers.image.vendor="example"
COPY nginx.conf /etc/nginx/nginx.conf
COPY dist/ /usr/share/nginx/html/
VOLUME /var/cache/nginx
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=30s --timeout=3s CMD wget -q -O /dev/null http://localhost/ || exit 1
EXPOSE 80 443

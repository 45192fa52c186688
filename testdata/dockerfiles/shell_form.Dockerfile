FROM alpine
SHELL ["/bin/sh", "-eo", "pipefail", "-c"]
RUN echo hello | tee /greeting
RUN [ -f /greeting ] && cat /greeting
ENTRYPOINT exec top -b
CMD ["-d", "1"]

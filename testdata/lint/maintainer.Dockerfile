FROM scratch
MAINTAINER me@example.org
LABEL org.opencontainers.image.authors="me@example.org"

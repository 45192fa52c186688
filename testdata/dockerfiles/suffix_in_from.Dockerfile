ARG TAG=v1.2
FROM example/base:${TAG#v}
RUN true

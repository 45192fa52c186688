ARG tag=latest
ARG EMPTY
FROM --platform=$TARGETPLATFORM busybox:${tag}${version} AS a
FROM $EMPTY AS b
FROM --platform=linux/arm64 busybox AS c
FROM --platform=linux/arm64 busybox AS for-arm64
FROM --platform=$BULIDPLATFORM busybox

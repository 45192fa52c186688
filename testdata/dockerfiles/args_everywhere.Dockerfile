ARG BASE=alpine:3.20
FROM $BASE
ARG USER_ID=1000
ARG GROUP_ID
ARG NAME="a name"
RUN addgroup -g "$GROUP_ID" app && adduser -D -u "$USER_ID" -G app app
USER app
WORKDIR /home/app

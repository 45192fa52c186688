FROM alpine
RUN ["/bin/sh", "-c", "echo \"quoted\""]
RUN ["apk", "add", "git"]
CMD []

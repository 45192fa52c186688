FROM --platform=$BUILDPLATFORM golang:1.22 AS build
ARG TARGETOS
ARG TARGETARCH
COPY . /src
RUN cd /src && GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /bin/app .
FROM --platform=linux/amd64 alpine:3.20
COPY --from=build /bin/app /bin/app
ENTRYPOINT ["/bin/app"]

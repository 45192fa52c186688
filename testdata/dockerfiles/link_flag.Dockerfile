FROM alpine AS one
FROM alpine
COPY --link --from=one /etc/os-release /one

# The program's own image: one static program, and the authorities that it trusts. Made by `.ci/release`, by itself:
#
#   locus-push build -f Dockerfiles/locus-push.Dockerfile --build-context program=DIR --build-context roots=DIR …
#
# `docker run --rm -v "$PWD:/here" -w /here locus-push build .` builds what has no RUN; what has some needs a container
# whose root it may be, which it is.
FROM scratch
COPY --from=program --chmod=755 locus-push /usr/bin/locus-push
COPY --from=roots --chmod=644 ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# What is kept between builds; a volume there keeps it between containers.
ENV LOCUS_PUSH_HOME=/var/cache/locus-push
ENTRYPOINT ["/usr/bin/locus-push"]

# An example loader. With Docker Hub in reach:   locus-push --local Dockerfiles/hello_loader.Dockerfile
# With package registries only:                  Dockerfiles/try
FROM busybox

WORKDIR /loader
COPY Dockerfiles/hello_loader ./

# What a build can do once, no task need do again.
RUN tail -n +2 places.csv | sort -t, -k2,2 > places.sorted && rm places.csv

ENV GREETING="Hello"
CMD ["sh", "hello_loader.sh"]

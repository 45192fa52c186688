FROM scratch AS a
WORKDIR app
WORKDIR src
FROM a
WORKDIR more
FROM scratch
WORKDIR /app
WORKDIR src

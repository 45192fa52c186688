FROM ghcr.io/osgeo/gdal:ubuntu-small-3.9.0
ENV PGSSLMODE=require
RUN apt-get -y update && \
    apt-get -y install postgresql-client unzip
COPY places.csv load.sh /loader/
RUN chmod +x /loader/load.sh
WORKDIR /loader
ENTRYPOINT ["./load.sh"]
CMD ["places.csv"]

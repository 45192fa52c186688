FROM postgres:16
ENV POSTGRES_USER=app \
    POSTGRES_DB=app \
    PGDATA=/var/lib/postgresql/data/pgdata
COPY init/*.sql /docker-entrypoint-initdb.d/
EXPOSE 5432

# PostgreSQL with Tagtrail's settings; role and database are made at the first start.
#   docker build -f infra/postgres.Dockerfile .
ARG POSTGRES_IMAGE=postgres:18

FROM ${POSTGRES_IMAGE}
COPY infra/postgresql.conf /etc/tagtrail/postgresql.conf
COPY infra/postgres-role.sql /docker-entrypoint-initdb.d/10-tagtrail.sql
# By name: the official image's number differs between its Debian and Alpine variants.
USER postgres
CMD ["postgres", "-c", "config_file=/etc/tagtrail/postgresql.conf"]

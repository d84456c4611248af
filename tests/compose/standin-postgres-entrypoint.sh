#!/bin/sh
# Stands in for the entrypoint of the official PostgreSQL image, for the variables that
# docker-compose.yml sets: makes the cluster on an empty volume, runs the scripts of
# /docker-entrypoint-initdb.d by the socket only, then becomes the server.
set -eu
[ "${1:-}" = postgres ] || exec "$@"

initialise() {
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    # shellcheck disable=SC2086 # several options in one variable, as the official image has it
    initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \
        ${POSTGRES_INITDB_ARGS:-} >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    shift
    pg_ctl --pgdata="$PGDATA" --wait --silent --options="$* -c listen_addresses=" start
    as_admin() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" "$@"; }
    as_admin --dbname=postgres --command="CREATE DATABASE \"$POSTGRES_DB\""
    for script in /docker-entrypoint-initdb.d/*.sql; do
        as_admin --dbname="$POSTGRES_DB" --file="$script"
    done
    pg_ctl --pgdata="$PGDATA" --wait --silent --mode=fast stop
}

[ -s "$PGDATA/PG_VERSION" ] || initialise "$@"
exec "$@"

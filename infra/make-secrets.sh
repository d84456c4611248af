#!/bin/sh
# Write random secrets for docker-compose.yml into infra/secrets (or into a folder that is named).
# What is there stays as it is: delete a file to renew it, then see docs/deployment.md.
#
# The folder is closed to other users (mode 700). The files inside can be read by anybody who can
# reach them (mode 444), since the containers' users, who are not root and not you, get exactly
# the files that they are given.
set -eu
umask 077
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-$here/secrets}
mkdir -p "$folder"
chmod 700 "$folder"

random_hex() { # bytes
    od -An -vtx1 -N "$1" /dev/urandom | tr -d ' \n'
}

keep() { # file, content: written once, and never half
    if [ ! -e "$folder/$1" ]; then
        printf '%s\n' "$2" >"$folder/$1.new"
        chmod 444 "$folder/$1.new"
        mv "$folder/$1.new" "$folder/$1"
        echo "made $folder/$1"
    fi
}

keep postgres_password "$(random_hex 32)"
keep database_password "$(random_hex 32)"
keep broker_password "$(random_hex 32)"
keep gateway_password "$(random_hex 16)"
keep service_key "tt_$(random_hex 6)_$(random_hex 32)"
keep channel_secret "$(random_hex 32)"
keep slack_webhook_url ""

# Derived from the ones above, so made anew each time.
derive() {
    rm -f "$folder/$1"
    printf '%s\n' "$2" >"$folder/$1"
    chmod 444 "$folder/$1"
}
database=$(cat "$folder/database_password")
broker=$(cat "$folder/broker_password")
gateway=$(cat "$folder/gateway_password")
derive database_url "postgresql://tagtrail:$database@postgres:5432/tagtrail"
derive nats_url "nats://tagtrail:$broker@nats:4222"
derive mqtt_url "mqtt://tagtrail:$broker@nats:1883"
derive nats_passwords "service_password: \"$broker\"
gateway_password: \"$gateway\""
echo "gateways sign in to MQTT as user 'gateway' with the password in $folder/gateway_password"

# NATS with JetStream and the MQTT listener, Tagtrail's settings and a health check.
#   docker build -f infra/nats.Dockerfile .
# The official image holds one program and no shell, so that program is put on the Python base that
# the services use anyway: the health check can then ask the server how it is.
ARG NATS_IMAGE=nats:2.15
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${NATS_IMAGE} AS nats

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10002 nats \
    && useradd --uid 10002 --gid 10002 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin nats \
    && mkdir --mode=700 /data && chown 10002:10002 /data
COPY --from=nats /nats-server /usr/local/bin/nats-server
COPY infra/healthcheck.py /usr/local/bin/healthcheck
COPY infra/nats.conf /etc/tagtrail/nats.conf
VOLUME /data
EXPOSE 4222 1883
USER 10002:10002
ENTRYPOINT ["nats-server"]
CMD ["-c", "/etc/tagtrail/nats.conf"]

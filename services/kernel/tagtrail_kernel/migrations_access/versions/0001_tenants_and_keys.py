"""Tenants, keys, sign-in codes, idempotency."""

from __future__ import annotations

from alembic import op

revision = "access_0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = """
create table access.tenant (
    log_id integer generated always as identity primary key check (log_id >= 1),
    slug text not null unique,
    name text not null,
    created_at timestamptz not null default now()
);
create table access.api_key (
    key_id text primary key,
    log_id integer references access.tenant (log_id),
    name text not null,
    role text not null,
    secret_hash bytea not null,
    gateway_id text,
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null
);
create index api_key_log on access.api_key (log_id);
create table access.sign_in_code (
    code_hash bytea primary key,
    log_id integer not null references access.tenant (log_id),
    role text not null,
    expires_at timestamptz not null
);
create table access.idempotency (
    log_id integer not null,
    route text not null,
    key text not null,
    request_hash bytea not null,
    created_at timestamptz not null,
    status integer,
    body bytea,
    primary key (log_id, route, key)
);
create index idempotency_created on access.idempotency (created_at);
"""


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)

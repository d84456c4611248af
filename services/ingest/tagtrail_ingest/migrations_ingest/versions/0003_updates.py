"""Updates of the agent: what gateways run, what was put out, and the wheels."""

from alembic import op

from tagtrail_kernel.migrations import run_sql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    run_sql(
        """
create table ingest.gateway_version (
    log_id integer not null,
    gateway_id text not null,
    version text not null,
    told_at timestamptz not null,
    update_state text,
    update_version text,
    refused_version text,
    refused text,
    healthy_since timestamptz,
    primary key (log_id, gateway_id)
);
create table ingest.agent_update (
    log_id integer not null,
    update_id text not null,
    published jsonb not null,
    published_at timestamptz not null,
    stage text not null check (stage in ('canary', 'everyone', 'stopped')),
    canaries text[] not null,
    cause text,
    gateway_id text,
    primary key (log_id, update_id)
);
create table ingest.artefact (
    log_id integer not null,
    sha256 bytea not null check (octet_length(sha256) = 32),
    content bytea not null,
    made_at timestamptz not null,
    primary key (log_id, sha256)
);
comment on table ingest.artefact is
    'Wheels of the agent that gateways fetch; the log has their hashes, not their bytes.';
"""
    )

"""Quarantine, hourly tallies, consumers."""

from alembic import op

from tagtrail_kernel.migrations import consumer_table_sql, run_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    run_sql(
        """
create table ingest.quarantine (
    log_id integer not null,
    quarantine_id bigint generated always as identity,
    digest bytea not null,
    adapter text,
    topic text,
    route text,
    site_id text,
    gateway_id text,
    content_type text,
    payload bytea not null,
    reason text not null,
    detail text not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    count bigint not null default 1,
    redriven_at timestamptz,
    redriven_events integer,
    primary key (log_id, quarantine_id),
    unique (log_id, digest)
);
create index quarantine_open on ingest.quarantine (log_id, quarantine_id) where redriven_at is null;
create table ingest.tally (
    log_id integer not null,
    hour timestamptz not null,
    adapter text not null,
    outcome text not null,
    count bigint not null,
    primary key (log_id, hour, adapter, outcome)
);
"""
        + consumer_table_sql("ingest")
    )

"""Partners' clouds: where to ask from next, and how they are."""

from alembic import op

from tagtrail_kernel.migrations import run_sql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    run_sql(
        """
create table ingest.partner (
    log_id integer not null,
    name text not null,
    cursor text,
    last_success_at timestamptz,
    failing_since timestamptz,
    failures integer not null default 0,
    error text,
    retry_at timestamptz,
    pages bigint not null default 0,
    sightings bigint not null default 0,
    primary key (log_id, name)
);
comment on table ingest.partner is
    'Partners'' clouds that are asked for sightings; the cursor moves after the page is in the log.';
"""
    )

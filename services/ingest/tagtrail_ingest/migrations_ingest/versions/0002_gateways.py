"""One-time codes of gateways, and the keys that sign what is pushed to them."""

from alembic import op

from tagtrail_kernel.migrations import run_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    run_sql(
        """
create table ingest.enrolment_code (
    code_hash bytea primary key check (octet_length(code_hash) = 32),
    log_id integer not null,
    gateway_id text not null,
    made_by text not null,
    made_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz
);
create table ingest.signing_key (
    log_id integer primary key,
    seed bytea not null check (octet_length(seed) = 32),
    made_at timestamptz not null
);
comment on table ingest.signing_key is
    'Ed25519 seeds; gateways pin the public key when they are enrolled, so never replace one.';
"""
    )

"""Whether a gateway that tells a version is an enrolled agent, which takes updates."""

from alembic import op

from tagtrail_kernel.migrations import run_sql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    run_sql(
        "alter table ingest.gateway_version add column takes_updates boolean not null default false"
    )

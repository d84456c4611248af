"""The log: batches, events, receipts, the append function, roles and triggers."""

from tagtrail_kernel.migrations import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script("tagtrail_ingest.migrations", "sql/0001_log.sql")


def downgrade() -> None:
    raise NotImplementedError("the log is append-only; restore a backup instead")

"""Erasure: bodies that go by a recorded order, with every proof left as it is."""

from alembic import op

from tagtrail_kernel.migrations import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    run_script("tagtrail_ingest.migrations", "sql/0002_erasure.sql")


def downgrade() -> None:
    raise NotImplementedError("the log is append-only; restore a backup instead")

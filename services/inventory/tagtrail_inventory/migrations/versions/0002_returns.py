"""Whether an asset is here because it came back."""

from __future__ import annotations

from tagtrail_kernel.migrations import run_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RETURNS = "alter table inventory.place_now add column returned boolean not null default false;"


def upgrade() -> None:
    """Add the column; the rebuild that the new version asks for fills it."""
    run_sql(RETURNS)


def downgrade() -> None:
    """Drop what a rebuild can make again."""
    raise NotImplementedError("drop schema inventory and start the service: it is rebuilt")

"""Whose word a place is, where it is not one's own."""

from __future__ import annotations

from tagtrail_kernel.migrations import run_sql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SOURCE_CLASS = """
alter table locate.place add column source_class text;
comment on column locate.place.source_class is
    'Class of the source that decided, if it is a partner or strangers; null for one''s own.';
"""


def upgrade() -> None:
    """Add the column; a rebuild fills it."""
    run_sql(SOURCE_CLASS)


def downgrade() -> None:
    """Drop what a rebuild can make again."""
    raise NotImplementedError("drop schema locate and start the service: it is rebuilt")

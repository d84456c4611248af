"""The radius that holds a tag with 95 % probability, beside the accuracy."""

from __future__ import annotations

from tagtrail_kernel.migrations import run_sql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RADIUS = """
alter table locate.place add column radius_95_m double precision;
alter table locate.place_history add column radius_95_m double precision;
comment on column locate.place.radius_95_m is
    'Radius around x, y that holds the tag with 95 % probability, metres.';
comment on column locate.place_history.radius_95_m is
    'Radius around x, y that held the tag with 95 % probability, metres.';
"""


def upgrade() -> None:
    """Add the columns; a rebuild fills them."""
    run_sql(RADIUS)


def downgrade() -> None:
    """Drop what a rebuild can make again."""
    raise NotImplementedError("drop schema locate and start the service: it is rebuilt")

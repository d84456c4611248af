"""Why tags are silent, beside that they are."""

from __future__ import annotations

from tagtrail_kernel.migrations import run_sql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SILENCES = """
alter table locate.presence add column cause text;
alter table locate.presence add column gone_probability double precision;
alter table locate.presence add column lost boolean not null default false;
alter table locate.presence add column look_first text[] not null default '{}';
comment on column locate.presence.cause is
    'Most probable reason of the silence; null while the tag is present.';
comment on column locate.presence.gone_probability is
    'Probability that the tag is gone from its place; null while it is present.';
comment on column locate.presence.lost is
    'Whether it has been missing for so long that nobody need wait for it.';
comment on column locate.presence.look_first is
    'Zones in the order in which to look for it.';
"""


def upgrade() -> None:
    """Add the columns; a rebuild fills them."""
    run_sql(SILENCES)


def downgrade() -> None:
    """Drop what a rebuild can make again."""
    raise NotImplementedError("drop schema locate and start the service: it is rebuilt")

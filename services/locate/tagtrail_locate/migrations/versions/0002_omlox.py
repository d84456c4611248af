"""Objects of the omlox face: zones, fences, providers, trackables, and who carries what."""

from __future__ import annotations

from tagtrail_kernel.migrations import run_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OMLOX = """
create table locate.omlox_object (
    log_id integer not null,
    kind text not null check (kind in ('zone', 'fence', 'provider', 'trackable')),
    own_id text not null, omlox_id text not null, fact text, facts jsonb,
    document jsonb, position bigint not null,
    primary key (log_id, kind, own_id)
);
create index omlox_object_id on locate.omlox_object (log_id, kind, omlox_id);
comment on table locate.omlox_object is
    'What omlox calls our sites, read points, zones, tags and assets; document is as a client gave it.';

create table locate.omlox_binding (
    log_id integer not null, tag_id text not null, asset_id text not null,
    position bigint not null,
    primary key (log_id, tag_id)
);
create index omlox_binding_asset on locate.omlox_binding (log_id, asset_id, tag_id);
comment on table locate.omlox_binding is 'Tag on asset, the latest of each tag.';
"""


def upgrade() -> None:
    """Make the tables."""
    run_sql(OMLOX)


def downgrade() -> None:
    """Drop what a rebuild can make again."""
    raise NotImplementedError("drop schema locate and start the service: it is rebuilt")

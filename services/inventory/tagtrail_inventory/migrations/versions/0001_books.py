"""Registry, facts with two clocks, current state, imports."""

from __future__ import annotations

from tagtrail_kernel.migrations import consumer_table_sql, run_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BOOKS = """
create table inventory.registration (
    log_id integer not null, kind text not null, id text not null, site_id text,
    retired boolean not null, body jsonb not null, event_id uuid not null,
    occurred_at timestamptz not null, position bigint not null, first_position bigint not null,
    primary key (log_id, kind, id)
);
create index registration_site on inventory.registration (log_id, kind, site_id, id);
comment on table inventory.registration is
    'What exists: the last registration of each site, zone, gateway, tag, asset, SKU, setting.';

create table inventory.identity (
    log_id integer not null, identity text not null, tag_id text not null, position bigint not null,
    primary key (log_id, identity)
);
create index identity_tag on inventory.identity (log_id, tag_id);

create table inventory.conflict (
    log_id integer not null, position bigint not null, kind text not null, subject text not null,
    claimed text not null, held_by text, occurred_at timestamptz not null, event_id uuid not null,
    primary key (log_id, position, kind, subject, claimed)
);
comment on table inventory.conflict is 'Claims that contradict what was known when they came.';

create table inventory.binding (
    log_id integer not null, tag_id text not null, occurred_at timestamptz not null,
    position bigint not null, asset_id text, event_id uuid not null,
    primary key (log_id, tag_id, occurred_at, position)
);
create index binding_asset on inventory.binding (log_id, asset_id, tag_id, occurred_at, position);
comment on table inventory.binding is
    'From occurred_at to the next row of the tag it is on asset_id (null: on none), as known from position on.';

create table inventory.placement (
    log_id integer not null, tag_id text not null, occurred_at timestamptz not null,
    position bigint not null, zone_id text, site_id text, method text not null,
    confidence double precision, event_id uuid not null, latest_at timestamptz not null,
    primary key (log_id, tag_id, occurred_at, position)
);
create index placement_position on inventory.placement (log_id, position) include (latest_at);
comment on column inventory.placement.latest_at is
    'Greatest occurred_at up to this position: bounds a search for what was known then.';

create table inventory.custody (
    log_id integer not null, asset_id text not null, occurred_at timestamptz not null,
    position bigint not null, state text not null, shipment_id text, event_id uuid not null,
    primary key (log_id, asset_id, occurred_at, position)
);

create table inventory.shipment (
    log_id integer not null, shipment_id text not null, state text not null,
    asset_ids jsonb not null, document text, ship_to text, planned_at timestamptz,
    departed_at timestamptz, delivered_at timestamptz, event_id uuid not null,
    position bigint not null,
    primary key (log_id, shipment_id)
);

create table inventory.content (
    log_id integer not null, asset_id text not null, sku text not null, lot text not null,
    occurred_at timestamptz not null, position bigint not null, known_position bigint not null,
    kind text not null, amount bigint not null, quantity bigint not null check (quantity >= 0),
    verified bigint not null, short bigint not null, cause text not null, other text,
    event_id uuid not null, latest_at timestamptz not null,
    check (verified between 0 and quantity),
    primary key (log_id, asset_id, sku, lot, occurred_at, position, known_position)
);
create index content_known on inventory.content (log_id, known_position) include (latest_at);
create index content_sku on inventory.content (log_id, sku, asset_id);
comment on table inventory.content is
    'Ledger: each change of a line with the balance after it, stated again where a late fact changed it.';

create table inventory.counting (
    log_id integer not null, asset_id text not null, occurred_at timestamptz not null,
    position bigint not null, counted_by text, reason text, event_id uuid not null,
    primary key (log_id, asset_id, occurred_at, position)
);

create table inventory.discrepancy (
    log_id integer not null, position bigint not null, asset_id text not null, sku text not null,
    lot text not null, kind text not null, expected bigint not null, found bigint not null,
    occurred_at timestamptz not null, event_id uuid not null,
    primary key (log_id, position, asset_id, sku, lot)
);
create index discrepancy_asset on inventory.discrepancy (log_id, asset_id, position);

create table inventory.content_now (
    log_id integer not null, asset_id text not null, sku text not null, lot text not null,
    quantity bigint not null, verified bigint not null, position bigint not null,
    primary key (log_id, asset_id, sku, lot)
);
create index content_now_sku on inventory.content_now (log_id, sku, asset_id);

create table inventory.place_now (
    log_id integer not null, asset_id text not null, zone_id text, site_id text,
    custody text not null, tag_id text, on_asset boolean not null, since_at timestamptz,
    method text, confidence double precision, zone_at timestamptz, zone_event_id uuid,
    binding_event_id uuid, custody_event_id uuid, shipment_id text,
    primary key (log_id, asset_id)
);
create index place_now_zone on inventory.place_now (log_id, zone_id, asset_id);

create table inventory.tag_now (
    log_id integer not null, tag_id text not null, asset_id text, bound_at timestamptz,
    zone_id text, site_id text, zone_at timestamptz, zone_event_id uuid,
    primary key (log_id, tag_id)
);
create index tag_now_asset on inventory.tag_now (log_id, asset_id);

create table inventory.presence (
    log_id integer not null, tag_id text not null, state text, changed_at timestamptz,
    changed_position bigint, last_seen_at timestamptz not null,
    primary key (log_id, tag_id)
);

create table inventory.import_run (
    log_id integer not null, import_id uuid not null, kind text not null, state text not null
        check (state in ('checked', 'applying', 'applied', 'undoing', 'undone')),
    created_at timestamptz not null, by_key text not null, text bytea not null,
    report jsonb not null, steps jsonb not null, applied_position bigint, undone_position bigint,
    hash_before text, hash_after text, hash_undone text,
    primary key (log_id, import_id)
);
comment on table inventory.import_run is 'Imports with what they changed, so that they can be undone.';
"""


def upgrade() -> None:
    """Make the tables."""
    run_sql(consumer_table_sql("inventory"))
    run_sql(BOOKS)


def downgrade() -> None:
    """Drop what a rebuild can make again."""
    raise NotImplementedError("drop schema inventory and start the service: it is rebuilt")

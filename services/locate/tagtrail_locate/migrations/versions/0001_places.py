"""Latest places, their history, presence, gateways, and the memory's snapshot."""

from __future__ import annotations

from tagtrail_kernel.migrations import consumer_table_sql, run_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PLACES = """
create table locate.place (
    log_id integer not null, tag_id text not null, site_id text, zone_id text,
    since_at timestamptz, floor double precision, x_m double precision, y_m double precision,
    accuracy_m double precision, method text, confidence double precision, presence text not null,
    last_heard_at timestamptz not null, gateway_id text, configuration bigint not null,
    position bigint not null, event_id uuid not null,
    primary key (log_id, tag_id)
);
create index place_position on locate.place (log_id, position);
create index place_zone on locate.place (log_id, zone_id, tag_id);
create index place_site on locate.place (log_id, site_id, tag_id);
comment on table locate.place is 'Latest place of each tag; position is of the event that wrote it.';

create table locate.place_history (
    log_id integer not null, tag_id text not null, position bigint not null,
    occurred_at timestamptz not null, zone_id text, from_zone_id text, site_id text,
    method text not null, confidence double precision, x_m double precision, y_m double precision,
    accuracy_m double precision, reason text not null, candidate_since_at timestamptz not null,
    configuration bigint not null, evidence uuid[] not null, event_id uuid not null,
    primary key (log_id, tag_id, position)
);
create index place_history_time on locate.place_history (log_id, tag_id, occurred_at, position);
comment on table locate.place_history is 'Confirmed changes of zone; event_id is of the derived fact.';

create table locate.presence (
    log_id integer not null, tag_id text not null,
    state text not null check (state in ('present', 'overdue', 'missing', 'unobservable')),
    since_at timestamptz not null, last_heard_at timestamptz not null,
    silent_s double precision not null, observed_s double precision not null,
    expected_interval_s double precision not null, learned boolean not null,
    zone_id text, site_id text, gateway_ids text[] not null, position bigint not null,
    primary key (log_id, tag_id)
);
comment on table locate.presence is 'Last change of presence; a tag without a row has always been present.';

create table locate.gateway (
    log_id integer not null, gateway_id text not null, site_id text, registered boolean not null,
    zone_id text, last_heard_at timestamptz, alive_since_at timestamptz,
    last_sighting_at timestamptz, sightings_per_min integer not null, tags_heard integer not null,
    sightings bigint not null, online boolean, clock_ahead_s double precision,
    position bigint not null,
    primary key (log_id, gateway_id)
);
comment on table locate.gateway is 'How each gateway is, in event time; written every few seconds of it.';

create table locate.snapshot (
    log_id integer not null, position bigint not null, memory bytea not null,
    primary key (log_id)
);
comment on table locate.snapshot is 'The memory at a position that only the log decides.';
"""


def upgrade() -> None:
    """Make the tables."""
    run_sql(consumer_table_sql("locate"))
    run_sql(PLACES)


def downgrade() -> None:
    """Drop what a rebuild can make again."""
    raise NotImplementedError("drop schema locate and start the service: it is rebuilt")

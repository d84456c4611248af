"""What the rules remember, alerts, and the outbox of chat messages."""

from __future__ import annotations

from tagtrail_kernel.migrations import consumer_table_sql, run_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PROJECTION = """
create table alerts.memory (
    log_id integer not null, kind text not null, key text not null, body jsonb not null,
    primary key (log_id, kind, key)
);
comment on table alerts.memory is 'What the rules know of the world, by kind of thing.';

create table alerts.rule_setting (
    log_id integer not null, rule_id text not null, version integer not null,
    values jsonb not null, position bigint not null, error text,
    primary key (log_id, rule_id)
);
comment on table alerts.rule_setting is 'Parameters that differ from the defaults.';

create table alerts.expectation (
    log_id integer not null, alert_id text not null, rule_id text not null, key text not null,
    state text not null, decide_at timestamptz not null, body jsonb not null,
    primary key (log_id, alert_id)
);
create index expectation_due on alerts.expectation (log_id, decide_at) where state = 'waiting';
comment on table alerts.expectation is 'What must happen before a deadline, or an alert fires.';

create table alerts.alert (
    log_id integer not null, alert_id text not null, rule_id text not null,
    rule_version text not null, state text not null
        check (state in ('open', 'acknowledged', 'resolved')),
    severity text not null, title text not null, site_id text, zone_id text, asset_id text,
    tag_id text, since_at timestamptz, fired_at timestamptz not null,
    fired_recorded_at timestamptz not null, fired_position bigint not null,
    fired_event_id uuid not null, acknowledged_at timestamptz, acknowledged_by text, note text,
    acknowledged_event_id uuid, resolved_at timestamptz, resolved_by text, cause text,
    resolved_event_id uuid, changed_position bigint not null, body jsonb not null,
    primary key (log_id, alert_id)
);
create index alert_newest on alerts.alert (log_id, fired_position desc);
create index alert_state on alerts.alert (log_id, state, fired_position desc);
create index alert_changed on alerts.alert (log_id, changed_position);
"""

DELIVERY = """
create table alerts.channel (
    log_id integer not null, channel_id text not null, kind text not null check (kind in ('slack')),
    address_sealed bytea not null, host text not null, enabled boolean not null,
    updated_at timestamptz not null, updated_by text not null,
    primary key (log_id, channel_id)
);
comment on column alerts.channel.address_sealed is 'AES-256-GCM of the address; it is a secret.';

create table alerts.pace (
    log_id integer not null, channel_id text not null, next_at timestamptz not null,
    primary key (log_id, channel_id)
);
comment on table alerts.pace is 'When a channel may be used again: rate limit and Retry-After.';

create table alerts.outbox (
    log_id integer not null, outbox_id bigint generated always as identity,
    channel_id text not null, dedup_key text not null, alert_id text not null,
    phase text not null check (phase in ('fired', 'resolved')),
    group_key text not null, card jsonb not null,
    state text not null default 'queued'
        check (state in ('queued', 'sending', 'sent', 'dead', 'superseded')),
    attempts integer not null default 0, ambiguous boolean not null default false,
    created_at timestamptz not null, next_at timestamptz not null, message_id uuid,
    sending_at timestamptz, done_at timestamptz, reason text,
    primary key (log_id, outbox_id),
    unique (log_id, dedup_key)
);
create index outbox_unsent on alerts.outbox (log_id, channel_id, group_key, next_at)
    where state in ('queued', 'sending');
create index outbox_alert on alerts.outbox (log_id, alert_id);
create index outbox_message on alerts.outbox (log_id, message_id);
comment on table alerts.outbox is
    'Messages to people; written with the alert in one transaction. Not rebuilt from the log.';
"""


def upgrade() -> None:
    run_sql(consumer_table_sql("alerts"))
    run_sql(PROJECTION)
    run_sql(DELIVERY)


def downgrade() -> None:
    raise NotImplementedError("drop the schema and rebuild it from the log instead")

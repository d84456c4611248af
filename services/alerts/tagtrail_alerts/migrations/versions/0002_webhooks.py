"""Webhooks: a second kind of channel, with signing secrets; letters for programs in the outbox."""

from __future__ import annotations

from tagtrail_kernel.migrations import run_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CHANNEL = """
alter table alerts.channel drop constraint channel_kind_check;
alter table alerts.channel add constraint channel_kind_check check (kind in ('slack', 'webhook'));
alter table alerts.channel add column secrets_sealed bytea;
alter table alerts.channel add column previous_until timestamptz;
alter table alerts.channel add column disabled_reason text;
comment on column alerts.channel.secrets_sealed is
    'AES-256-GCM of the signing secrets and their ends, newest first; null for kinds that do not sign.';
comment on column alerts.channel.previous_until is 'Until when an earlier secret signs as well.';
comment on column alerts.channel.disabled_reason is 'Why the service switched the channel off itself.';
"""

OUTBOX = """
alter table alerts.outbox add column kind text not null default 'slack';
alter table alerts.outbox add column order_key text;
alter table alerts.outbox add column event_id uuid;
alter table alerts.outbox add column letter text;
create index outbox_order on alerts.outbox (log_id, channel_id, order_key, outbox_id)
    where state in ('queued', 'sending');
comment on column alerts.outbox.order_key is
    'A row waits while an earlier one of its channel and key is unsent; null: no order.';
comment on column alerts.outbox.letter is 'Body of a webhook, byte for byte as it is signed.';
"""


def upgrade() -> None:
    run_sql(CHANNEL)
    run_sql(OUTBOX)


def downgrade() -> None:
    raise NotImplementedError("drop the schema and rebuild it from the log instead")

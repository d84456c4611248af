"""Facts about gateways. `subject` of the envelope is the gateway id."""

from __future__ import annotations

from typing import Any, Literal

from tagtrail_kernel.events.registry import Event, Family, event
from tagtrail_kernel.events.sightings import Aware, Id, Text


@event("gateway.reported", version=1, family=Family.GATEWAY)
class GatewayReported(Event, frozen=True, kw_only=True):
    """A gateway told its state: connection, telemetry, or an echoed setting.

    Attributes:
        gateway_id: The gateway, as it names itself.
        kind: `status` (online or offline, also a last will), `telemetry` (health figures),
            `setting` (an echoed configuration value) or `sync` (a message to other gateways).
        adapter: Name of the wire format.
        online: Connection state, where the message says it.
        retained: Whether the broker replayed it from its store: state, not news.
        values: The figures as sent.
        site_id: Site by topic or route.
        gateway_sent_at: The gateway's clock.
        received_at: When ingest took the message from the wire.
    """

    gateway_id: Id
    kind: Literal["status", "telemetry", "setting", "sync"]
    adapter: Text | None = None
    online: bool | None = None
    retained: bool = False
    values: dict[str, Any] | None = None
    site_id: Id | None = None
    gateway_sent_at: Aware | None = None
    received_at: Aware | None = None


@event("gateway.enrolled", version=1, family=Family.REGISTRY)
class GatewayEnrolled(Event, frozen=True, kw_only=True):
    """A machine redeemed a one-time code and is this gateway from now on.

    Attributes:
        gateway_id: The gateway.
        key_id: Public part of the key that it was given.
        agent_version: Version of the agent, as it says itself.
    """

    gateway_id: Id
    key_id: Text
    agent_version: Text | None = None


@event("gateway.configured", version=1, family=Family.REGISTRY)
class GatewayConfigured(Event, frozen=True, kw_only=True):
    """Somebody decided how a gateway filters and reports; replaces what was decided before.

    Attributes:
        gateway_id: The gateway; `_` stands for all gateways that have no decision of their own.
        settings: What may be set from afar: `heartbeat_s`, `ranges`, `update`.
        rules: Rules of the edge filter and of local alarms, as the agent documents them.
    """

    gateway_id: Id
    settings: dict[str, Any] | None = None
    rules: dict[str, Any] | None = None

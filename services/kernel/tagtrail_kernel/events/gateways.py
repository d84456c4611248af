"""Facts about gateways. `subject` of the envelope is the gateway id."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

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
        settings: What may be set from afar: `heartbeat_s`, `ranges`.
        rules: Rules of the edge filter and of local alarms, as the agent documents them.
    """

    gateway_id: Id
    settings: dict[str, Any] | None = None
    rules: dict[str, Any] | None = None


@event("update.published", version=1, family=Family.REGISTRY)
class UpdatePublished(Event, frozen=True, kw_only=True):
    """Somebody put a new version of the agent out, to a few gateways at first.

    It takes the place of an update before. `subject` of the envelope is the update's id.

    Attributes:
        update_id: The update.
        version: Version of the agent, numbers with dots.
        manifest: As the release key signed it: `payload` and `signature`, base64.
        sha256: Of the wheel, 64 hexadecimal digits.
        canaries: Gateways that take it first.
        soak_s: How long all of them must work with it before the rest follows, seconds.
        within_s: When it is stopped if they do not, seconds after this fact was recorded.
        by: Public part of the key that published it.
    """

    update_id: Id
    version: Text
    manifest: dict[str, str]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    canaries: tuple[Id, ...]
    soak_s: Annotated[float, Meta(ge=0)] = 0.0
    within_s: Annotated[float, Meta(gt=0)] = 86_400.0
    by: Text | None = None


@event("update.extended", version=1, family=Family.REGISTRY)
class UpdateExtended(Event, frozen=True, kw_only=True):
    """All other gateways may take an update as well.

    Attributes:
        update_id: The update.
        version: Version of the agent.
        by: Public part of the key of whoever did not wait; None = the first ones have proved it.
    """

    update_id: Id
    version: Text
    by: Text | None = None


@event("update.stopped", version=1, family=Family.REGISTRY)
class UpdateStopped(Event, frozen=True, kw_only=True):
    """No further gateway takes an update; those that work with it keep it.

    Attributes:
        update_id: The update.
        version: Version of the agent.
        cause: Why, for people.
        gateway_id: The gateway that it failed at, if it was that.
        by: Public part of the key of whoever stopped it; None = it stopped by itself.
    """

    update_id: Id
    version: Text
    cause: Text
    gateway_id: Id | None = None
    by: Text | None = None

"""Which gateways run what, and how an update goes on: a pure fold of the log.

Times are those at which the log recorded what a gateway said, so a gateway's wrong clock decides
nothing, and a replay decides the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from tagtrail_kernel.events.gateways import (
    GatewayReported,
    UpdateExtended,
    UpdatePublished,
    UpdateStopped,
)
from tagtrail_kernel.events.registrations import GatewayRetired
from tagtrail_kernel.events.registry import Event

Stage = Literal["canary", "everyone", "stopped"]
Standing = Literal["waiting", "trying", "healthy", "failed", "not asked"]

MOST_TEXT: Final = 300
"""Longest text that is kept of what a gateway says."""


@dataclass(slots=True)
class Told:
    """What a gateway said of its version last.

    Attributes:
        version: The agent that runs.
        told_at: When it said so, by the log.
        update_state: `trying`, `good` or `rolled_back`; None = it never took one.
        update_version: What that is about.
        refused_version: Version that it does not take.
        refused: Why.
        healthy_since: Since when it has worked with the version of the update; None = it does not.
        takes_updates: Whether it is an enrolled agent, which reads its configuration here.
    """

    version: str
    told_at: datetime
    update_state: str | None = None
    update_version: str | None = None
    refused_version: str | None = None
    refused: str | None = None
    healthy_since: datetime | None = None
    takes_updates: bool = False


@dataclass(slots=True)
class Campaign:
    """An update that was put out.

    Attributes:
        published: The fact.
        published_at: When it was recorded.
        stage: How far it may go.
        canaries: Gateways that take it first.
        cause: Why it was stopped.
        gateway_id: The gateway that it failed at.
    """

    published: UpdatePublished
    published_at: datetime
    stage: Stage
    canaries: tuple[str, ...]
    cause: str | None = None
    gateway_id: str | None = None

    def is_for(self, gateway_id: str) -> bool:
        """Return whether a gateway may take it."""
        return self.stage == "everyone" or (self.stage == "canary" and gateway_id in self.canaries)


@dataclass(slots=True)
class Fleet:
    """The gateways of one tenant that run the agent, and the update that counts.

    Attributes:
        told: What each gateway that tells a version said last.
        campaign: The last update that was put out.
    """

    told: dict[str, Told] = field(default_factory=dict)
    campaign: Campaign | None = None

    def take(self, data: Event, at: datetime) -> UpdateExtended | UpdateStopped | None:
        """Fold a fact.

        Args:
            data: The fact.
            at: When it was recorded.

        Returns:
            What follows from it for the update; it holds already.
        """
        match data:
            case GatewayReported():
                self._reported(data, at)
                return self._decided(data.gateway_id, at)
            case GatewayRetired():
                self.told.pop(data.gateway_id, None)
                return self._without(data.gateway_id)
            case UpdatePublished():
                self.campaign = Campaign(data, at, "canary", data.canaries)
                for told in self.told.values():
                    told.healthy_since = None
            case UpdateExtended() if self._is_open(data.update_id):
                self._extend()
            case UpdateStopped() if self._is_open(data.update_id):
                self._stop(data.cause, data.gateway_id)
            case _:
                pass
        return None

    def _is_open(self, update_id: str) -> bool:
        campaign = self.campaign
        return (
            campaign is not None
            and campaign.published.update_id == update_id
            and campaign.stage != "stopped"
        )

    def _reported(self, data: GatewayReported, at: datetime) -> None:
        """Note what a gateway says of its version; what the broker only replays is no news."""
        if data.retained:
            return
        before = self.told.get(data.gateway_id)
        if data.online is False:
            if before is not None:
                before.healthy_since = None
            return
        values: Mapping[str, Any] = data.values or {}
        version = _text(values, "version")
        if data.adapter != "native" or version is None:
            return
        told = Told(
            version=version,
            told_at=at,
            update_state=_text(values, "update_state"),
            update_version=_text(values, "update_version"),
            refused_version=_text(values, "update_refused_version"),
            refused=_text(values, "update_refused"),
            takes_updates=type(values.get("config_revision")) is int,
        )
        if self.campaign is not None and _works(told, self.campaign.published.version):
            since = before.healthy_since if before is not None else None
            told.healthy_since = since or at
        self.told[data.gateway_id] = told

    def _decided(self, gateway_id: str, at: datetime) -> UpdateExtended | UpdateStopped | None:
        campaign = self.campaign
        if campaign is None or campaign.stage == "stopped":
            return None
        told = self.told.get(gateway_id)
        if told is not None and campaign.is_for(gateway_id):
            fault = _fault(told, campaign.published.version)
            if fault is not None:
                return self._stop(f"{gateway_id} {fault}", gateway_id)
        if campaign.stage == "canary":
            return self._canaries_decide(campaign, at)
        return None

    def _canaries_decide(
        self, campaign: Campaign, at: datetime
    ) -> UpdateExtended | UpdateStopped | None:
        published = campaign.published
        late = [g for g in campaign.canaries if not self._has_proved(g, published.soak_s)]
        if not late:
            return self._extend()
        if at - campaign.published_at > timedelta(seconds=published.within_s):
            hours = published.within_s / 3600
            cause = f"{late[0]} has not proved {published.version} within {hours:g} h"
            return self._stop(cause, late[0])
        return None

    def _has_proved(self, gateway_id: str, soak_s: float) -> bool:
        told = self.told.get(gateway_id)
        if told is None or told.healthy_since is None:
            return False
        return told.told_at - told.healthy_since >= timedelta(seconds=soak_s)

    def _without(self, gateway_id: str) -> UpdateStopped | None:
        """Go on without a gateway that is no longer there."""
        campaign = self.campaign
        if campaign is None or gateway_id not in campaign.canaries:
            return None
        campaign.canaries = tuple(g for g in campaign.canaries if g != gateway_id)
        if campaign.stage == "canary" and not campaign.canaries:
            return self._stop("the gateways that were to prove it are retired", None)
        return None

    def _extend(self) -> UpdateExtended:
        assert self.campaign is not None  # noqa: S101 - the callers have looked
        self.campaign.stage = "everyone"
        published = self.campaign.published
        return UpdateExtended(update_id=published.update_id, version=published.version)

    def _stop(self, cause: str, gateway_id: str | None) -> UpdateStopped:
        assert self.campaign is not None  # noqa: S101 - the callers have looked
        campaign, published, cause = self.campaign, self.campaign.published, cause[:MOST_TEXT]
        campaign.stage, campaign.cause, campaign.gateway_id = "stopped", cause, gateway_id
        return UpdateStopped(
            update_id=published.update_id,
            version=published.version,
            cause=cause,
            gateway_id=gateway_id,
        )


def standing_of(told: Told | None, campaign: Campaign, gateway_id: str) -> Standing:
    """Return how a gateway stands to an update."""
    version = campaign.published.version
    if told is not None and _works(told, version):
        return "healthy"
    if told is not None and _fault(told, version) is not None:
        return "failed"
    if told is not None and (told.update_state, told.update_version) == ("trying", version):
        return "trying"
    return "waiting" if campaign.is_for(gateway_id) else "not asked"


def _works(told: Told, version: str) -> bool:
    """Return whether a gateway runs a version and is past its trial."""
    return told.version == version and told.update_state != "trying"


def _fault(told: Told, version: str) -> str | None:
    """Return what went wrong with a version, after the gateway's name."""
    if (told.update_state, told.update_version) == ("rolled_back", version):
        return f"took {version} back: it did not work there"
    if told.refused_version == version:
        return f"does not take {version}: {told.refused or 'it does not say why'}"
    return None


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return value[:MOST_TEXT] if isinstance(value, str) and value else None

"""What the routes of updates take and answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from tagtrail_ingest.updates.campaign import Campaign, Fleet, Stage, Standing, Told, standing_of
from tagtrail_ingest.updates.manifest import is_older


class SignedManifest(BaseModel):
    """A manifest as the release key signed it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    payload: str = Field(max_length=8000, description="Base64 of the JSON that was signed.")
    signature: str = Field(max_length=200, description="Base64 of the Ed25519 signature.")


class NewUpdate(BaseModel):
    """A version to put out."""

    model_config = ConfigDict(strict=True, extra="forbid")

    manifest: SignedManifest
    wheel: str = Field(max_length=8_000_000, description="Base64 of the wheel.")
    canaries: list[str] = Field(
        default_factory=list, max_length=500, description="Gateways that take it first."
    )
    canary_pct: float = Field(
        10.0, gt=0, le=100,
        description="If no canaries are named: so many percent of the gateways that would be "
        "updated, at least one.",
    )  # fmt: skip
    soak_minutes: float = Field(
        60.0, ge=0, le=43_200,
        description="So long all canaries must work with it before the others follow.",
    )  # fmt: skip
    within_hours: float = Field(
        24.0, gt=0, le=8760, description="It is stopped if the canaries need longer."
    )


class StopUpdate(BaseModel):
    """Why an update is stopped."""

    model_config = ConfigDict(strict=True, extra="forbid")

    cause: str = Field(min_length=1, max_length=300)


class GatewayVersion(BaseModel):
    """What a gateway runs, as it said last."""

    gateway_id: str
    version: str | None = None
    told_at: datetime | None = None
    update_state: str | None = None
    update_version: str | None = None
    refused: str | None = None
    takes_updates: bool = Field(
        default=False,
        description="Whether it is an enrolled agent, which reads its configuration here.",
    )


class VersionList(BaseModel):
    """Gateways that tell a version."""

    items: list[GatewayVersion]


class GatewayInUpdate(GatewayVersion):
    """How a gateway stands to an update."""

    canary: bool
    standing: Standing


class UpdateSummary(BaseModel):
    """An update that was put out."""

    update_id: str
    version: str
    stage: Stage = Field(description="Who may take it: canary, everyone, or nobody (stopped).")
    published_at: datetime
    canaries: list[str]
    soak_minutes: float
    within_hours: float
    cause: str | None = Field(None, description="Why it was stopped.")
    gateway_id: str | None = Field(None, description="The gateway that it failed at.")


class UpdateList(BaseModel):
    """Updates, the last one first."""

    items: list[UpdateSummary]


class UpdateState(UpdateSummary):
    """The last update with its gateways."""

    done: bool = Field(description="Whether every gateway that takes updates has it.")
    gateways: list[GatewayInUpdate]


class PublishedUpdate(BaseModel):
    """An update as it was put out."""

    update_id: str
    version: str
    canaries: list[str]
    revision: int = Field(description="Where the decision stands in the log.")


class DecidedUpdate(BaseModel):
    """A decision about an update."""

    update_id: str
    version: str
    revision: int = Field(description="Where the decision stands in the log.")


def summary_of(campaign: Campaign) -> UpdateSummary:
    """Return an update for people."""
    published = campaign.published
    return UpdateSummary(
        update_id=published.update_id,
        version=published.version,
        stage=campaign.stage,
        published_at=campaign.published_at,
        canaries=list(campaign.canaries),
        soak_minutes=published.soak_s / 60,
        within_hours=published.within_s / 3600,
        cause=campaign.cause,
        gateway_id=campaign.gateway_id,
    )


def state_of(campaign: Campaign, fleet: Fleet) -> UpdateState:
    """Return the last update with its gateways: those that take updates, and the canaries."""
    gateways = [
        GatewayInUpdate(
            **version_of(gateway_id, fleet.told.get(gateway_id)).model_dump(),
            canary=gateway_id in campaign.canaries,
            standing=standing_of(fleet.told.get(gateway_id), campaign, gateway_id),
        )
        for gateway_id in sorted(
            {*campaign.canaries, *(g for g, told in fleet.told.items() if told.takes_updates)}
        )
    ]
    done = bool(gateways) and all(g.standing == "healthy" for g in gateways)
    return UpdateState(**summary_of(campaign).model_dump(), done=done, gateways=gateways)


def version_of(gateway_id: str, told: Told | None) -> GatewayVersion:
    """Return what a gateway said of its version."""
    if told is None:
        return GatewayVersion(gateway_id=gateway_id)
    return GatewayVersion(
        gateway_id=gateway_id,
        version=told.version,
        told_at=told.told_at,
        update_state=told.update_state,
        update_version=told.update_version,
        refused=told.refused,
        takes_updates=told.takes_updates,
    )


def versions_of(fleet: Fleet, below: str | None) -> VersionList:
    """Return what the gateways run; only what is older than `below`, if that is given."""
    told: Iterable[tuple[str, Told]] = sorted(fleet.told.items())
    return VersionList(
        items=[
            version_of(g, t) for g, t in told if below is None or is_older(t.version, than=below)
        ]
    )

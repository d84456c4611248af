"""Bodies of requests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Body(BaseModel):
    """Base of all bodies: unknown members are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class AcknowledgeBody(Body):
    """Somebody takes an alert on."""

    note: str | None = Field(default=None, max_length=500, description="What they say.")


class ResolveBody(Body):
    """Somebody closes an alert."""

    cause: str = Field(
        min_length=1,
        max_length=500,
        description="Why it is over; a short word first makes rules comparable.",
        examples=["found: POD was in the driver's cab"],
    )


class RuleBody(Body):
    """New parameters of a rule."""

    parameters: dict[str, Any] = Field(
        description="The whole new parameters; what is left out gets its default.",
        examples=[{"grace_s": 1800, "asset_kinds": ["pallet"]}],
    )


class BacktestBody(Body):
    """A rule to run over history."""

    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Parameters to try; what is left out gets its default.",
        examples=[{"grace_s": 900}],
    )
    from_position: int = Field(
        default=1, ge=1, description="First position whose alerts are reported."
    )
    to_position: int | None = Field(
        None, ge=1, description="Last position that is read; by default the end of the log."
    )


class ChannelBody(Body):
    """A channel."""

    kind: Literal["slack", "webhook"] = Field(
        default="slack",
        description="What it speaks: cards for people in Slack, or signed JSON for a program.",
    )
    url: SecretStr = Field(description="Its address: a secret, shown to nobody afterwards.")
    enabled: bool = Field(default=True, description="Whether alerts go there.")


class RotateBody(Body):
    """A change of a webhook's signing secret."""

    overlap_s: float = Field(
        default=86_400.0,
        ge=0,
        le=2_592_000,
        description="How long the present secret signs as well, seconds; 0 ends it at once.",
    )

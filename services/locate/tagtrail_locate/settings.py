"""Settings of locate. What decides places is configuration in the log, not a setting."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LocateSettings(BaseSettings):
    """What locate can be told."""

    model_config = SettingsConfigDict(env_prefix="TAGTRAIL_LOCATE_", frozen=True, extra="ignore")

    chunk_events: int = Field(
        4000, ge=1, le=10_000,
        description="Events folded before other work of the process gets its turn.",
    )  # fmt: skip
    stream_interval_s: float = Field(
        0.25, ge=0.05, le=10,
        description="Time between two looks of a place stream, seconds; bounds its rate per tag.",
    )  # fmt: skip
    stream_keepalive_s: float = Field(
        10.0,
        ge=1,
        le=60,
        description="Silence of a place stream before a comment is sent, seconds.",
    )
    gateway_silent_s: float = Field(
        60.0, ge=1, le=86_400,
        description="Silence after which a gateway's health is shown as silent, seconds.",
    )  # fmt: skip

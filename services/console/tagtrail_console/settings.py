"""Settings of the console."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ConsoleSettings(BaseSettings):
    """How people sign in, and how the console reaches the services."""

    model_config = SettingsConfigDict(
        env_prefix="TAGTRAIL_CONSOLE_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    session_h: float = Field(
        12.0, gt=0, le=168, description="Time after which a person signs in again, hours."
    )
    public_url: str = Field(
        "",
        description="Address that browsers use, https://host, where a reverse proxy changes the Host header.",
    )
    upstream_timeout_s: float = Field(
        20.0, gt=0, le=300, description="Longest wait for a service's answer, seconds."
    )

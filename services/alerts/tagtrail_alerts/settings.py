"""Settings of alerts."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class AlertsSettings(BaseSettings):
    """How alerts decides about time, and how it tells people."""

    model_config = SettingsConfigDict(env_prefix="TAGTRAIL_ALERTS_", frozen=True, extra="ignore")

    slack_webhook_url: SecretStr = Field(
        SecretStr(""),
        description="Slack incoming webhook that gets the cards of tenant `slack_log_id`; a "
        "secret, give it by TAGTRAIL_ALERTS_SLACK_WEBHOOK_URL_FILE. Empty: no such channel.",
    )
    slack_log_id: int = Field(
        1, ge=1, description="Log id of the tenant whose alerts go to `slack_webhook_url`."
    )
    channel_secret: SecretStr = Field(
        SecretStr(""),
        description="Secret that seals the addresses of channels set by the API; at least 16 "
        "characters. Empty: the API refuses to store addresses.",
    )
    allow_loopback: bool = Field(
        False,
        description="Whether a channel may be on this machine, also by plain http; for tests and "
        "local relays. Private networks are refused always.",
    )
    console_url: str = Field(
        "http://127.0.0.1:8080", description="Address of the console, for the links of cards."
    )
    tick_s: float = Field(
        1.0, gt=0, le=60, description="Seconds between looks at deadlines by the wall clock."
    )
    group_wait_s: float = Field(
        5.0,
        ge=0,
        le=600,
        description="Seconds that a first card waits for more of the same rule and site; an alert "
        "that is over by then is not told.",
    )
    send_interval_s: float = Field(
        1.0, ge=0, description="Least seconds between two messages of one channel (Slack: 1)."
    )
    send_timeout_s: float = Field(
        10.0, gt=0, le=20, description="Seconds to wait for a channel's answer."
    )
    max_attempts: int = Field(
        8, ge=1, le=100, description="Tries before a message is a dead letter; 429 does not count."
    )
    backoff_first_s: float = Field(
        1.0, gt=0, description="Wait after the first failure, seconds; doubles with each."
    )
    backoff_max_s: float = Field(300.0, gt=0, description="Longest wait between tries, seconds.")
    jitter_seed: int = Field(
        0, ge=0, description="Seed of the waits' jitter; 0 takes another one in every process."
    )
    notify_max_age_s: float = Field(
        21_600.0,
        gt=0,
        description="Alerts that would have fired longer ago than this, seconds, are kept but not "
        "told: the first run over old history shall not flood a channel.",
    )
    poll_s: float = Field(
        0.5, gt=0, le=10, description="Seconds between looks at the outbox and for the live stream."
    )

"""Settings of ingest."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class IngestSettings(BaseSettings):
    """How ingest takes and appends."""

    model_config = SettingsConfigDict(env_prefix="TAGTRAIL_INGEST_", frozen=True, extra="ignore")

    writer: str = Field(default="ingest", description="Name written into the log's batch rows.")
    tenant: str = Field(
        default="default", description="Slug of the tenant that the MQTT broker belongs to."
    )
    mqtt_client_id: str = Field(
        default="tagtrail-ingest",
        description="MQTT client id of the persistent session; shared by replicas.",
    )
    mqtt_ca_file: str = Field(
        default="",
        description="File of certificates (PEM) by whose authority an mqtts:// broker is trusted; empty = "
        "the system's.",
    )
    mqtt_filters: str = Field(
        default="#",
        description="Comma-separated topic filters to subscribe to; `rules` subscribes to the topic "
        "rules' own filters. One wide filter is right for nats-server (docs/adr/0005).",
    )
    topic_rules: str = Field(
        default="[]",
        description='JSON list of own topic rules, [{"pattern": "plant/+/ble", "adapter": "minew", '
        '"site_id": "north"}], asked before the built-in ones.',
    )
    max_items: int = Field(
        default=5000, ge=1, le=50_000, description="Most sightings in one request."
    )
    inflight_appends: int = Field(
        default=2,
        ge=1,
        le=8,
        description="Appends under way at once per log; two overlap encoding and commit.",
    )
    redelivery_window_s: float = Field(
        default=120.0, ge=5, description="Seconds in which the same bytes on the same topic, redelivered by "
        "the broker, are the same message; after an outage they count from its begin.",
    )  # fmt: skip
    mqtt_queue_bytes: int = Field(
        default=33_554_432, ge=65_536, description="Bytes of MQTT messages waiting for their commit before "
        "reading from the broker pauses.",
    )  # fmt: skip
    relay: bool = Field(
        default=True,
        description="Whether confirmed events go out on tagtrail/v1/<site>/events/<type>.",
    )
    gateway_mqtt_url: str = Field(
        default="",
        description="Where enrolled gateways publish, mqtts://user:password@host:port as they reach "
        "it; empty = they send by HTTP.",
    )
    partners: str = Field(
        default="[]",
        description='JSON list of partners\' clouds that may be asked for sightings, [{"name": "acme", '
        '"url": "https://…", "token": "…", "tenant": "default", "timeout_s": 10, "first_wait_s": 5, "longest_wait_s": 900}]; '
        "none is asked before the tenant enables it with an agreement (POST /v1/config/partner.<name>).",
    )
    release_key: str = Field(
        default="",
        description="Ed25519 key, base64, of whoever signs versions of the agent; gateways get it when "
        "they are enrolled. Empty = they take no updates unless their own file names a key.",
    )

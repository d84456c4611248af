"""Settings from the environment: one frozen class per service, all documented in docs/settings.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tagtrail_kernel.errors import TagtrailError

S = TypeVar("S", bound=BaseSettings)


class SettingsError(TagtrailError):
    """A setting is missing or wrong; the message names the variable."""


class KernelSettings(BaseSettings):
    """What every process needs. Empty addresses mean: start the embedded servers."""

    model_config = SettingsConfigDict(env_prefix="TAGTRAIL_", frozen=True, extra="ignore")

    database_url: str = Field(
        default="", description="PostgreSQL address, postgresql://user:password@host:port/database."
    )
    nats_url: str = Field(
        default="", description="NATS address for the fan-out, nats://user:password@host:port."
    )
    mqtt_url: str = Field(
        default="", description="MQTT 3.1.1 broker, mqtt://user:password@host:port."
    )
    home: str = Field(
        default="", description="Folder of the embedded servers' data, keys and logs."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8080, ge=0, le=65535, description="Port of the all-in-one process; 0 = any."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR."
    )
    migrate: bool = Field(
        default=True, description="Whether to bring the database's schemas up to date at start."
    )
    service_key: str = Field(
        default="", description="Key that the services use towards each other when they run apart."
    )
    ingest_url: str = Field(
        default="", description="Address of ingest, for services that run apart."
    )
    locate_url: str = Field(default="", description="Address of locate, for the console.")
    inventory_url: str = Field(default="", description="Address of inventory, for the console.")
    alerts_url: str = Field(default="", description="Address of alerts, for the console.")
    max_body_bytes: int = Field(
        default=8_388_608, ge=1024, description="Largest request body, bytes."
    )
    requests_per_s: float = Field(
        default=500.0,
        gt=0,
        description="Requests per second that one key may make, averaged over 10 s.",
    )
    database_connections: int = Field(
        default=6, ge=2, le=50, description="Most database connections of one service."
    )


def load(cls: type[S]) -> S:
    """Read a settings class from the environment.

    A variable NAME_FILE gives the path of a file that holds NAME's value, for secrets.

    Raises:
        SettingsError: a value does not fit, or NAME and NAME_FILE are both set. The message names
            each variable, and never holds a value: it may be a secret.
    """
    prefix = str(cls.model_config.get("env_prefix") or "")
    from_files: dict[str, Any] = {}
    for name in cls.model_fields:
        variable = f"{prefix}{name}".upper()
        path = os.environ.get(f"{variable}_FILE")
        if path:
            if os.environ.get(variable):
                raise SettingsError(f"set {variable} or {variable}_FILE, not both")
            try:
                from_files[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"{variable}_FILE: cannot read {path}: {error}") from error
    try:
        return cls(**from_files)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(
                f"{prefix}{'_'.join(str(p) for p in e['loc'])}".upper() + f": {e['msg']}"
                for e in error.errors(include_input=False, include_url=False, include_context=False)
            )
            + "; docs/settings.md lists them all"
        ) from None

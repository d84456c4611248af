"""Which channels a tenant has, and their addresses, which are secrets.

An address is shown to nobody once it is stored: answers name its host only. In the table it is
sealed by AES-256-GCM; the key comes from a setting, never from the database.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.database import Connection, Database
from tagtrail_kernel.errors import ConflictError, NotFoundError

CONFIGURED: Final = "default"
"""Id of the channel that the settings give."""

MIN_SECRET: Final = 16


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel, without its address.

    Attributes:
        channel_id: Its id in the tenant.
        kind: What it speaks.
        host: Host of its address.
        enabled: Whether alerts go there.
        by_settings: Whether the settings gave it; the API cannot change it then.
    """

    channel_id: str
    kind: Literal["slack"]
    host: str
    enabled: bool
    by_settings: bool


class Channels:
    """The channels of all tenants."""

    def __init__(self, database: Database, settings: AlertsSettings) -> None:
        self._database = database
        self._settings = settings

    def _configured(self, log_id: int) -> str | None:
        url = self._settings.slack_webhook_url.get_secret_value()
        return url if url and log_id == self._settings.slack_log_id else None

    async def enabled_ids(self, tx: Connection, log_id: int) -> list[str]:
        """Return the channels that alerts of a tenant go to."""
        rows = await tx.fetch(
            "select channel_id from channel where log_id = $1 and enabled order by channel_id",
            log_id,
        )
        configured = [CONFIGURED] if self._configured(log_id) is not None else []
        return configured + [row["channel_id"] for row in rows]

    async def all(self, log_id: int) -> list[Channel]:
        """Return a tenant's channels."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "select channel_id, kind, host, enabled from channel where log_id = $1 "
                "order by channel_id",
                log_id,
            )
        channels = [
            Channel(r["channel_id"], r["kind"], r["host"], r["enabled"], by_settings=False)
            for r in rows
        ]
        url = self._configured(log_id)
        if url is not None:
            host = urlsplit(url).hostname or ""
            channels.insert(0, Channel(CONFIGURED, "slack", host, enabled=True, by_settings=True))
        return channels

    async def put(
        self,
        log_id: int,
        channel_id: str,
        *,
        url: str,
        host: str,
        enabled: bool,
        by: str,
        at: datetime,
    ) -> Channel:
        """Store a channel; its address must have been judged.

        Raises:
            ConflictError: the id is the settings' own, or there is no secret to seal with.
        """
        if channel_id == CONFIGURED:
            raise ConflictError(
                f"the channel {CONFIGURED!r} is the one of TAGTRAIL_ALERTS_SLACK_WEBHOOK_URL; "
                "take another id"
            )
        sealed = self._seal(log_id, channel_id, url)
        async with self._database.connection() as connection:
            await connection.execute(
                "insert into channel (log_id, channel_id, kind, address_sealed, host, enabled, "
                "updated_at, updated_by) values ($1, $2, 'slack', $3, $4, $5, $6, $7) "
                "on conflict (log_id, channel_id) do update set address_sealed = "
                "excluded.address_sealed, host = excluded.host, enabled = excluded.enabled, "
                "updated_at = excluded.updated_at, updated_by = excluded.updated_by",
                log_id, channel_id, sealed, host, enabled, at, by,
            )  # fmt: skip
        return Channel(channel_id, "slack", host, enabled, by_settings=False)

    async def remove(self, log_id: int, channel_id: str) -> None:
        """Remove a channel; its unsent messages become dead letters.

        Raises:
            NotFoundError: there is none in the table.
        """
        async with self._database.connection() as connection:
            gone = await connection.fetchval(
                "delete from channel where log_id = $1 and channel_id = $2 returning channel_id",
                log_id, channel_id,
            )  # fmt: skip
        if gone is None:
            raise NotFoundError(f"no channel {channel_id} was set by the API")

    async def address(self, log_id: int, channel_id: str) -> str:
        """Return a channel's address, for sending.

        Raises:
            NotFoundError: there is no such channel, or it is switched off.
            ConflictError: the address cannot be unsealed with today's secret.
        """
        configured = self._configured(log_id)
        if channel_id == CONFIGURED and configured is not None:
            return configured
        async with self._database.connection() as connection:
            sealed = await connection.fetchval(
                "select address_sealed from channel "
                "where log_id = $1 and channel_id = $2 and enabled",
                log_id, channel_id,
            )  # fmt: skip
        if sealed is None:
            raise NotFoundError(f"channel {channel_id} does not exist or is switched off")
        return self._open(log_id, channel_id, sealed)

    def _cipher(self) -> AESGCM:
        secret = self._settings.channel_secret.get_secret_value()
        if len(secret) < MIN_SECRET:
            raise ConflictError(
                f"set TAGTRAIL_ALERTS_CHANNEL_SECRET_FILE to a file with at least {MIN_SECRET} "
                "random characters first: the addresses of channels are stored sealed"
            )
        return AESGCM(hashlib.sha256(b"tagtrail channel address\x00" + secret.encode()).digest())

    def _seal(self, log_id: int, channel_id: str, url: str) -> bytes:
        nonce = secrets.token_bytes(12)
        bound = f"{log_id}/{channel_id}".encode()
        return nonce + self._cipher().encrypt(nonce, url.encode(), bound)

    def _open(self, log_id: int, channel_id: str, sealed: bytes) -> str:
        bound = f"{log_id}/{channel_id}".encode()
        try:
            return self._cipher().decrypt(sealed[:12], sealed[12:], bound).decode()
        except InvalidTag as error:
            raise ConflictError(
                f"the address of channel {channel_id} was sealed with another secret; set it again"
            ) from error

"""Which channels a tenant has, with their addresses and signing secrets.

Both are shown to nobody once they are stored: answers name an address's host only, and a signing
secret is in the one answer that made it. In the table both are sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tagtrail_alerts.channels import webhook
from tagtrail_alerts.channels.contract import Kind
from tagtrail_alerts.channels.sealing import Sealer
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.database import Connection, Database
from tagtrail_kernel.errors import ConflictError, NotFoundError

CONFIGURED: Final = "default"
"""Id of the channel that the settings give."""

MOST_SECRETS: Final = 5
"""Secrets that sign at once; each makes the header longer."""

_COLUMNS: Final = "channel_id, kind, host, enabled, previous_until, disabled_reason"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel, without its address.

    Attributes:
        channel_id: Its id in the tenant.
        kind: What it speaks.
        host: Host of its address.
        enabled: Whether alerts go there.
        by_settings: Whether the settings gave it; the API cannot change it then.
        previous_secret_until: Until when an earlier signing secret signs as well.
        disabled_reason: Why it was switched off without anybody asking.
    """

    channel_id: str
    kind: Kind
    host: str
    enabled: bool
    by_settings: bool
    previous_secret_until: datetime | None = None
    disabled_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how to send. Secret: not in any answer or log line, nor in its own `repr`.

    Attributes:
        kind: What the channel speaks.
        url: Its address.
        secrets: Signing secrets that are valid now, newest first; none for kinds without.
    """

    kind: Kind
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


class _Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str
    until: datetime | None = None


class Channels:
    """The channels of all tenants."""

    def __init__(self, database: Database, settings: AlertsSettings) -> None:
        self._database = database
        self._settings = settings
        self._sealer = Sealer(settings.channel_secret.get_secret_value())

    def _configured(self, log_id: int) -> str | None:
        url = self._settings.slack_webhook_url.get_secret_value()
        return url if url and log_id == self._settings.slack_log_id else None

    async def enabled(self, tx: Connection, log_id: int) -> list[tuple[str, Kind]]:
        """Return id and kind of the channels that alerts of a tenant go to."""
        rows = await tx.fetch(
            "select channel_id, kind from channel where log_id = $1 and enabled "
            "order by channel_id",
            log_id,
        )
        configured: list[tuple[str, Kind]] = []
        if self._configured(log_id) is not None:
            configured = [(CONFIGURED, "slack")]
        return configured + [(row["channel_id"], row["kind"]) for row in rows]

    async def all(self, log_id: int) -> list[Channel]:
        """Return a tenant's channels."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"select {_COLUMNS} from channel where log_id = $1 order by channel_id",  # noqa: S608 - constant
                log_id,
            )
        channels = [_channel(row) for row in rows]
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
        kind: Kind,
        url: str,
        host: str,
        enabled: bool,
        by: str,
        at: datetime,
    ) -> tuple[Channel, str | None]:
        """Store a channel; its address must have been judged.

        Returns:
            The channel, and its signing secret if this call made one: nobody sees it again.

        Raises:
            ConflictError: the id is the settings' own, or a channel of another kind has it, or
                there is no secret to seal with.
        """
        if channel_id == CONFIGURED:
            raise ConflictError(
                f"the channel {CONFIGURED!r} is the one of TAGTRAIL_ALERTS_SLACK_WEBHOOK_URL; "
                "take another id"
            )
        secret = webhook.new_secret() if kind == "webhook" else None
        secrets_sealed = self._sealed(log_id, channel_id, [_Secret(secret)] if secret else [])
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "insert into channel (log_id, channel_id, kind, address_sealed, host, enabled, "  # noqa: S608 - constant
                "updated_at, updated_by, secrets_sealed) values ($1, $2, $3, $4, $5, $6, $7, $8, "
                "$9) on conflict (log_id, channel_id) do update set address_sealed = "
                "excluded.address_sealed, host = excluded.host, enabled = excluded.enabled, "
                "updated_at = excluded.updated_at, updated_by = excluded.updated_by, "
                "disabled_reason = null where channel.kind = excluded.kind "
                f"returning {_COLUMNS}, secrets_sealed",
                log_id, channel_id, kind, self._sealer.seal(f"{log_id}/{channel_id}", url), host,
                enabled, at, by, secrets_sealed,
            )  # fmt: skip
        if row is None:
            raise ConflictError(
                f"channel {channel_id} is of another kind; remove it first, or take another id"
            )
        return _channel(row), secret if row["secrets_sealed"] == secrets_sealed else None

    async def rotate(
        self, log_id: int, channel_id: str, *, overlap_s: float, by: str, now: datetime
    ) -> tuple[Channel, str]:
        """Give a webhook a new signing secret; the earlier ones sign as well for a while.

        Args:
            log_id: Tenant.
            channel_id: A webhook.
            overlap_s: How long the present secret still signs, seconds; 0 ends all earlier ones
                at once, for one that leaked.
            by: Who asks.
            now: Wall clock.

        Returns:
            The channel, and the new secret: nobody sees it again.

        Raises:
            NotFoundError: there is no such channel.
            ConflictError: it does not sign, or too many secrets are valid at once.
        """
        fresh = webhook.new_secret()
        until = now + timedelta(seconds=overlap_s)
        async with self._database.transaction() as tx:
            sealed = await self._secrets_of(tx, log_id, channel_id)
            valid = self._valid(log_id, channel_id, sealed, now) if overlap_s else []
            kept = [_Secret(s.text, min(s.until or until, until)) for s in valid]
            if len(kept) >= MOST_SECRETS:
                raise ConflictError(
                    f"{MOST_SECRETS} secrets of channel {channel_id} are valid already; wait until "
                    "the earlier ones end, or end them with overlap_s 0"
                )
            row = await tx.fetchrow(
                "update channel set secrets_sealed = $3, previous_until = $4, updated_at = $5, "  # noqa: S608 - constant
                f"updated_by = $6 where log_id = $1 and channel_id = $2 returning {_COLUMNS}",
                log_id, channel_id, self._sealed(log_id, channel_id, [_Secret(fresh), *kept]),
                until if kept else None, now, by,
            )  # fmt: skip
        return _channel(row), fresh

    async def _secrets_of(self, tx: Connection, log_id: int, channel_id: str) -> bytes:
        row = await tx.fetchrow(
            "select secrets_sealed from channel where log_id = $1 and channel_id = $2 for update",
            log_id, channel_id,
        )  # fmt: skip
        if row is None and not (channel_id == CONFIGURED and self._configured(log_id)):
            raise NotFoundError(f"no channel {channel_id} was set by the API")
        if row is None or row["secrets_sealed"] is None:
            raise ConflictError(f"channel {channel_id} is no webhook: it signs nothing")
        return bytes(row["secrets_sealed"])

    async def disable(
        self, tx: Connection, log_id: int, channel_id: str, reason: str, at: datetime
    ) -> None:
        """Switch a channel off because it said that it is gone."""
        await tx.execute(
            "update channel set enabled = false, disabled_reason = $3, updated_at = $4, "
            "updated_by = 'alerts' where log_id = $1 and channel_id = $2",
            log_id, channel_id, reason, at,
        )  # fmt: skip

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

    async def address(self, log_id: int, channel_id: str, now: datetime) -> Address:
        """Return where a channel is and the secrets that are valid now, for sending.

        Raises:
            NotFoundError: there is no such channel, or it is switched off.
            ConflictError: what is stored cannot be unsealed with today's secret.
        """
        configured = self._configured(log_id)
        if channel_id == CONFIGURED and configured is not None:
            return Address("slack", configured)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "select kind, address_sealed, secrets_sealed from channel "
                "where log_id = $1 and channel_id = $2 and enabled",
                log_id, channel_id,
            )  # fmt: skip
        if row is None:
            raise NotFoundError(f"channel {channel_id} does not exist or is switched off")
        url = self._sealer.open(f"{log_id}/{channel_id}", row["address_sealed"])
        valid = self._valid(log_id, channel_id, row["secrets_sealed"], now)
        return Address(row["kind"], url, tuple(secret.text for secret in valid))

    def _sealed(self, log_id: int, channel_id: str, secrets: Sequence[_Secret]) -> bytes | None:
        if not secrets:
            return None
        text = msgspec.json.encode(secrets).decode()
        return self._sealer.seal(f"{log_id}/{channel_id}/secrets", text)

    def _valid(
        self, log_id: int, channel_id: str, sealed: bytes | None, now: datetime
    ) -> list[_Secret]:
        if sealed is None:
            return []
        text = self._sealer.open(f"{log_id}/{channel_id}/secrets", sealed)
        known = msgspec.json.decode(text, type=list[_Secret])
        return [secret for secret in known if secret.until is None or secret.until > now]


def _channel(row: Any) -> Channel:
    return Channel(
        row["channel_id"],
        row["kind"],
        row["host"],
        row["enabled"],
        by_settings=False,
        previous_secret_until=row["previous_until"],
        disabled_reason=row["disabled_reason"],
    )

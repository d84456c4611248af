"""One-time codes that turn a machine into a gateway, and the key that signs what it is sent."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tagtrail_ingest.directory import Directory
from tagtrail_kernel.database import Database
from tagtrail_kernel.events.gateways import UpdatePublished

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O, U, so that a code can be read aloud and typed."""

CODE_LENGTH: Final = 16
"""80 random bits: not to be guessed within the lifetime of a code, nor out of its hash."""

SIGNED: Final = b"tagtrail gateway config v1\n"
"""Stands before what is signed, so that a signature is never taken for one over something else."""

ANY_GATEWAY: Final = "_"
"""Configuration of gateways that have none of their own."""


def new_code() -> str:
    """Return a code, in groups of four."""
    text = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
    return "-".join(text[i : i + 4] for i in range(0, CODE_LENGTH, 4))


def code_hash(code: str) -> bytes:
    """Return what is stored of a code; spaces, hyphens, case and look-alikes do not matter."""
    plain = code.upper().translate(str.maketrans("ILO", "110", " -\t\r\n"))
    return hashlib.sha256(plain.encode()).digest()


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A code that was used up.

    Attributes:
        log_id: Tenant.
        gateway_id: Whom the code makes of its holder.
    """

    log_id: int
    gateway_id: str


class Enrolments:
    """Keeps codes (hashed) and signing keys, in schema `ingest`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[int, Ed25519PrivateKey] = {}

    async def make_code(
        self, log_id: int, gateway_id: str, *, made_by: str, at: datetime, lifetime: timedelta
    ) -> str:
        """Make a code; codes of this gateway that nobody used are void, old ones are forgotten."""
        code = new_code()
        async with self._database.transaction() as c:
            await c.execute(
                "delete from ingest.enrolment_code where expires_at < $3 "
                "or (log_id = $1 and gateway_id = $2 and used_at is null)",
                log_id, gateway_id, at - timedelta(days=1),
            )  # fmt: skip
            await c.execute(
                "insert into ingest.enrolment_code "
                "(code_hash, log_id, gateway_id, made_by, made_at, expires_at) "
                "values ($1, $2, $3, $4, $5, $6)",
                code_hash(code), log_id, gateway_id, made_by, at, at + lifetime,
            )  # fmt: skip
        return code

    async def use_code(self, code: str, at: datetime) -> Redeemed | None:
        """Use up a code; None if it is unknown, used or expired. Of two that try, one succeeds."""
        async with self._database.connection() as c:
            row = await c.fetchrow(
                "update ingest.enrolment_code set used_at = $2 "
                "where code_hash = $1 and used_at is null and expires_at > $2 "
                "returning log_id, gateway_id",
                code_hash(code), at,
            )  # fmt: skip
        return Redeemed(*row) if row is not None else None

    async def give_back(self, code: str) -> None:
        """Make a code good again, because what it stands for could not be given."""
        async with self._database.connection() as c:
            await c.execute(
                "update ingest.enrolment_code set used_at = null where code_hash = $1",
                code_hash(code),
            )

    async def signing_key(self, log_id: int, at: datetime) -> Ed25519PrivateKey:
        """Return the key that signs for a tenant, made if missing."""
        key = self._keys.get(log_id)
        if key is None:
            fresh = Ed25519PrivateKey.generate().private_bytes_raw()
            async with self._database.transaction() as c:
                await c.execute(
                    "insert into ingest.signing_key (log_id, seed, made_at) values ($1, $2, $3) "
                    "on conflict (log_id) do nothing",
                    log_id, fresh, at,
                )  # fmt: skip
                seed = await c.fetchval(
                    "select seed from ingest.signing_key where log_id = $1", log_id
                )
            key = self._keys[log_id] = Ed25519PrivateKey.from_private_bytes(seed)
        return key


def document_of(directory: Directory, gateway_id: str) -> dict[str, Any]:
    """Return what a gateway is to know: the enrolled tags, its settings, rules and update."""
    everyones = directory.configurations.get(ANY_GATEWAY)
    own = directory.configurations.get(gateway_id)
    settings = dict((everyones.settings if everyones else None) or {})
    settings |= (own.settings if own else None) or {}
    rules = (own.rules if own else None) or (everyones.rules if everyones else None)
    update = directory.update_of(gateway_id)
    return {
        "gateway_id": gateway_id,
        "site_id": directory.site_of_gateway.get(gateway_id),
        "revision": directory.configured_at,
        "settings": settings,
        "rules": rules,
        "update": _update_of(update) if update else None,
        "tags": [
            {
                "tag_id": t.tag_id, "identities": t.identities, "model": t.model, "mode": t.mode,
                "interval_s": t.interval_s, "rssi_1m_dbm": t.rssi_1m_dbm,
            }
            for t in directory.registered.values()
        ],
    }  # fmt: skip


def _update_of(update: UpdatePublished) -> dict[str, Any]:
    return {"id": update.update_id, "version": update.version, "manifest": update.manifest}


def signed(document: dict[str, Any], key: Ed25519PrivateKey) -> dict[str, str]:
    """Return a document as it is sent: its bytes and the signature over them, base64."""
    payload = msgspec.json.encode(document)
    return {
        "payload": base64.b64encode(payload).decode(),
        "signature": base64.b64encode(key.sign(SIGNED + payload)).decode(),
    }

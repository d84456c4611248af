"""Who may do what: API keys, scopes and tenants.

A key reads `tt_<id>_<secret>`. The secret has 256 random bits, so one SHA-256 is a sufficient
hash: there is nothing to guess. A console session is a key that expires; a key of a service
belongs to no tenant and names one per request in the header `Tagtrail-Log`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Final, Protocol

from fastapi import Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from tagtrail_kernel.clock import Clock
from tagtrail_kernel.errors import (
    ForbiddenError,
    NotFoundError,
    RejectedError,
    UnauthenticatedError,
)

SCOPES: Final = {
    "sightings:write": "send sightings",
    "events:write": "append business events",
    "events:read": "read the log",
    "registry:read": "read sites, zones, gateways, tags, assets and SKUs",
    "registry:write": "register and bind them",
    "places:read": "read where tags are",
    "stock:read": "read stock",
    "stock:write": "pack, unpack, count, ship",
    "alerts:read": "read alerts",
    "alerts:write": "acknowledge and resolve alerts, set rules",
    "operations": "quarantine, parking, rebuilds",
    "keys": "make and revoke keys",
}
"""Scopes are part of the API: never renamed."""

ROLES: Final = {
    "admin": frozenset(SCOPES),
    "operator": frozenset(
        {
            "registry:read", "registry:write", "places:read", "stock:read", "stock:write",
            "alerts:read", "alerts:write", "events:read",
        }
    ),
    "auditor": frozenset(
        {"events:read", "registry:read", "places:read", "stock:read", "alerts:read"}
    ),
    "integrator": frozenset(
        {
            "events:read", "events:write", "sightings:write", "registry:read", "registry:write",
            "places:read", "stock:read", "stock:write", "alerts:read",
        }
    ),
    "gateway": frozenset({"sightings:write"}),
    "service": frozenset(SCOPES),
}  # fmt: skip

KEY_TEXT: Final = re.compile(r"tt_[0-9a-f]{12}_[A-Za-z0-9_-]{32,128}")
"""How a key reads."""

CACHE_S: Final = 5.0
"""A revoked key works for at most this long on a process that has just seen it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request.

    Attributes:
        key_id: Public part of the key.
        log_id: Tenant's log.
        role: Role the key was made for.
        scopes: What it may do.
        gateway_id: Set for a key of one gateway: it may send only as this gateway.
    """

    key_id: str
    log_id: int
    role: str
    scopes: frozenset[str]
    gateway_id: str | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is stored.

    Attributes:
        key_id: Public part.
        log_id: Tenant; None for a service's key.
        name: What people call it.
        role: Role.
        secret_hash: SHA-256 of the secret.
        gateway_id: Gateway it is bound to.
        expires_at: When it ends.
        revoked_at: When it was revoked.
        created_at: When it was made.
    """

    key_id: str
    log_id: int | None
    name: str
    role: str
    secret_hash: bytes = field(repr=False)
    gateway_id: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant and its log.

    Attributes:
        log_id: Its log, >= 1.
        slug: Short name.
        name: What people call it.
    """

    log_id: int
    slug: str
    name: str


class AccessStore(Protocol):
    """Where tenants and keys are kept."""

    async def tenants(self) -> list[Tenant]:
        """Return all tenants, by log id."""
        ...

    async def add_tenant(self, slug: str, name: str) -> Tenant:
        """Make a tenant; the same slug again returns the first one."""
        ...

    async def key(self, key_id: str) -> Key | None:
        """Return a key by its public part."""
        ...

    async def keys(self, log_id: int | None) -> list[Key]:
        """Return a tenant's keys, newest first, then by id."""
        ...

    async def add_key(self, key: Key) -> None:
        """Store a key. Raises ConflictError if its id is taken, NotFoundError without its tenant."""
        ...

    async def revoke_key(self, log_id: int | None, key_id: str, at: datetime) -> None:
        """Revoke a key; again changes nothing. Raises NotFoundError if this tenant has no such key."""
        ...

    async def add_code(
        self, code_hash: bytes, log_id: int, role: str, expires_at: datetime
    ) -> None:
        """Store a single-use sign-in code."""
        ...

    async def use_code(self, code_hash: bytes, at: datetime) -> tuple[int, str] | None:
        """Use up a sign-in code; returns (log_id, role), or None if unknown, used or expired."""
        ...


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def mint(
    log_id: int | None,
    *,
    name: str,
    role: str,
    at: datetime,
    gateway_id: str | None = None,
    lifetime: timedelta | None = None,
    text: str | None = None,
) -> tuple[str, Key]:
    """Make a key; returns the text that is shown once, and what is stored.

    Args:
        log_id: Tenant; None for a service's key.
        name: What people call it.
        role: One of `ROLES`.
        at: Now.
        gateway_id: Gateway that it is bound to.
        lifetime: How long it works; None for ever.
        text: Text that was made elsewhere, out of a random generator; None makes one.

    Raises:
        NotFoundError: there is no such role.
        RejectedError: the text is not that of a key.
    """
    if role not in ROLES:
        raise NotFoundError(f"no role {role!r}; roles are {', '.join(sorted(ROLES))}", role=role)
    text = text or f"tt_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    if KEY_TEXT.fullmatch(text) is None:
        raise RejectedError(
            "a key reads tt_<12 hexadecimal digits>_<32 to 128 letters, digits, - or _>; "
            "infra/make-secrets.sh makes one"
        )
    _, key_id, secret = text.split("_", 2)
    stored = Key(
        key_id=key_id,
        log_id=log_id,
        name=name,
        role=role,
        secret_hash=_digest(secret),
        gateway_id=gateway_id,
        expires_at=at + lifetime if lifetime is not None else None,
        revoked_at=None,
        created_at=at,
    )
    return text, stored


def new_code() -> tuple[str, bytes]:
    """Return a sign-in code and the hash to store."""
    code = secrets.token_urlsafe(24)
    return code, _digest(code)


def code_hash(code: str) -> bytes:
    """Return the stored form of a sign-in code."""
    return _digest(code)


class Gatekeeper:
    """Turns a request's credentials into a principal; remembers verified keys for `CACHE_S`."""

    def __init__(self, store: AccessStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[bytes, tuple[datetime, Key]] = {}
        self._tenants: tuple[datetime, frozenset[int]] | None = None

    async def principal(self, authorization: str | None, log_header: str | None) -> Principal:
        """Return who this is.

        Args:
            authorization: Value of the header, "Bearer tt_…".
            log_header: Value of `Tagtrail-Log`, for keys of services.

        Raises:
            UnauthenticatedError: no key, or it is unknown, wrong, expired or revoked.
            ForbiddenError: a service's key without a tenant that exists.
        """
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise UnauthenticatedError(
                "send the header `Authorization: Bearer tt_…`; make a key with `tagtrail keys create`"
            )
        key = await self._verified(text.strip())
        log_id = key.log_id if key.log_id is not None else await self._named(log_header)
        scopes = ROLES.get(key.role, frozenset())
        return Principal(key.key_id, log_id, key.role, scopes, key.gateway_id)

    async def _named(self, log_header: str | None) -> int:
        if log_header is None or not (log_header.isascii() and log_header.isdigit()):
            raise ForbiddenError("a service's key needs the header `Tagtrail-Log: <log id>`")
        log_id, now = int(log_header[:20]), self._clock.now()
        known = self._tenants
        stale = known is None or (now - known[0]).total_seconds() >= CACHE_S
        if known is None or stale or log_id not in known[1]:
            known = now, frozenset(t.log_id for t in await self._store.tenants())
            self._tenants = known
        if log_id not in known[1]:
            raise ForbiddenError(
                f"no tenant has the log {log_header[:20]}; make it with `tagtrail keys add-tenant`",
                log_id=log_id,
            )
        return log_id

    async def _verified(self, text: str) -> Key:
        now = self._clock.now()
        digest = _digest(text)
        known = self._known.get(digest)
        if known is not None and (now - known[0]).total_seconds() < CACHE_S:
            key = known[1]
        else:
            key = await self._look_up(text)
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[digest] = (now, key)
        if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
            raise UnauthenticatedError("this key has expired or was revoked; make a new one")
        return key

    async def _look_up(self, text: str) -> Key:
        _, key_id, secret = text.split("_", 2) if KEY_TEXT.fullmatch(text) else ("", "", "")
        key = await self._store.key(key_id) if key_id else None
        if key is None or not hmac.compare_digest(key.secret_hash, _digest(secret)):
            raise UnauthenticatedError("no such key; list yours with `tagtrail keys list`")
        return key


class _KeyScheme(SecurityBase):
    """Describes the header in the OpenAPI document; what it says is checked by the gatekeeper."""

    scheme_name = "key"
    model = HTTPBearer(
        bearerFormat="tt_<id>_<secret>",
        description="A key of this tenant. The key of a service names the tenant in the header "
        "`Tagtrail-Log`. The names at each operation are the scopes that it needs.",
    )

    async def __call__(self) -> None:
        """Do nothing."""


_key_scheme = _KeyScheme()


async def principal_of(request: Request, _: Annotated[None, Security(_key_scheme)]) -> Principal:
    """Return the principal of a request (FastAPI dependency)."""
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    return await gatekeeper.principal(
        request.headers.get("authorization"), request.headers.get("tagtrail-log")
    )


def requires(*scopes: str) -> Callable[[Principal], Awaitable[Principal]]:
    """Return a FastAPI dependency that demands scopes and gives the principal.

    Example: `who: Annotated[Principal, Depends(requires("stock:read"))]`.
    """
    unknown = set(scopes) - set(SCOPES)
    if unknown:
        raise ValueError(f"unknown scopes {sorted(unknown)}")

    needed = Security(principal_of, scopes=scopes)

    async def check(who: Principal = needed) -> Principal:
        missing = [s for s in scopes if s not in who.scopes]
        if missing:
            raise ForbiddenError(
                f"this key (role {who.role}) lacks the scope {missing[0]}", scope=missing[0]
            )
        return who

    return check

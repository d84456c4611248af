"""Where tenants and keys are kept: in schema `access`, or in memory for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from asyncpg.exceptions import ForeignKeyViolationError, UniqueViolationError

from tagtrail_kernel.access import Key, Tenant
from tagtrail_kernel.database import Database
from tagtrail_kernel.errors import ConflictError, NotFoundError


def _by_id(key: Key) -> str:
    return key.key_id


def _by_age(key: Key) -> datetime:
    return key.created_at


def _taken(key: Key) -> ConflictError:
    return ConflictError("this key id is taken; make another key", key_id=key.key_id)


def _no_tenant(key: Key) -> NotFoundError:
    return NotFoundError(f"no tenant has the log {key.log_id}", log_id=key.log_id)


def _no_key(key_id: str) -> NotFoundError:
    return NotFoundError(f"no key {key_id}; see `tagtrail keys list`", key_id=key_id)


class MemoryAccess:
    """An `AccessStore` for tests."""

    def __init__(self) -> None:
        self._tenants: list[Tenant] = []
        self._keys: dict[str, Key] = {}
        self._codes: dict[bytes, tuple[int, str, datetime]] = {}

    async def tenants(self) -> list[Tenant]:
        """See `AccessStore.tenants`."""
        return list(self._tenants)

    async def add_tenant(self, slug: str, name: str) -> Tenant:
        """See `AccessStore.add_tenant`."""
        for tenant in self._tenants:
            if tenant.slug == slug:
                return tenant
        self._tenants.append(Tenant(len(self._tenants) + 1, slug, name))
        return self._tenants[-1]

    async def key(self, key_id: str) -> Key | None:
        """See `AccessStore.key`."""
        return self._keys.get(key_id)

    async def keys(self, log_id: int | None) -> list[Key]:
        """See `AccessStore.keys`."""
        mine = sorted((k for k in self._keys.values() if k.log_id == log_id), key=_by_id)
        return sorted(mine, key=_by_age, reverse=True)

    async def add_key(self, key: Key) -> None:
        """See `AccessStore.add_key`."""
        if key.key_id in self._keys:
            raise _taken(key)
        if key.log_id is not None and key.log_id not in {t.log_id for t in self._tenants}:
            raise _no_tenant(key)
        self._keys[key.key_id] = key

    async def revoke_key(self, log_id: int | None, key_id: str, at: datetime) -> None:
        """See `AccessStore.revoke_key`."""
        key = self._keys.get(key_id)
        if key is None or key.log_id != log_id:
            raise _no_key(key_id)
        self._keys[key_id] = replace(key, revoked_at=key.revoked_at or at)

    async def add_code(
        self, code_hash: bytes, log_id: int, role: str, expires_at: datetime
    ) -> None:
        """See `AccessStore.add_code`."""
        self._codes[code_hash] = (log_id, role, expires_at)

    async def use_code(self, code_hash: bytes, at: datetime) -> tuple[int, str] | None:
        """See `AccessStore.use_code`."""
        found = self._codes.pop(code_hash, None)
        return (found[0], found[1]) if found is not None and found[2] > at else None


class PostgresAccess:
    """An `AccessStore` in schema `access`."""

    _COLUMNS: Final = (
        "key_id, log_id, name, role, secret_hash, gateway_id, expires_at, revoked_at, created_at"
    )

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tenants(self) -> list[Tenant]:
        """See `AccessStore.tenants`."""
        async with self._database.connection() as c:
            rows = await c.fetch("select log_id, slug, name from access.tenant order by log_id")
        return [Tenant(*row) for row in rows]

    async def add_tenant(self, slug: str, name: str) -> Tenant:
        """See `AccessStore.add_tenant`."""
        async with self._database.transaction() as c:
            await c.execute("lock table access.tenant in share row exclusive mode")
            rows = await c.fetch(
                "select log_id, slug, name from access.tenant where slug = $1", slug
            ) or await c.fetch(
                "insert into access.tenant (slug, name) values ($1, $2) "
                "returning log_id, slug, name",
                slug, name,
            )  # fmt: skip
        return Tenant(*rows[0])

    async def key(self, key_id: str) -> Key | None:
        """See `AccessStore.key`."""
        async with self._database.connection() as c:
            row = await c.fetchrow(
                f"select {self._COLUMNS} from access.api_key where key_id = $1",  # noqa: S608 - constant columns
                key_id,
            )
        return Key(*row) if row is not None else None

    async def keys(self, log_id: int | None) -> list[Key]:
        """See `AccessStore.keys`."""
        async with self._database.connection() as c:
            rows = await c.fetch(
                f"select {self._COLUMNS} from access.api_key where log_id is not distinct from $1 "  # noqa: S608 - constant columns
                "order by created_at desc, key_id",
                log_id,
            )
        return [Key(*row) for row in rows]

    async def add_key(self, key: Key) -> None:
        """See `AccessStore.add_key`."""
        try:
            async with self._database.connection() as c:
                await c.execute(
                    f"insert into access.api_key ({self._COLUMNS}) "  # noqa: S608 - constant columns
                    "values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                    key.key_id, key.log_id, key.name, key.role, key.secret_hash, key.gateway_id,
                    key.expires_at, key.revoked_at, key.created_at,
                )  # fmt: skip
        except UniqueViolationError as error:
            raise _taken(key) from error
        except ForeignKeyViolationError as error:
            raise _no_tenant(key) from error

    async def revoke_key(self, log_id: int | None, key_id: str, at: datetime) -> None:
        """See `AccessStore.revoke_key`."""
        async with self._database.connection() as c:
            done = await c.fetchval(
                "update access.api_key set revoked_at = coalesce(revoked_at, $3) "
                "where key_id = $1 and log_id is not distinct from $2 returning key_id",
                key_id, log_id, at,
            )  # fmt: skip
        if done is None:
            raise _no_key(key_id)

    async def add_code(
        self, code_hash: bytes, log_id: int, role: str, expires_at: datetime
    ) -> None:
        """See `AccessStore.add_code`."""
        async with self._database.connection() as c:
            await c.execute(
                "insert into access.sign_in_code (code_hash, log_id, role, expires_at) "
                "values ($1, $2, $3, $4)",
                code_hash, log_id, role, expires_at,
            )  # fmt: skip

    async def use_code(self, code_hash: bytes, at: datetime) -> tuple[int, str] | None:
        """See `AccessStore.use_code`."""
        async with self._database.connection() as c:
            row = await c.fetchrow(
                "delete from access.sign_in_code where code_hash = $1 returning log_id, role, expires_at",
                code_hash,
            )
        return (row["log_id"], row["role"]) if row is not None and row["expires_at"] > at else None

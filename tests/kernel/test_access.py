"""Keys: hashed, scoped, bound to a tenant, ended by time and by people."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import asyncpg
import httpx2
import pytest
from fastapi import APIRouter, Depends

from tagtrail_kernel.access import (
    CACHE_S,
    KEY_TEXT,
    ROLES,
    SCOPES,
    Gatekeeper,
    Key,
    Principal,
    mint,
    requires,
)
from tagtrail_kernel.access_stores import MemoryAccess, PostgresAccess
from tagtrail_kernel.clock import FakeClock
from tagtrail_kernel.database import Database
from tagtrail_kernel.errors import (
    ForbiddenError,
    NotFoundError,
    RejectedError,
    UnauthenticatedError,
)
from tagtrail_kernel.migrations import upgrade
from tagtrail_kernel.testing.access_contract import AccessStoreContract
from tagtrail_kernel.testing.deps import service_deps
from tagtrail_kernel.wiring import Service, app_of

AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def access_databases() -> list[str]:
    """Databases that are migrated already."""
    return []


@pytest.fixture
async def access_url(access_databases: list[str], probe_url: str) -> str:
    """A database with the empty schema `access`."""
    if not access_databases:
        await upgrade(probe_url, schema="access", package="tagtrail_kernel.migrations_access")
        access_databases.append(probe_url)
    connection = await asyncpg.connect(probe_url)
    await connection.execute(
        "truncate access.tenant, access.api_key, access.sign_in_code restart identity cascade"
    )
    await connection.close()
    return probe_url


@pytest.fixture
async def postgres_access(access_url: str) -> AsyncIterator[PostgresAccess]:
    database = Database(access_url, schema="access", role="tagtrail_access", max_size=2)
    await database.open()
    yield PostgresAccess(database)
    await database.close()


class TestMemoryAccess(AccessStoreContract):
    @pytest.fixture
    def store(self) -> MemoryAccess:
        return MemoryAccess()


class TestPostgresAccess(AccessStoreContract):
    @pytest.fixture
    def store(self, postgres_access: PostgresAccess) -> PostgresAccess:
        return postgres_access


async def test_the_database_holds_a_hash_and_never_the_secret(
    postgres_access: PostgresAccess, access_url: str
) -> None:
    tenant = await postgres_access.add_tenant("one", "One")
    text, key = mint(tenant.log_id, name="key", role="admin", at=AT)
    await postgres_access.add_key(key)

    connection = await asyncpg.connect(access_url)
    row = await connection.fetchval("select k::text from access.api_key k")
    await connection.close()

    secret = text.split("_", 2)[2]
    assert secret not in row
    assert secret.encode().hex() not in row
    assert key.secret_hash.hex() in row
    assert "secret_hash" not in repr(key)


class World:
    """Two tenants, a clock, and a gatekeeper."""

    def __init__(self) -> None:
        self.clock = FakeClock(AT)
        self.store = MemoryAccess()
        self.gatekeeper = Gatekeeper(self.store, self.clock)

    async def key(self, log_id: int | None = 1, **given: object) -> tuple[str, Key]:
        settings: dict[str, object] = {"name": "key", "role": "admin", "at": self.clock.now()}
        text, key = mint(log_id, **(settings | given))  # type: ignore[arg-type]
        await self.store.add_key(key)
        return text, key

    async def who(self, text: str, log: str | None = None) -> Principal:
        return await self.gatekeeper.principal(f"Bearer {text}", log)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.store.add_tenant("one", "One")
    await world.store.add_tenant("two", "Two")
    return world


def test_a_key_reads_as_documented_and_has_256_random_bits() -> None:
    texts = [mint(1, name="k", role="admin", at=AT)[0] for _ in range(200)]

    assert all(KEY_TEXT.fullmatch(t) for t in texts)
    assert len({t.split("_", 2)[2] for t in texts}) == 200
    assert {len(t.split("_", 2)[2]) for t in texts} == {43}


def test_a_key_of_an_unknown_role_is_not_made() -> None:
    with pytest.raises(NotFoundError, match="roles are admin, auditor"):
        mint(1, name="k", role="king", at=AT)


@pytest.mark.parametrize("text", ["tt_short_x", "tt_0123456789ab_" + "x" * 31, "0123456789ab"])
def test_a_text_made_elsewhere_must_read_like_a_key(text: str) -> None:
    with pytest.raises(RejectedError):
        mint(1, name="k", role="admin", at=AT, text=text)


def test_every_role_has_known_scopes_and_only_admins_keep_keys() -> None:
    assert all(scopes <= set(SCOPES) for scopes in ROLES.values())
    assert {r for r, scopes in ROLES.items() if "keys" in scopes} == {"admin", "service"}
    assert ROLES["gateway"] == {"sightings:write"}
    assert not any(s.endswith(":write") for s in ROLES["auditor"])


async def test_a_good_key_gives_its_principal(world: World) -> None:
    text, key = await world.key(2, role="gateway", gateway_id="gw-1")

    who = await world.who(text)

    assert who == Principal(key.key_id, 2, "gateway", frozenset({"sightings:write"}), "gw-1")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic dTpw", "Bearer tt_"])
async def test_a_request_without_a_key_is_told_how_to_send_one(
    world: World, header: str | None
) -> None:
    with pytest.raises(UnauthenticatedError):
        await world.gatekeeper.principal(header, None)


@pytest.mark.parametrize("change", ["secret", "id", "prefix", "longer", "nul"])
async def test_a_key_that_is_wrong_in_any_part_is_nobody(world: World, change: str) -> None:
    text, _ = await world.key()
    wrong = {
        "secret": text[:-1] + ("A" if text[-1] != "A" else "B"),
        "id": text[:3] + ("0" if text[3] != "0" else "1") + text[4:],
        "prefix": "xx" + text[2:],
        "longer": text + "A",
        "nul": text[:5] + "\x00" + text[6:],
    }[change]

    with pytest.raises(UnauthenticatedError, match="no such key"):
        await world.who(wrong)


async def test_the_scheme_is_read_in_any_case(world: World) -> None:
    text, key = await world.key()

    who = await world.gatekeeper.principal(f"bEaReR {text}", None)

    assert who.key_id == key.key_id


async def test_a_key_ends_at_its_time_also_while_it_is_remembered(world: World) -> None:
    text, _ = await world.key(lifetime=timedelta(seconds=CACHE_S - 1))

    await world.who(text)
    world.clock.forward(CACHE_S - 1.001)
    await world.who(text)
    world.clock.forward(0.001)

    with pytest.raises(UnauthenticatedError, match="expired or was revoked"):
        await world.who(text)


async def test_a_revoked_key_works_no_longer_than_it_is_remembered(world: World) -> None:
    text, key = await world.key()
    await world.who(text)

    await world.store.revoke_key(1, key.key_id, world.clock.now())
    world.clock.forward(CACHE_S - 0.001)
    await world.who(text)
    world.clock.forward(0.001)

    with pytest.raises(UnauthenticatedError, match="revoked"):
        await world.who(text)


async def test_a_revoked_key_that_was_not_remembered_is_refused_at_once(world: World) -> None:
    text, key = await world.key()
    await world.store.revoke_key(1, key.key_id, world.clock.now())

    with pytest.raises(UnauthenticatedError, match="revoked"):
        await world.who(text)


async def test_a_services_key_acts_for_the_tenant_it_names(world: World) -> None:
    text, _ = await world.key(None, role="service")

    assert (await world.who(text, "2")).log_id == 2
    assert (await world.who(text, "1")).log_id == 1


@pytest.mark.parametrize("log", [None, "", "x", "-1", "1.5", "²", "1; drop"])
async def test_a_services_key_without_a_tenant_is_told_the_header(
    world: World, log: str | None
) -> None:
    text, _ = await world.key(None, role="service")

    with pytest.raises(ForbiddenError, match="Tagtrail-Log"):
        await world.who(text, log)


@pytest.mark.parametrize("log", ["0", "3", "2147483648", "9" * 400])
async def test_a_services_key_cannot_name_a_tenant_that_does_not_exist(
    world: World, log: str
) -> None:
    text, _ = await world.key(None, role="service")

    with pytest.raises(ForbiddenError, match="no tenant has the log"):
        await world.who(text, log)


async def test_a_services_key_finds_a_tenant_that_was_just_made(world: World) -> None:
    text, _ = await world.key(None, role="service")
    await world.who(text, "1")

    third = await world.store.add_tenant("three", "Three")

    assert (await world.who(text, str(third.log_id))).log_id == third.log_id


async def test_a_tenants_key_cannot_name_another_tenant(world: World) -> None:
    text, _ = await world.key(1)

    assert (await world.who(text, "2")).log_id == 1


async def test_a_key_of_a_role_that_is_gone_may_do_nothing(world: World) -> None:
    text, key = await world.key()
    world.store._keys[key.key_id] = dataclasses.replace(key, role="retired")

    assert (await world.who(text)).scopes == frozenset()


def test_a_scope_that_does_not_exist_is_an_error_at_import() -> None:
    with pytest.raises(ValueError, match="unknown scopes"):
        requires("stock:steal")


@pytest.fixture
async def http(probe_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """An app with one scoped route, and an admin's key."""
    router = APIRouter()

    @router.get("/v1/secret")
    async def secret(who: Annotated[Principal, Depends(requires("stock:read"))]) -> dict[str, str]:
        return {"role": who.role}

    async with service_deps(probe_url) as (deps, key):
        app = app_of(deps, Service("probe", router))
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app),
            base_url="http://t",
            headers={"Authorization": f"Bearer {key}"},
        ) as client:
            yield client


async def test_a_missing_key_is_401_with_a_challenge(http: httpx2.AsyncClient) -> None:
    reply = await http.get("/v1/secret", headers={"Authorization": ""})

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="tagtrail"'
    assert reply.json()["type"] == "/problems/unauthenticated"


@pytest.mark.parametrize(
    ("role", "status"), [("gateway", 403), ("auditor", 200), ("operator", 200)]
)
async def test_a_key_without_the_scope_is_403_and_told_which_one(
    http: httpx2.AsyncClient, role: str, status: int
) -> None:
    made = await http.post("/v1/keys", json={"name": "k", "role": role})
    as_role = {"Authorization": f"Bearer {made.json()['key']}"}

    reply = await http.get("/v1/secret", headers=as_role)

    assert reply.status_code == status
    if status == 403:
        assert reply.json()["scope"] == "stock:read"


async def test_the_secret_is_shown_once(http: httpx2.AsyncClient) -> None:
    made = (await http.post("/v1/keys", json={"name": "door", "role": "gateway", "days": 2})).json()
    listed = (await http.get("/v1/keys")).json()["items"]

    shown = next(k for k in listed if k["key_id"] == made["key_id"])
    assert KEY_TEXT.fullmatch(made["key"])
    assert "key" not in shown
    assert made["key"].split("_", 2)[2] not in str(listed)
    assert shown["expires_at"] == "2026-03-04T08:00:00Z"


async def test_a_revoked_key_is_refused(http: httpx2.AsyncClient) -> None:
    made = (await http.post("/v1/keys", json={"name": "door", "role": "auditor"})).json()

    gone = await http.delete(f"/v1/keys/{made['key_id']}")
    reply = await http.get("/v1/secret", headers={"Authorization": f"Bearer {made['key']}"})

    assert gone.status_code == 204
    assert reply.status_code == 401


async def test_an_unknown_key_cannot_be_revoked(http: httpx2.AsyncClient) -> None:
    reply = await http.delete("/v1/keys/000000000000")

    assert reply.status_code == 404


async def test_only_who_may_keep_keys_makes_them(http: httpx2.AsyncClient) -> None:
    made = (await http.post("/v1/keys", json={"name": "door", "role": "operator"})).json()
    as_operator = {"Authorization": f"Bearer {made['key']}"}

    reply = await http.post("/v1/keys", json={"name": "x", "role": "admin"}, headers=as_operator)

    assert (reply.status_code, reply.json()["scope"]) == (403, "keys")


async def test_a_services_key_is_not_made_over_the_api(http: httpx2.AsyncClient) -> None:
    reply = await http.post("/v1/keys", json={"name": "x", "role": "service"})

    assert reply.status_code == 403
    assert re.search("tagtrail keys", reply.json()["detail"])

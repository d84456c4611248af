"""What every `AccessStore` does. A subclass lends an empty store in a fixture `store`."""
# ruff: noqa: D102 - the names of the tests are the sentences

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tagtrail_kernel.access import AccessStore, Key, code_hash, mint, new_code
from tagtrail_kernel.errors import ConflictError, NotFoundError

AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def made(log_id: int | None, name: str = "key", *, minute: int = 0, role: str = "admin") -> Key:
    """Return a fresh key that was made at a minute of the test day."""
    return mint(log_id, name=name, role=role, at=AT + timedelta(minutes=minute))[1]


class AccessStoreContract:
    """Run against every adapter."""

    async def test_tenants_get_log_ids_from_1_without_gaps(self, store: AccessStore) -> None:
        first = await store.add_tenant("one", "One")
        for _ in range(3):
            await store.add_tenant("one", "Another name")
        second = await store.add_tenant("two", "Two")

        assert (first.log_id, second.log_id) == (1, 2)
        assert await store.tenants() == [first, second]

    async def test_a_slug_that_is_there_keeps_its_tenant(self, store: AccessStore) -> None:
        first = await store.add_tenant("one", "One")

        assert await store.add_tenant("one", "Renamed") == first

    async def test_a_key_is_found_by_its_public_part(self, store: AccessStore) -> None:
        tenant = await store.add_tenant("one", "One")
        _, key = mint(
            tenant.log_id, name="door", role="gateway", at=AT, gateway_id="gw-1",
            lifetime=timedelta(days=1),
        )  # fmt: skip
        service = made(None, role="service")

        await store.add_key(key)
        await store.add_key(service)

        assert await store.key(key.key_id) == key
        assert await store.key(service.key_id) == service
        assert await store.key("0" * 12) is None

    async def test_keys_are_listed_newest_first_for_their_tenant_only(
        self, store: AccessStore
    ) -> None:
        one, two = await store.add_tenant("one", "One"), await store.add_tenant("two", "Two")
        for number, log_id in enumerate([one.log_id, two.log_id, one.log_id, None]):
            role = "service" if log_id is None else "admin"
            await store.add_key(made(log_id, f"key {number}", minute=number, role=role))

        assert [k.name for k in await store.keys(one.log_id)] == ["key 2", "key 0"]
        assert [k.name for k in await store.keys(two.log_id)] == ["key 1"]

    async def test_a_key_id_is_taken_once(self, store: AccessStore) -> None:
        tenant = await store.add_tenant("one", "One")
        key = made(tenant.log_id)
        await store.add_key(key)

        with pytest.raises(ConflictError):
            await store.add_key(key)

    async def test_a_key_needs_its_tenant(self, store: AccessStore) -> None:
        with pytest.raises(NotFoundError, match="no tenant has the log 7"):
            await store.add_key(made(7))

    async def test_a_revoked_key_keeps_the_time_of_its_first_revocation(
        self, store: AccessStore
    ) -> None:
        tenant = await store.add_tenant("one", "One")
        key = made(tenant.log_id)
        await store.add_key(key)

        await store.revoke_key(tenant.log_id, key.key_id, AT)
        await store.revoke_key(tenant.log_id, key.key_id, AT + timedelta(hours=1))

        found = await store.key(key.key_id)
        assert found is not None
        assert found.revoked_at == AT

    async def test_another_tenants_key_cannot_be_revoked(self, store: AccessStore) -> None:
        one, two = await store.add_tenant("one", "One"), await store.add_tenant("two", "Two")
        key = made(one.log_id)
        await store.add_key(key)

        with pytest.raises(NotFoundError):
            await store.revoke_key(two.log_id, key.key_id, AT)

        assert await store.key(key.key_id) == key

    async def test_a_sign_in_code_works_once(self, store: AccessStore) -> None:
        tenant = await store.add_tenant("one", "One")
        code, hashed = new_code()
        await store.add_code(hashed, tenant.log_id, "operator", AT + timedelta(minutes=10))

        first = await store.use_code(code_hash(code), AT)
        second = await store.use_code(code_hash(code), AT)

        assert first == (tenant.log_id, "operator")
        assert second is None

    async def test_a_sign_in_code_ends_at_its_time(self, store: AccessStore) -> None:
        tenant = await store.add_tenant("one", "One")
        end = AT + timedelta(minutes=10)
        codes = [new_code() for _ in range(2)]
        for _, hashed in codes:
            await store.add_code(hashed, tenant.log_id, "operator", end)

        just_before = await store.use_code(codes[0][1], end - timedelta(microseconds=1))
        at_the_end = await store.use_code(codes[1][1], end)

        assert just_before is not None
        assert at_the_end is None

    async def test_an_unknown_code_is_nobody(self, store: AccessStore) -> None:
        assert await store.use_code(b"x" * 32, AT) is None

    async def test_a_key_of_a_service_is_listed_and_revoked_apart_from_tenants(
        self, store: AccessStore
    ) -> None:
        tenant = await store.add_tenant("a", "A")
        _, key = mint(None, name="services", role="service", at=AT)
        await store.add_key(key)

        with pytest.raises(NotFoundError):
            await store.revoke_key(tenant.log_id, key.key_id, AT)
        await store.revoke_key(None, key.key_id, AT)

        assert await store.keys(tenant.log_id) == []
        assert [k.revoked_at for k in await store.keys(None)] == [AT]

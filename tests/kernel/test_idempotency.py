"""`Idempotency-Key`: a repeated request has one effect and one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tagtrail_kernel.database import Database
from tagtrail_kernel.errors import ConflictError, RejectedError
from tagtrail_kernel.idempotency import KEPT, MAX_KEY, Idempotency
from tagtrail_kernel.migrations import upgrade

AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


@pytest.fixture
async def idempotency(probe_url: str) -> AsyncIterator[Idempotency]:
    await upgrade(probe_url, schema="access", package="tagtrail_kernel.migrations_access")
    database = Database(probe_url, schema="access", role="tagtrail_access", max_size=4)
    await database.open()
    async with database.connection() as c:
        await c.execute("delete from access.idempotency")
    yield Idempotency(database)
    await database.close()


class Counter:
    """An act that counts."""

    def __init__(self, status: int = 201) -> None:
        self.status = status
        self.at: list[datetime] = []

    async def act(self, at: datetime) -> tuple[int, bytes]:
        """Do it once more."""
        self.at.append(at)
        return self.status, f"answer {len(self.at)}".encode()


async def test_the_same_key_and_body_get_the_first_answer_without_a_second_act(
    idempotency: Idempotency,
) -> None:
    counter = Counter()

    first = await idempotency.once(1, "/v1/x", "k", b"body", AT, counter.act)
    second = await idempotency.once(1, "/v1/x", "k", b"body", AT, counter.act)

    assert first == second == (201, b"answer 1")
    assert len(counter.at) == 1


async def test_without_a_key_every_request_acts(idempotency: Idempotency) -> None:
    counter = Counter()

    await idempotency.once(1, "/v1/x", None, b"body", AT, counter.act)
    second = await idempotency.once(1, "/v1/x", None, b"body", AT, counter.act)

    assert second == (201, b"answer 2")


async def test_the_same_key_with_another_body_is_a_conflict(idempotency: Idempotency) -> None:
    counter = Counter()
    await idempotency.once(1, "/v1/x", "k", b"body", AT, counter.act)

    with pytest.raises(ConflictError, match="another body"):
        await idempotency.once(1, "/v1/x", "k", b"other", AT, counter.act)

    assert len(counter.at) == 1


@pytest.mark.parametrize(("log_id", "route"), [(2, "/v1/x"), (1, "/v1/y")])
async def test_keys_of_other_tenants_and_routes_are_other_keys(
    idempotency: Idempotency, log_id: int, route: str
) -> None:
    counter = Counter()
    await idempotency.once(1, "/v1/x", "k", b"body", AT, counter.act)

    other = await idempotency.once(log_id, route, "k", b"other", AT, counter.act)

    assert other == (201, b"answer 2")


@pytest.mark.parametrize("status", [200, 404, 422, 499])
async def test_refusals_are_answers_too(idempotency: Idempotency, status: int) -> None:
    counter = Counter(status)

    await idempotency.once(1, "/v1/x", "k", b"body", AT, counter.act)
    second = await idempotency.once(1, "/v1/x", "k", b"body", AT, counter.act)

    assert second == (status, b"answer 1")


async def test_a_fault_is_not_kept_so_that_a_repetition_may_succeed(
    idempotency: Idempotency,
) -> None:
    counter = Counter(503)
    await idempotency.once(1, "/v1/x", "k", b"body", AT, counter.act)
    counter.status = 201

    second = await idempotency.once(1, "/v1/x", "k", b"body", AT, counter.act)

    assert second == (201, b"answer 2")


async def test_after_a_crash_the_repetition_derives_its_ids_from_the_same_time(
    idempotency: Idempotency,
) -> None:
    seen: list[datetime] = []

    async def crashes(at: datetime) -> tuple[int, bytes]:
        seen.append(at)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await idempotency.once(1, "/v1/x", "k", b"body", AT, crashes)
    counter = Counter()
    later = AT + timedelta(minutes=5)
    await idempotency.once(1, "/v1/x", "k", b"body", later, counter.act)

    assert seen == counter.at == [AT]


async def test_requests_at_the_same_moment_derive_their_ids_from_the_same_time(
    idempotency: Idempotency,
) -> None:
    counter = Counter()

    await asyncio.gather(
        *(
            idempotency.once(1, "/v1/x", "k", b"body", AT + timedelta(seconds=n), counter.act)
            for n in range(8)
        )
    )

    assert len(set(counter.at)) == 1


async def test_a_key_ends_after_a_day(idempotency: Idempotency) -> None:
    counter = Counter()
    await idempotency.once(1, "/v1/x", "k", b"body", AT, counter.act)

    at_the_end = await idempotency.once(1, "/v1/x", "k", b"body", AT + KEPT, counter.act)
    after = await idempotency.once(
        1, "/v1/x", "k", b"another", AT + KEPT + timedelta(microseconds=1), counter.act
    )

    assert at_the_end == (201, b"answer 1")
    assert after == (201, b"answer 2")


@pytest.mark.parametrize("length", [1, MAX_KEY])
async def test_keys_of_allowed_lengths_are_taken(idempotency: Idempotency, length: int) -> None:
    claim = await idempotency.claim(1, "/v1/x", "ü" * length, b"body", AT)

    assert claim.answer is None


@pytest.mark.parametrize("length", [0, MAX_KEY + 1])
async def test_keys_of_other_lengths_are_rejected(idempotency: Idempotency, length: int) -> None:
    with pytest.raises(RejectedError, match="1 to 255 characters"):
        await idempotency.claim(1, "/v1/x", "k" * length, b"body", AT)

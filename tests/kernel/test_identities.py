"""Identities: the fields of RFC 9562, their order, and what happens at the edges of time."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagtrail_kernel.clock import (
    EPOCH,
    FakeClock,
    SystemClock,
    TimeOrderedIds,
    milliseconds,
    uuid7,
    uuid8,
)

AT = datetime(2026, 3, 2, 8, 15, 30, 125000, tzinfo=UTC)
LAST_MS = 2**48 - 1
moments = st.integers(0, LAST_MS)


@given(ms=moments, random=st.integers(0, 2**74 - 1))
def test_version_7_holds_the_milliseconds_and_all_random_bits(ms: int, random: int) -> None:
    made = uuid7(ms, random)

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == ms
    assert ((made.int >> 64) & 0xFFF) << 62 | made.int & (2**62 - 1) == random
    assert made == uuid.UUID(str(made))


def test_version_7_matches_the_example_of_the_rfc() -> None:
    random = 0xCC3 << 62 | 0x18C4DC0C0C07398F

    assert uuid7(0x017F22E279B0, random) == uuid.UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


@given(seconds=st.floats(0, 2e11), content=st.binary(max_size=64))
def test_version_8_holds_the_milliseconds_and_the_version(seconds: float, content: bytes) -> None:
    at = EPOCH + timedelta(seconds=seconds)

    made = uuid8(at, content)
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    assert made.int >> 80 == milliseconds(at)
    assert made == uuid8(at, content)
    assert hash(made) == hash(uuid.UUID(str(made)))


def test_version_8_of_other_content_is_another_identity() -> None:
    made = {uuid8(AT, str(i).encode()) for i in range(10_000)}

    assert len(made) == 10_000


@given(one=moments, two=moments, content=st.binary(max_size=16))
def test_identities_are_ordered_by_time(one: int, two: int, content: bytes) -> None:
    first, second = sorted((one, two))

    assert uuid7(first, 0) <= uuid7(second, 2**74 - 1)
    if first < second:
        assert uuid7(first, 2**74 - 1) < uuid7(second, 0)
        assert str(uuid7(first, 2**74 - 1)) < str(uuid7(second, 0))


@pytest.mark.parametrize(
    ("at", "ms"),
    [
        (EPOCH, 0),
        (EPOCH - timedelta(milliseconds=1), 0),
        (datetime.min.replace(tzinfo=UTC), 0),
        (EPOCH + timedelta(microseconds=999), 0),
        (EPOCH + timedelta(milliseconds=1), 1),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 253_402_300_799_999),
        (AT, 1_772_439_330_125),
    ],
)
def test_milliseconds_are_cut_not_rounded_and_clamped(at: datetime, ms: int) -> None:
    assert milliseconds(at) == ms
    assert uuid8(at, b"").int >> 80 == ms


def test_new_identities_are_of_version_7_at_the_clocks_time() -> None:
    ids = TimeOrderedIds(FakeClock(AT))

    made = [ids.new() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {(i.version, i.int >> 80) for i in made} == {(7, milliseconds(AT))}


def test_a_fake_clock_stands_until_it_is_moved() -> None:
    clock = FakeClock(AT)

    clock.forward(1.5)
    assert clock.now() == AT + timedelta(seconds=1.5)


def test_the_systems_clock_is_aware_and_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)

"""The server's clock as the agent knows it, and items as they leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tagtrail_agent.clock import ServerTime, boot_id
from tagtrail_agent.items import item_id, item_of, plausible, text_of, timed
from tagtrail_agent.readings import Reading

AT = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)


def test_the_servers_time_lies_between_sending_and_answer() -> None:
    time = ServerTime()
    time.observe(AT, 100.0, 102.0)

    assert time.at(101.0) == AT
    assert time.at(111.0) == AT + timedelta(seconds=10)
    assert time.error_s(102.0) == 1.0


def test_a_slow_answer_does_not_replace_a_quick_one_until_drift_makes_it_better() -> None:
    time = ServerTime()
    time.observe(AT, 100.0, 100.2)
    time.observe(AT + timedelta(seconds=31), 120.0, 140.0)
    quick = time.at(140.0)
    time.observe(AT + timedelta(seconds=200_000.5), 200_099.0, 200_102.0)

    assert quick == AT + timedelta(seconds=39.9)
    assert time.error_s(200_102.0) == 1.5


def test_nothing_is_known_before_the_first_answer() -> None:
    time = ServerTime()

    assert not time.known
    assert time.at(5.0) is None
    assert time.error_s(5.0) == float("inf")


def reading(**members: object) -> Reading:
    return Reading("mac:58b1294494d3", AT, 5.0, dict(members))


def test_the_same_reading_always_has_the_same_id_of_version_8() -> None:
    first = item_id(reading(rssi_dbm=-60, battery_pct=80), "dock-1")
    again = item_id(reading(battery_pct=80, rssi_dbm=-60), "dock-1")

    made = UUID(first)
    assert first == again
    assert made.version == 8
    assert made.int >> 80 == int(AT.timestamp() * 1000)


@pytest.mark.parametrize(
    "other",
    [
        item_id(reading(rssi_dbm=-61), "dock-1"),
        item_id(reading(rssi_dbm=-60), "dock-2"),
        item_id(
            Reading("mac:58b1294494d3", AT + timedelta(microseconds=1), 5.0, {"rssi_dbm": -60}),
            "dock-1",
        ),
        item_id(Reading("mac:58b1294494d4", AT, 5.0, {"rssi_dbm": -60}), "dock-1"),
    ],
)
def test_another_reading_has_another_id(other: str) -> None:
    assert other != item_id(reading(rssi_dbm=-60), "dock-1")


@pytest.mark.parametrize(("off_s", "corrected"), [(2.0, False), (2.001, True), (-2.1, True)])
def test_a_clock_that_is_further_off_than_allowed_is_corrected_and_says_so(
    off_s: float, corrected: bool
) -> None:
    true_at = AT - timedelta(seconds=off_s)
    item = timed({"tag": "x"}, AT, true_at, 2.0)

    assert item["at"] == text_of(true_at if corrected else AT)
    assert item.get("clock_ahead_s") == (off_s if corrected else None)


def test_times_are_written_with_milliseconds() -> None:
    assert text_of(AT) == "2026-11-24T12:00:00.250Z"


@pytest.mark.parametrize(
    ("at", "taken"),
    [
        (AT, True),
        (AT + timedelta(minutes=4), True),
        (AT + timedelta(minutes=4, seconds=1), False),
        (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), False),
        (datetime(2010, 1, 1, tzinfo=UTC), True),
    ],
)
def test_a_time_that_the_server_would_refuse_is_known_here(at: datetime, taken: bool) -> None:
    assert plausible(at, AT) is taken


def test_this_boot_has_a_name() -> None:
    assert boot_id() == boot_id()


@pytest.mark.parametrize("version", [7, 8])
def test_an_id_that_a_reading_brings_along_is_kept(version: int) -> None:
    own = str(UUID(int=(0x0192 << 112) | (version << 76) | (0b10 << 62) | 5))

    item = item_of(reading(rssi_dbm=-60, id=own), "dock-1")

    assert item == {"id": own, "tag": "mac:58b1294494d3", "rssi_dbm": -60}


@pytest.mark.parametrize("own", [None, 7, "tap-1", "6f9619ff-8b86-4011-b42d-00c04fc964ff"])
def test_an_id_that_the_server_would_refuse_is_replaced(own: object) -> None:
    item = item_of(reading(id=own), "dock-1")

    assert item["id"] == item_id(reading(id=own), "dock-1")

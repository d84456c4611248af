"""A phone's position leaves within an open session only, and never with a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.support.agent_inputs import NOON
from tests.support.phone_counter import OTHER, counter, tap

HERE = {"latitude_deg": 52.52, "longitude_deg": 13.4, "accuracy_m": 8.0}


async def test_no_position_leaves_outside_a_session() -> None:
    async with counter() as at_counter:
        verdicts = await at_counter.send(
            tap(1, **HERE), tap(2, x_m=3.0, y_m=4.0), tap(3), session_id="never-opened"
        )

    assert [v.get("position") for v in verdicts] == ["left_out", "left_out", None]
    assert len(at_counter.listener.readings) == 3
    assert not any(
        "_deg" in str(r.members) or "x_m" in r.members for r in at_counter.listener.readings
    )


async def test_in_a_session_a_position_leaves_without_the_person() -> None:
    now = NOON.isoformat()
    async with counter() as at_counter:
        opened = await at_counter.post("sessions", {"session_id": "round-of-tuesday"})
        await at_counter.send(tap(1, at=now, **HERE), session_id="round-of-tuesday")

    tapped, placed = at_counter.listener.readings
    assert opened.status_code == 201
    assert tapped.members["actor_id"] == "operator-7"
    assert "latitude_deg" not in tapped.members
    assert (placed.tag, placed.gateway_id) == (tapped.tag, "phones")
    assert UUID(placed.members.pop("id")).version == 8
    assert placed.members == {**HERE, "source_class": "own_phone"}


async def test_a_session_counts_by_when_the_position_was_measured() -> None:
    def item(number: int, after_s: float) -> dict[str, Any]:
        return tap(number, at=(NOON + timedelta(seconds=after_s)).isoformat(), **HERE)

    async with counter() as at_counter:
        session_id = (await at_counter.post("sessions")).json()["session_id"]
        at_counter.hands.passed_s = 100.0
        closed = await at_counter.client.delete(
            f"/v1/phone/sessions/{session_id}", headers=at_counter.headers
        )
        at_counter.hands.passed_s = 1_000.0
        verdicts = await at_counter.send(
            item(1, -1), item(2, 0), item(3, 100), item(4, 101), session_id=session_id
        )

    assert closed.status_code == 204
    assert ["position" in v for v in verdicts] == [True, False, False, True]


async def test_a_session_ends_by_itself_and_belongs_to_one_phone() -> None:
    late = tap(1, at=(NOON + timedelta(seconds=61)).isoformat(), **HERE)
    async with counter(session_max_s=60.0) as at_counter:
        await at_counter.post("sessions", {"session_id": "session-1"})
        foreign = await at_counter.post(
            "items",
            {"items": [tap(9, at=NOON.isoformat(), **HERE)], "session_id": "session-1"},
            OTHER,
        )
        stolen = await at_counter.post("sessions", {"session_id": "session-1"}, OTHER)
        at_counter.hands.passed_s = 61.0
        verdicts = await at_counter.send(late, session_id="session-1")
        again = await at_counter.post("sessions", {"session_id": "session-1"})

    assert foreign.json()["verdicts"][0]["position"] == "left_out"
    assert stolen.status_code == again.status_code == 422
    assert verdicts[0]["position"] == "left_out"

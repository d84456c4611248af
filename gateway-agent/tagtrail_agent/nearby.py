"""What is around: for finding a tag that shall be enrolled. Memory only, nothing reaches the disk.

A frame of a finding network names nobody on purpose: such frames are counted by network. An address
that changes by itself leads to nobody either: those are counted together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tagtrail_agent.decoding import Decoded
from tagtrail_agent.identity import Enrolment, Resolver, normal_identity
from tagtrail_agent.readings import Advert, Input, Reading

MOST_ROWS: Final = 2000
"""Things remembered at a time: more than a person looks through, under 1 MB."""

_SHOWN: Final = 6
"""Digits of an unknown identity that are shown where it must not be whole: the maker's part."""

_TURN_S: Final = 0.5
"""Between two pictures: quick enough for a hand that moves a tag, slow enough to read."""

_BY_KIND: Final = {"epc": "rfid", "tid": "rfid", "nfc": "nfc"}
"""Technology of a reading that does not say its own."""


@dataclass(slots=True)
class Row:
    """Something around.

    Attributes:
        identity: What it could be enrolled by, or is; None where it has nothing of the kind.
        what: What it is, as far as its frames say.
        technology: Radio.
        tag_id: The tag that it is; None = not enrolled.
        rssi_dbm: Power of the last reception, dBm.
        best_dbm: Of the strongest.
        count: Receptions.
        last_s: Last one, by the monotonic clock, seconds.
        gateway_id: Who heard it last, if it was not this gateway.
    """

    identity: str | None
    what: str
    technology: str
    tag_id: str | None = None
    rssi_dbm: float | None = None
    best_dbm: float | None = None
    count: int = 0
    last_s: float = 0.0
    gateway_id: str | None = None


class Nearby:
    """An ear that remembers what is around.

    Args:
        enrolment: The tags that are known.
        decode_advert: Decodes adverts.
    """

    def __init__(self, enrolment: Enrolment, decode_advert: Callable[[bytes], Decoded]) -> None:
        self._resolver = Resolver(enrolment, decode_advert)
        self._decode = decode_advert
        self._tag_ids = {i: tag.tag_id for tag in enrolment.tags for i in tag.identities}
        self._ranges = enrolment.ranges
        self._rows: dict[str, Row] = {}
        self.heard = 0
        self.left_out = 0

    def knows(self, identity: str) -> bool:
        """Return whether an identity is enrolled, or in an enrolled range."""
        return identity in self._tag_ids or identity.startswith(self._ranges)

    def hear(self, heard: Sequence[Advert | Reading]) -> None:
        """See `Ear`."""
        for one in heard:
            self.heard += 1
            if isinstance(one, Advert):
                self._note(self._row_of(one), one, float(one.rssi_dbm))
            else:
                self._note(self._row_of_reading(one), one, one.members.get("rssi_dbm"))

    def _row_of(self, advert: Advert) -> Row:
        decoded = self._decode(advert.ad)
        reading = self._resolver.resolve(advert)
        what = ", ".join(dict.fromkeys(decoded.frames)) or "advert"
        if reading is not None:
            return Row(reading.tag, what, "ble", self._tag_ids.get(reading.tag))
        if decoded.network is not None:
            return Row(None, f"{decoded.network} (names nobody)", "ble")
        if decoded.identities:
            return Row(decoded.identities[0], what, "ble")
        if advert.random_address and advert.address[:1] not in "cdef":
            return Row(None, f"{what} (its address changes)", "ble")
        return Row(f"mac:{advert.address}", what, "ble")

    def _row_of_reading(self, reading: Reading) -> Row:
        identity = normal_identity(reading.tag) or reading.tag
        kind = identity.partition(":")[0]
        technology = reading.members.get("technology") or _BY_KIND.get(kind, "ble")
        tag_id = self._tag_ids.get(identity)
        if tag_id is None and self.knows(identity):
            tag_id = "in an enrolled range"
        return Row(identity, kind, str(technology), tag_id)

    def _note(self, fresh: Row, one: Advert | Reading, rssi_dbm: Any) -> None:
        key = fresh.identity or f" {fresh.what}"
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MOST_ROWS:
                self.left_out += 1
                return
            row = self._rows[key] = fresh
        row.what = fresh.what if len(fresh.what) > len(row.what) else row.what
        row.count += 1
        row.last_s, row.gateway_id = one.elapsed_s, one.gateway_id
        if isinstance(rssi_dbm, int | float):
            row.rssi_dbm = float(rssi_dbm)
            row.best_dbm = max(row.rssi_dbm, row.best_dbm if row.best_dbm is not None else -999.0)

    def rows(self) -> list[Row]:
        """Return what is around, the strongest first."""
        return sorted(
            self._rows.values(),
            key=lambda r: (-(r.best_dbm if r.best_dbm is not None else -999.0), r.identity or ""),
        )


def masked(row: Row) -> str | None:
    """Return an identity as it may be written down: whole only if its tag is enrolled."""
    if row.identity is None or row.tag_id is not None:
        return row.identity
    kind, _, value = row.identity.partition(":")
    return f"{kind}:{value[:_SHOWN]}…"


def figures_of(rows: Sequence[Row], now_s: float, *, whole: bool) -> list[dict[str, Any]]:
    """Return rows for programs.

    Args:
        rows: What is around.
        now_s: The monotonic clock, seconds.
        whole: Whether unknown identities are shown whole.
    """
    return [
        {
            "identity": row.identity if whole else masked(row),
            "what": row.what,
            "technology": row.technology,
            "enrolled": row.tag_id is not None,
            "tag_id": row.tag_id,
            "rssi_dbm": row.rssi_dbm,
            "best_dbm": row.best_dbm,
            "count": row.count,
            "age_s": round(max(now_s - row.last_s, 0.0), 1),
            "gateway_id": row.gateway_id,
        }
        for row in rows
    ]


def table_of(rows: Sequence[Row], *, whole: bool, most: int | None = None) -> str:
    """Return rows for people, the strongest first.

    Args:
        rows: What is around.
        whole: Whether unknown identities are shown whole.
        most: Most rows.
    """
    lines = [f"{'dBm':>5} {'count':>6}  {'radio':<7} {'enrolled':<20} {'identity':<44} what"]
    for row in rows[:most]:
        level = "-" if row.rssi_dbm is None else f"{row.rssi_dbm:.0f}"
        identity = (row.identity if whole else masked(row)) or "-"
        enrolled = row.tag_id or "no"
        lines.append(
            f"{level:>5} {row.count:>6}  {row.technology:<7} {enrolled:<20} {identity:<44} {row.what}"
        )
    if most is not None and len(rows) > most:
        lines.append(f"  and {len(rows) - most} weaker ones")
    return "\n".join(lines)


async def listen(
    inputs: Sequence[Input],
    ear: Nearby,
    stop: asyncio.Event,
    *,
    seconds: float | None,
    show: Callable[[], None],
) -> None:
    """Hear until told to stop, for a time, or until all inputs have ended.

    Args:
        inputs: What is heard.
        ear: Who hears.
        stop: Set it to end.
        seconds: How long; None = until the end.
        show: Called every half second, and at the end.

    Raises:
        AgentError: an input cannot work; says what to do.
    """
    loop = asyncio.get_running_loop()
    until_s = None if seconds is None else loop.time() + seconds
    tasks = [asyncio.create_task(one.run(ear), name=one.name) for one in inputs]
    try:
        while not stop.is_set() and (until_s is None or loop.time() < until_s):
            turn_s = _TURN_S if until_s is None else min(_TURN_S, max(until_s - loop.time(), 0.0))
            done, waiting = await asyncio.wait(
                tasks, timeout=turn_s, return_when=asyncio.FIRST_EXCEPTION
            )
            for task in done:
                task.result()
            show()
            if not waiting:
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""Folds reads of RFID tags: one reading per tag and pass of a portal, or per burst at an antenna.

A pass or burst ends when the tag has not been read for `quiet_s`. A tag that stays is told every
`longest_s`, with `ongoing: true`; its direction comes once, when it leaves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

from tagtrail_agent.binding import Range
from tagtrail_agent.inputs.direction import Sighting, Track, direction_of
from tagtrail_agent.readings import Reading

PASSES_AT_ONCE: Final = 1_500
"""Passes under way at most; the one longest unread is told early beyond that.
About 15 MB if every tag stays long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalOptions:
    """One portal: a door, a gate, a tunnel.

    Attributes:
        outer: Antenna ports on the outside.
        inner: Antenna ports on the inside, none of them in `outer`.
        gateway_id: Receiver that its readings name; None = the reader's.
    """

    outer: tuple[int, ...]
    inner: tuple[int, ...]
    gateway_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldingOptions:
    """When reads belong together.

    Attributes:
        quiet_s: A pass ends when its tag was not read for so long, seconds, > 0.
        longest_s: A tag that stays is told this often, seconds, > quiet_s.
        min_reads: Fewer reads give no direction, >= 2.
    """

    quiet_s: Annotated[float, Range(0.1, 3_600)] = 2.0
    longest_s: Annotated[float, Range(1, 86_400)] = 30.0
    min_reads: Annotated[int, Range(2, 100)] = 4


class Read(NamedTuple):
    """One or more reads of one tag by one antenna at about one time.

    Attributes:
        epc: Upper-case hexadecimal digits.
        antenna: Port.
        rssi_dbm: Power, dBm; None = not told.
        elapsed_s: When, by our monotonic clock, seconds.
        reads: How many, >= 1.
    """

    epc: str
    antenna: int
    rssi_dbm: float | None
    elapsed_s: float
    reads: int = 1


@dataclass(slots=True)
class _Pass:
    first_s: float
    last_s: float
    told_s: float
    reads: int = 0
    by_antenna: dict[int, int] = field(default_factory=dict)
    best_dbm: float | None = None
    best_antenna: int = 0
    track: Track | None = None


class _Place(NamedTuple):
    """Where a pass is: a portal, or a single antenna."""

    number: int
    portal: PortalOptions | None


class ReadFolder:
    """Folds the reads of one reader.

    Args:
        gateway_id: The reader, as receiver of its readings; None = the agent's own gateway.
        portals: Its portals; every other antenna folds on its own, without direction.
        options: When reads belong together.

    Raises:
        ValueError: an antenna belongs to two sides or portals.
    """

    def __init__(
        self,
        gateway_id: str | None,
        portals: Sequence[PortalOptions] = (),
        options: FoldingOptions | None = None,
    ) -> None:
        self._gateway_id, self._options = gateway_id, options or FoldingOptions()
        self._inner = {a for portal in portals for a in portal.inner}
        self._places: dict[int, _Place] = {}
        for number, portal in enumerate(portals):
            for antenna in (*portal.outer, *portal.inner):
                if antenna in self._places:
                    raise ValueError(
                        f"antenna {antenna} stands on two sides or in two portals; give each "
                        "antenna one place"
                    )
                self._places[antenna] = _Place(-1 - number, portal)
        self._passes: OrderedDict[tuple[str, int], _Pass] = OrderedDict()
        self._ready: list[tuple[str, _Place, _Pass, bool]] = []

    def add(self, reads: Iterable[Read]) -> None:
        """Take reads, nearly in order of time."""
        for read in reads:
            self._add(read)

    def _add(self, read: Read) -> None:
        place = self._places.get(read.antenna) or _Place(read.antenna, None)
        key = (read.epc, place.number)
        known = self._passes.get(key)
        if known is not None and read.elapsed_s - known.last_s > self._options.quiet_s:
            self._ready.append((read.epc, place, self._passes.pop(key), False))
            known = None
        if known is None:
            known = self._begin(key, read.elapsed_s, place)
        self._count(known, read)
        self._passes.move_to_end(key)

    def _begin(self, key: tuple[str, int], elapsed_s: float, place: _Place) -> _Pass:
        if len(self._passes) >= PASSES_AT_ONCE:
            oldest, early = self._passes.popitem(last=False)
            self._ready.append((oldest[0], self._place(oldest[1]), early, False))
        track = Track() if place.portal else None
        begun = _Pass(elapsed_s, elapsed_s, elapsed_s, track=track)
        self._passes[key] = begun
        return begun

    def _count(self, known: _Pass, read: Read) -> None:
        known.first_s = min(known.first_s, read.elapsed_s)
        known.last_s = max(known.last_s, read.elapsed_s)
        known.reads += read.reads
        known.by_antenna[read.antenna] = known.by_antenna.get(read.antenna, 0) + read.reads
        if not known.best_antenna or (read.rssi_dbm or -200) > (known.best_dbm or -200):
            known.best_dbm, known.best_antenna = read.rssi_dbm, read.antenna
        if known.track is not None:
            inner = read.antenna in self._inner
            known.track.add(Sighting(read.elapsed_s, inner, read.rssi_dbm, read.reads))

    def _place(self, number: int) -> _Place:
        if number >= 0:
            return _Place(number, None)
        return next(p for p in self._places.values() if p.number == number)

    def due(self, now: datetime, elapsed_s: float) -> list[Reading]:
        """Return what has ended by now, and what goes on for long.

        Args:
            now: Wall clock, UTC.
            elapsed_s: Monotonic clock, seconds, of the same moment.
        """
        for key, known in list(self._passes.items()):
            if elapsed_s - known.last_s > self._options.quiet_s:
                self._ready.append((key[0], self._place(key[1]), self._passes.pop(key), False))
            elif elapsed_s - known.told_s >= self._options.longest_s:
                known.told_s = elapsed_s
                self._ready.append((key[0], self._place(key[1]), known, True))
        return self._drain(now, elapsed_s)

    def flush(self, now: datetime, elapsed_s: float) -> list[Reading]:
        """End everything at once, since the reader stops."""
        for key, known in self._passes.items():
            self._ready.append((key[0], self._place(key[1]), known, False))
        self._passes.clear()
        return self._drain(now, elapsed_s)

    def _drain(self, now: datetime, elapsed_s: float) -> list[Reading]:
        readings = [
            self._reading(epc, place, known, ongoing, now - timedelta(seconds=elapsed_s))
            for epc, place, known, ongoing in self._ready
        ]
        self._ready.clear()
        return readings

    def _reading(
        self, epc: str, place: _Place, known: _Pass, ongoing: bool, zero: datetime
    ) -> Reading:
        at = zero + timedelta(seconds=known.last_s)
        members: dict[str, Any] = {
            "technology": "rfid",
            "source_class": "reader",
            "antenna": known.best_antenna,
            "samples": known.reads,
            "first_seen_at": _text(zero + timedelta(seconds=known.first_s)),
            "reads_by_antenna": {str(a): n for a, n in sorted(known.by_antenna.items())},
        }
        if known.best_dbm is not None:
            members["rssi_dbm"] = known.best_dbm
        if ongoing:
            members["ongoing"] = True
        elif known.track is not None:
            members["direction"] = direction_of(
                known.track.sightings(), min_reads=self._options.min_reads
            )
        gateway_id = (place.portal.gateway_id if place.portal else None) or self._gateway_id
        return Reading(f"epc:{epc}", at, known.last_s, members, gateway_id)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

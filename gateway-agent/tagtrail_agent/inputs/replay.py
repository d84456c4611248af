"""Recordings: adverts, native batches or broker messages, one JSON object a line, perhaps gzipped.

- `{"address", "ad" (hex), "rssi_dbm", "at", "random_address"?, "gateway_id"?}` is an advert;
- `{"sightings": [...]}` is a batch of the native wire format;
- `{"topic", "payload"}` is a message as a gateway published it, with `at` if it was noted.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal, cast

from tagtrail_agent.binding import Range
from tagtrail_agent.clock import Clock
from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.common import Clocks
from tagtrail_agent.inputs.formats import values
from tagtrail_agent.inputs.formats.native import read_batch
from tagtrail_agent.inputs.formats.told import Sound, Told
from tagtrail_agent.inputs.formats.values import UnreadableError
from tagtrail_agent.inputs.mqtt import MqttGateways, MqttOptions
from tagtrail_agent.readings import Advert, Ear, Reading

MOST_LINE_BYTES: Final = 1 << 20
"""The native format's largest message."""
_TURN_LINES: Final = 64
"""Lines between two turns of others, as fast as possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """kind = "replay": a recording.

    Attributes:
        file: JSON lines; gzipped if the name ends in .gz.
        factor: How much faster than it was recorded, > 0; None = as fast as possible.
        times: "recorded" keeps the times of the recording; "now" moves them so that the first is now
            and the others follow at the recording's distances, divided by `factor`.
    """

    file: Path
    factor: Annotated[float, Range(0.001, 1e6)] | None = 1.0
    times: Literal["recorded", "now"] = "recorded"


@dataclass(slots=True)
class _Line:
    """What one line holds: sounds, or a gateway's message; and when it was."""

    at: datetime | None
    told: Told = field(default_factory=Told)
    topic: str | None = None
    payload: bytes = b""
    retained: bool = False


class Replay:
    """Plays a recording once; see `Input`.

    Attributes:
        name: Name for figures.
        counts: `lines`, `heard`, and what was left out by reason.

    Args:
        options: Which recording, and how fast.
        clock: Both clocks.
        name: Name for figures.
        enrolled: Says whether an identity is an enrolled tag's; see `MqttGateways`.
    """

    def __init__(
        self,
        options: ReplayOptions,
        clock: Clock,
        name: str = "replay",
        *,
        enrolled: Callable[[str], bool] | None = None,
    ) -> None:
        self.name = name
        self._options, self._clock = options, clock
        self._recorded: datetime = clock.now()
        recorder = Clocks(lambda: self._recorded, lambda: 0.0)
        self._gateways = MqttGateways(MqttOptions(), recorder, name, enrolled=enrolled)
        self.counts = self._gateways.counts
        self._first: datetime | None = None
        self._began, self._began_s = clock.now(), clock.elapsed_s()

    async def run(self, ear: Ear) -> None:
        """Play to the end.

        Raises:
            AgentError: the file cannot be read.
        """
        self._began, self._began_s = self._clock.now(), self._clock.elapsed_s()
        try:
            with _opened(self._options.file) as file:
                await self._play_all(file, ear)
        except (OSError, EOFError, zlib.error) as error:
            raise AgentError(
                f"input {self.name}: {self._options.file} cannot be read ({error}); give a file of "
                "JSON lines, gzipped only if its name ends in .gz"
            ) from error

    async def _play_all(self, file: BinaryIO, ear: Ear) -> None:
        number = 0
        while raw := file.readline(MOST_LINE_BYTES):
            number += 1
            if raw.strip():
                await self._play(raw, ear)
            if number % _TURN_LINES == 0:
                await asyncio.sleep(0)

    async def _play(self, raw: bytes, ear: Ear) -> None:
        self.counts["lines"] += 1
        try:
            line = _read(values.parse_object(raw))
        except UnreadableError as error:
            self.counts[error.reason] += 1
            return
        if line.at is not None:
            self._recorded = line.at
            self._first = self._first or line.at
            await self._wait(line.at)
        heard = [self._moved(one) for one in self._heard(line)]
        if heard:
            self.counts["heard"] += len(heard)
            ear.hear(heard)

    async def _wait(self, at: datetime) -> None:
        if self._options.factor is not None:
            due_s = self._began_s + self._after_s(at) / self._options.factor
            await asyncio.sleep(max(due_s - self._clock.elapsed_s(), 0.0))

    def _after_s(self, at: datetime) -> float:
        return (at - self._first).total_seconds() if self._first is not None else 0.0

    def _heard(self, line: _Line) -> Sequence[Advert | Reading]:
        if line.topic is not None:
            return self._gateways.take(line.topic, line.payload, retained=line.retained)
        self.counts.update(line.told.faults)
        return [
            sound.heard(sound.own or self._recorded, 0.0, sound.candidates[0])
            for sound in line.told.sounds
        ]

    def _moved(self, one: Advert | Reading) -> Advert | Reading:
        """Return it with the times that the options ask for, by both clocks together."""
        after_s = self._after_s(one.at)
        if self._options.times == "now":
            after_s /= self._options.factor or 1.0
            return replace(
                one, at=self._began + timedelta(seconds=after_s), elapsed_s=self._began_s + after_s
            )
        return replace(one, elapsed_s=self._began_s + after_s)


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _read(members: Mapping[str, Any]) -> _Line:
    """Read a line of any of the three kinds.

    Raises:
        UnreadableError: it is none of them.
    """
    at = values.moment(members, "at")
    if "sightings" in members:
        told = read_batch(members, None)
        return _Line(at or next((s.own for s in told.sounds if s.own), None), told)
    topic = values.text(members.get("topic"))
    if topic is not None and "payload" in members:
        payload = members["payload"]
        written = payload if isinstance(payload, str) else json.dumps(payload)
        return _Line(
            at, topic=topic, payload=written.encode(), retained=members.get("retain") is True
        )
    return _Line(at, Told([_advert(members, at)]))


def _advert(members: Mapping[str, Any], at: datetime | None) -> Sound:
    address, rssi_dbm = values.mac(members.get("address")), values.number(members, "rssi_dbm")
    ad = b"" if members.get("ad") == "" else values.octets(members.get("ad"))
    if address is None or ad is None or rssi_dbm is None:
        raise UnreadableError("no_advert")
    kind = members.get("random_address")
    return Sound(
        gateway_id=values.receiver(members.get("gateway_id")),
        rssi_dbm=rssi_dbm,
        address=address,
        ad=ad,
        random_address=kind if isinstance(kind, bool) else None,
        own=at,
    )

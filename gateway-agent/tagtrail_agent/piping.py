"""Readings of another program, one JSON object a line: the simplest way to add a source.

Each line is an item of the native wire format with `tag`, and perhaps `at` and others. A line is
answered on the standard output when it has been kept, so that the other program knows how far it
got: `{"kept": 17}` names the 17th line since the start.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tagtrail_agent.clock import Clock
from tagtrail_agent.inputs.common import Clocks, heard_at
from tagtrail_agent.readings import Ear, Reading

MOST_LINE_BYTES: Final = 65_536
"""Longer lines are no readings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesOptions:
    """kind = "lines": readings on the standard input.

    Attributes:
        answer: Whether lines are answered on the standard output.
    """

    answer: bool = True


class Lines:
    """An input that reads the standard input.

    Args:
        options: Whether lines are answered.
        clock: Both clocks.
        name: Name for figures.
    """

    def __init__(self, options: LinesOptions, clock: Clock, name: str = "lines") -> None:
        self.name = name
        self._answer = options.answer
        self._clocks = Clocks(clock.now, clock.elapsed_s)
        self.counts = {"lines": 0, "unreadable": 0}

    async def run(self, ear: Ear) -> None:
        """Hear until the other program closes its end, or cancelled."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MOST_LINE_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_read_pipe(lambda: protocol, sys.stdin)
        try:
            while line := await self._line(reader):
                self.counts["lines"] += 1
                reading = self._reading(line)
                if reading is None:
                    self.counts["unreadable"] += 1
                else:
                    ear.hear([reading])
                if self._answer:
                    sys.stdout.write(f'{{"kept": {self.counts["lines"]}}}\n')
                    sys.stdout.flush()
        finally:
            transport.close()

    @staticmethod
    async def _line(reader: asyncio.StreamReader) -> bytes:
        while True:
            try:
                return await reader.readline()
            except ValueError:  # longer than the limit: asyncio has thrown the beginning away
                continue

    def _reading(self, line: bytes) -> Reading | None:
        try:
            members = json.loads(line)
            tag = members.pop("tag")
            written = members.pop("at", None)
            own = datetime.fromisoformat(written) if written is not None else None
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        if not isinstance(tag, str) or not isinstance(members, dict):
            return None
        if own is not None and own.tzinfo is None:
            return None
        gateway_id: Any = members.pop("gateway_id", None)
        members.pop("id", None)
        at, elapsed_s = heard_at(own, self._clocks)
        return Reading(tag, at, elapsed_s, members, gateway_id or None)

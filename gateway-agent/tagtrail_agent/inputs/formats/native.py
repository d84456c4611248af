"""The native wire format (docs/wire-format.md), from a gateway that has no agent of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tagtrail_agent.inputs.formats import values
from tagtrail_agent.inputs.formats.told import Sound, Told
from tagtrail_agent.inputs.formats.values import UnreadableError


def read_native(levels: Sequence[str], payload: bytes) -> Told:
    """Read `tagtrail/v1/<site>/<gateway>/…`.

    Raises:
        UnreadableError: it is no batch.
    """
    match levels:
        case [_, _, _, gateway, "sightings"]:
            return read_batch(values.parse_object(payload), values.receiver(gateway))
        case [_, _, _, _, "status"]:
            return Told(state=True)
        case _:
            return Told()


def read_batch(batch: Mapping[str, Any], gateway_id: str | None) -> Told:
    """Read a batch.

    Args:
        batch: Object with the list `sightings`.
        gateway_id: The receiver, unless batch or item names one.

    Raises:
        UnreadableError: it has no such list.
    """
    items = batch.get("sightings")
    if not isinstance(items, list):
        raise UnreadableError("no_sightings")
    told = Told()
    receiver = values.receiver(batch.get("gateway_id")) or gateway_id
    for item in items:
        tag = values.text(item.get("tag")) if isinstance(item, dict) else None
        if tag is None:
            told.faults["no_identity"] += 1
            continue
        own = values.moment(item, "at") or values.moment(batch, "sent_at")
        named = values.receiver(item.get("gateway_id")) or receiver
        left_out = ("tag", "at", "gateway_id", "id", "rssi_dbm")
        members = {k: v for k, v in item.items() if k not in left_out}
        rssi_dbm = values.number(item, "rssi_dbm")
        told.sounds.append(Sound(named, rssi_dbm, tags=(tag,), members=members, own=own))
    return told

"""raddec of reelyActive: one transmitter, and each receiver that decoded it."""

from __future__ import annotations

from typing import Any, Final, Literal

from tagtrail_ingest.adapters import adverts, values
from tagtrail_ingest.adapters.ble import hear
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times

FORMAT: Final = "raddec"
_KINDS: Final = {1: "eui64", 4: "tid", 5: "epc", 6: "uuid", 7: "eurid"}
"""raddec's identifier types; 0 is unknown, 2 and 3 are 48-bit addresses."""
_PDU_HEAD_BYTES: Final = 8
"""Packets begin with the link layer's header (2 bytes) and the sender's address (6)."""


def read(message: Message) -> Decoded:
    """Read one raddec, or an array of them.

    Raises:
        UnreadableError: it has no transmitter.
    """
    out = Outcome(message, FORMAT)
    elements, index = values.parse_objects(message.payload), 0
    for element in elements:
        with out.item(index, among=len(elements)):
            if not values.is_object(element) or "transmitterId" not in element:
                raise UnreadableError("expected a raddec with transmitterId and rssiSignature")
            index = _raddec(out, Members(element), index)
    return out.done()


def _raddec(out: Outcome, members: Members, index: int) -> int:
    kind = members.integer("transmitterIdType") or 0
    named = members.text("transmitterId") or ""
    address = values.mac(named) if kind in (0, 2, 3) else None
    identities = _identities(kind, named, address)
    packets = [p for p in map(values.octets, members.items("packets")) if p]
    times = Times(gateway_received_at=members.moment("timestamp"))
    signature = members.items("rssiSignature")
    members.drop("transmitterId")
    for receiver in signature:
        with out.item(index):
            technology: Literal["ble", "rfid"] = "rfid" if kind in (4, 5) else "ble"
            _receiver(out, receiver, identities, address, packets, times, members.rest, technology)
        index += 1
    return index


def _identities(kind: int, named: str, address: str | None) -> tuple[str, ...]:
    if address or not named:
        return ()
    value = named.upper() if kind in (4, 5) else values.hex_id(named)
    return (f"{_KINDS.get(kind, 'raddec')}:{value}",) if len(value) <= 128 else ()


def _receiver(
    out: Outcome,
    receiver: object,
    identities: tuple[str, ...],
    address: str | None,
    packets: list[bytes],
    times: Times,
    rest: dict[str, Any],
    technology: Literal["ble", "rfid"],
) -> None:
    if not values.is_object(receiver):
        raise ItemRefusedError("bad_value", "a receiver must be an object")
    members = Members(receiver)
    fields: dict[str, Any] = {
        "rssi_dbm": members.strict_number("rssi"),
        "samples": members.integer("numberOfDecodings"),
        "antenna": members.integer("receiverAntenna"),
        "technology": technology,
    }
    named = members.text("receiverId")
    hear(
        out,
        gateway_id=values.receiver(values.hex_id(named)) if named else None,
        address=address,
        advert=_merged(packets),
        identities=identities,
        times=times,
        fields=fields,
        rest={**rest, **members.rest},
        content=b"".join(packets),
    )


def _merged(packets: list[bytes]) -> adverts.Advert:
    return adverts.merge(adverts.read_advert(packet[_PDU_HEAD_BYTES:]) for packet in packets)

"""What goes over the wire, and what became of it on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

Kind = Literal["sightings", "status", "fact"]


class Transmission(NamedTuple):
    """One message as it arrives; tuples sort by time of delivery.

    Attributes:
        deliver_s: When it arrives, seconds since the simulated start.
        serial: Number within the run, breaks ties.
        kind: What it carries.
        format: Wire format; "events" for business facts.
        site_id: Site of the sender.
        gateway_id: Sender as it names itself; "" for business facts.
        topic: MQTT topic; "" for business facts.
        payload: Bytes as sent.
        qos: MQTT quality of service.
        retained: MQTT retain flag.
        sightings: Readings in it, repeats included.
    """

    deliver_s: float
    serial: int
    kind: Kind
    format: str
    site_id: str
    gateway_id: str
    topic: str
    payload: bytes
    qos: int = 1
    retained: bool = False
    sightings: int = 0


@dataclass(slots=True)
class Counts:
    """Book-keeping of one wire format: `sent == unique + duplicates`.

    Attributes:
        messages: Messages with readings, re-deliveries included.
        sent: Readings in them, repeats included.
        unique: Different readings; that many events the log must hold in the end.
        duplicates: Readings that repeat another one with the same identity or the same bytes.
        echoes: Of the unique ones, second readings of the same advert within milliseconds.
        late: Of the sent ones, those held back on the way by more than normal latency.
        lost: Readings lost with a dead link of a gateway that cannot buffer; not sent.
        dark: Readings that a gateway without power did not make; not sent.
    """

    messages: int = 0
    sent: int = 0
    unique: int = 0
    duplicates: int = 0
    echoes: int = 0
    late: int = 0
    lost: int = 0
    dark: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)

"""Walking the AD structures of an advert and handing each to whom it concerns.

Source: Bluetooth Core Specification Supplement, part A; assigned numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from tagtrail_agent.decoding import apple, bthome, eddystone, mibeacon, ruuvi, trackers
from tagtrail_agent.decoding.decoded import Decoded, signed
from tagtrail_agent.decoding.layouts import Layout

Reader = Callable[[Decoded, bytes], None]

_TX_POWER: Final = 0x0A
_SERVICE_16: Final = 0x16
_SERVICE_128: Final = 0x21
_MANUFACTURER: Final = 0xFF
_HAVE_NUMBERS: Final = frozenset({_SERVICE_16, _MANUFACTURER})

SERVICES: Final[Mapping[int, Reader]] = {
    0xFE95: mibeacon.read,
    0xFEAA: eddystone.read,
    0xFCD2: bthome.read,
    0xFEED: trackers.read_tile,
    0xFEEC: trackers.read_tile,
    0xFD5A: trackers.read_smarttag,
    0xFD59: trackers.read_unpaired_smarttag,
    0xFCB2: trackers.read_dult,
}
COMPANIES: Final[Mapping[int, Reader]] = {0x004C: apple.read, 0x0499: ruuvi.read}


class Decoder:
    """Decodes adverts.

    Args:
        layouts: Further kinds of adverts, described as data (see `tag_models.yaml`); one for a
            service or company that is known already is read beside the known format.
    """

    def __init__(self, layouts: Iterable[Layout] = ()) -> None:
        self._services: dict[int, Reader] = dict(SERVICES)
        self._companies: dict[int, Reader] = dict(COMPANIES)
        for layout in layouts:
            readers = self._companies if layout.by_company else self._services
            before = readers.get(layout.number)
            readers[layout.number] = layout.read if before is None else _both(before, layout.read)

    def decode(self, ad: bytes) -> Decoded:
        """Read AD structures as a scanner reports them (no PDU header, no checksum).

        A structure that is cut short ends the reading; what came before it counts.
        """
        decoded = Decoded()
        at, end = 0, len(ad)
        while at + 1 < end:
            stop = at + 1 + ad[at]
            if stop > end or stop == at + 1:
                break
            kind = ad[at + 1]
            if kind in _HAVE_NUMBERS:
                if stop >= at + 4:
                    readers = self._services if kind == _SERVICE_16 else self._companies
                    reader = readers.get(ad[at + 2] | ad[at + 3] << 8)
                    if reader is not None:
                        reader(decoded, ad[at + 4 : stop])
            elif kind == _SERVICE_128:
                self._service_128(decoded, ad[at + 2 : stop])
            elif kind == _TX_POWER and stop == at + 3:
                decoded.members["tx_power_dbm"] = signed(ad[at + 2])
            at = stop
        return decoded

    def _service_128(self, decoded: Decoded, data: bytes) -> None:
        if len(data) >= 16:
            reader = self._services.get(int.from_bytes(data[:16], "little"))
            if reader is not None:
                reader(decoded, data[16:])


def _both(first: Reader, second: Reader) -> Reader:
    def read(decoded: Decoded, data: bytes) -> None:
        first(decoded, data)
        second(decoded, data)

    return read


decode: Final = Decoder().decode
"""Decodes what this package knows by itself, without further layouts."""

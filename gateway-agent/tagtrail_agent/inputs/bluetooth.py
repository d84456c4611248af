"""The gateway's own Bluetooth adapter, by bleak (extra `bluetooth`) and BlueZ.

bleak takes adverts apart; here they are put together again as AD structures, for our own decoders. The
operating system may have merged several adverts of one sender by then, and keeps the flags for itself.

BlueZ sometimes goes deaf: the scanner is started again when nothing was heard for `silence_s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Protocol
from uuid import UUID

from tagtrail_agent.binding import Range
from tagtrail_agent.clock import Clock
from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.common import Backoff
from tagtrail_agent.inputs.formats import values
from tagtrail_agent.readings import Advert, Ear

_FLAGS, _SERVICE_DATA, _MAKER = 0x01, 0x16, 0xFF
PATTERNS: Final[tuple[tuple[int, int, bytes], ...]] = (
    *((0, _FLAGS, bytes([flags])) for flags in (0x02, 0x04, 0x05, 0x06, 0x1A, 0x1B, 0x1E)),
    *((0, _MAKER, company.to_bytes(2, "little")) for company in (0x004C, 0x0499, 0x0075, 0x038F)),
    *(
        (0, _SERVICE_DATA, uuid.to_bytes(2, "little"))
        for uuid in (0xFE95, 0xFEAA, 0xFCD2, 0xFCB2, 0xFEED, 0xFD5A, 0xFD59, 0x181C, 0x181E)
    ),
)
"""What BlueZ hands on when it scans passively: it has no "everything". The usual flags, and the
makers and services that our decoders know, whose adverts may have no flags."""

NO_RSSI_DBM: Final = -127
"""What bleak says where the system told no RSSI."""
_BASE_UUID: Final = re.compile(r"([0-9a-f]{8})-0000-1000-8000-00805f9b34fb")
_STOP_S: Final = 10.0
"""A frozen BlueZ does not answer a stop; then a new scanner is made without it."""

log = logging.getLogger(__name__)


class _Data(Protocol):
    """bleak's AdvertisementData, as far as it is used."""

    manufacturer_data: Mapping[int, bytes]
    service_data: Mapping[str, bytes]
    service_uuids: Sequence[str]
    tx_power: int | None
    rssi: int
    platform_data: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BluetoothOptions:
    """kind = "bluetooth": the gateway's own adapter.

    Attributes:
        adapter: Such as "hci0"; None = the system's default.
        mode: "passive" only listens, which needs BlueZ 5.56 with its experimental interfaces; where it
            does not work, "active" is used, which also asks each sender for its scan response.
        silence_s: With no advert for so long the scanner is started again, seconds.
        retry_least_s: First wait after a failed start, seconds.
        retry_most_s: Longest wait, seconds.
    """

    adapter: str | None = None
    mode: Literal["passive", "active"] = "passive"
    silence_s: Annotated[float, Range(0.05, 86_400)] = 60.0
    retry_least_s: Annotated[float, Range(0.01, 600)] = 1.0
    retry_most_s: Annotated[float, Range(0.01, 3_600)] = 60.0


class Bluetooth:
    """Hears the adapter; see `Input`.

    Attributes:
        name: Name for figures.
        counts: `adverts`, `starts`, `silences`, `failed_starts`, and what was left out by reason.
        mode: How it scans; "active" once passive scanning turned out not to work.

    Args:
        options: Which adapter, and how.
        clock: Both clocks.
        name: Name for figures.
        bleak: Stands in for the package of that name.

    Raises:
        AgentError: the package is not installed.
    """

    def __init__(
        self, options: BluetoothOptions, clock: Clock, name: str = "bluetooth", *, bleak: Any = None
    ) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.mode = options.mode
        self._options, self._clock = options, clock
        self._bleak = bleak if bleak is not None else _package(name)
        self._heard_s = clock.elapsed_s()
        self._worked = False

    async def run(self, ear: Ear) -> None:
        """Hear until cancelled.

        Raises:
            AgentError: there is no D-Bus or no BlueZ.
        """
        backoff = Backoff(self._options.retry_least_s, self._options.retry_most_s)
        while True:
            if await self._scan(ear):
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next_s())

    async def _scan(self, ear: Ear) -> bool:
        """Scan until it falls silent; return whether it started."""
        scanner = self._scanner(ear)
        try:
            await scanner.start()
        except FileNotFoundError as error:
            self._failed(error, "there is no D-Bus here: install and start `dbus` and `bluez`")
            return False
        except self._bleak.exc.BleakError as error:
            self._refused(error)
            return False
        try:
            self.counts["starts"] += 1
            self._heard_s, self._worked = self._clock.elapsed_s(), True
            log.info("bluetooth.scanning", extra={"input": self.name, "mode": self.mode})
            await self._until_silent()
            self.counts["silences"] += 1
            log.warning("bluetooth.silent", extra={"input": self.name})
        finally:
            await self._stop(scanner)
        return True

    async def _until_silent(self) -> None:
        silence_s = self._options.silence_s
        while True:
            left_s = self._heard_s + silence_s - self._clock.elapsed_s()
            if left_s <= 0:
                return
            await asyncio.sleep(max(left_s, 0.01))

    async def _stop(self, scanner: Any) -> None:
        with contextlib.suppress(OSError, self._bleak.exc.BleakError):
            async with asyncio.timeout(_STOP_S):
                await scanner.stop()

    def _failed(self, error: Exception, what_to_do: str) -> None:
        """Count a start that failed for want of the system's services.

        Raises:
            AgentError: it never worked.
        """
        if not self._worked:
            raise AgentError(f"input {self.name}: {what_to_do}") from error
        self._note(error)

    def _note(self, error: Exception) -> None:
        self.counts["failed_starts"] += 1
        log.warning("bluetooth.failed", extra={"input": self.name, "reason": str(error)[:200]})

    def _refused(self, error: Exception) -> None:
        """Count a start that BlueZ refused; after a refused passive scan, scan actively.

        Raises:
            AgentError: BlueZ does not run, and never did.
        """
        if getattr(error, "dbus_error", "") == "org.freedesktop.DBus.Error.ServiceUnknown":
            self._failed(error, "BlueZ does not run: install `bluez`, start `bluetooth.service`")
            return
        self._note(error)
        unavailable = isinstance(error, self._bleak.exc.BleakBluetoothNotAvailableError)
        if self.mode == "passive" and not unavailable:
            self.mode = "active"
            log.warning("bluetooth.no_passive_scan", extra={"input": self.name})

    def _scanner(self, ear: Ear) -> Any:
        bluez: dict[str, Any] = {}
        if self._options.adapter is not None:
            bluez["adapter"] = self._options.adapter
        if self.mode == "passive":
            bluez["or_patterns"] = list(PATTERNS)

        def detected(device: Any, data: _Data) -> None:
            self._detected(str(device.address), data, ear)

        return self._bleak.BleakScanner(detected, scanning_mode=self.mode, bluez=bluez)

    def _detected(self, written: str, data: _Data, ear: Ear) -> None:
        self._heard_s = self._clock.elapsed_s()
        address = values.mac(written)
        if address is None or data.rssi <= NO_RSSI_DBM:
            self.counts["no_address" if address is None else "no_rssi"] += 1
            return
        self.counts["adverts"] += 1
        advert = Advert(
            address=address,
            ad=structures_of(data),
            rssi_dbm=data.rssi,
            at=self._clock.now(),
            elapsed_s=self._heard_s,
            random_address=_is_random(data),
        )
        ear.hear([advert])


def _package(name: str) -> Any:
    try:
        return importlib.import_module("bleak")
    except ImportError as error:
        raise AgentError(
            f"input {name}: the package bleak is missing; install it with "
            '`pip install "tagtrail-agent[bluetooth]"`, or take the input out'
        ) from error


def _is_random(data: _Data) -> bool | None:
    """Say whether BlueZ calls the address random; None where it says nothing."""
    properties = data.platform_data[1] if len(data.platform_data) > 1 else None
    kind = properties.get("AddressType") if isinstance(properties, dict) else None
    return None if kind is None else kind == "random"


def structures_of(data: _Data) -> bytes:
    """Put AD structures together again (Core Specification Supplement, Part A).

    Flags and name are not in it: BlueZ keeps the one, and the other is a person's word.

    Args:
        data: What bleak tells of an advert.
    """
    parts = [
        structure(_MAKER, company.to_bytes(2, "little") + bytes(value))
        for company, value in data.manufacturer_data.items()
        if 0 <= company < 1 << 16
    ]
    kinds = {2: _SERVICE_DATA, 4: 0x20, 16: 0x21}
    for written, value in data.service_data.items():
        uuid = _uuid(written)
        if uuid:
            parts.append(structure(kinds[len(uuid)], uuid + bytes(value)))
    lists: dict[int, bytes] = {}
    for uuid in filter(None, map(_uuid, data.service_uuids)):
        lists[len(uuid)] = lists.get(len(uuid), b"") + uuid
    parts += [structure({2: 0x03, 4: 0x05, 16: 0x07}[n], uuids) for n, uuids in lists.items()]
    if data.tx_power is not None and -128 <= data.tx_power < 128:
        parts.append(structure(0x0A, data.tx_power.to_bytes(1, signed=True)))
    return b"".join(parts)


def structure(kind: int, value: bytes) -> bytes:
    r"""Return one AD structure; nothing if its value has more than 254 bytes.

    Example:
        >>> structure(0x0A, b"\x04").hex()
        '020a04'
    """
    return bytes([len(value) + 1, kind]) + value if len(value) <= 254 else b""


def _uuid(written: str) -> bytes | None:
    """Return a service's UUID as on the air: 2, 4 or 16 bytes, the lowest first."""
    short = _BASE_UUID.fullmatch(written.lower())
    if short:
        octets = bytes.fromhex(short[1])[::-1]
        return octets[:2] if octets.endswith(b"\0\0") else octets
    try:
        return UUID(written).bytes[::-1]
    except ValueError:
        return None

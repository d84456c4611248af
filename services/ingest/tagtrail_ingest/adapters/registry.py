"""The table of formats: one adapter per wire format, and the HTTP routes that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tagtrail_ingest.adapters import (
    aprilbrother,
    cassia,
    espresense,
    find3,
    impinj,
    kontakt,
    minew,
    native,
    omlox,
    openmqttgateway,
    owntracks,
    raddec,
    reelables,
    roomassistant,
    ruuvi,
    sewio,
    shelly,
    traccar,
)
from tagtrail_ingest.adapters.contract import Adapter, Decoded, Message
from tagtrail_kernel.events.sightings import SourceClass

_READERS: Final[Mapping[str, Callable[[Message], Decoded]]] = {
    native.FORMAT: native.read,
    espresense.FORMAT: espresense.read,
    openmqttgateway.FORMAT: openmqttgateway.read,
    ruuvi.FORMAT: ruuvi.read,
    minew.FORMAT: minew.read,
    shelly.FORMAT: shelly.read,
    kontakt.FORMAT: kontakt.read,
    aprilbrother.FORMAT: aprilbrother.read,
    cassia.FORMAT: cassia.read,
    impinj.FORMAT: impinj.read,
    owntracks.FORMAT: owntracks.read,
    traccar.FORMAT: traccar.read,
    sewio.FORMAT: sewio.read,
    reelables.FORMAT: reelables.read,
    roomassistant.FORMAT: roomassistant.read,
    find3.FORMAT: find3.read,
    raddec.FORMAT: raddec.read,
    omlox.FORMAT: omlox.read,
}

_SOURCE_CLASSES: Final[Mapping[str, SourceClass]] = {reelables.FORMAT: "partner_network"}
"""Formats that carry nothing of one's own."""

ADAPTERS: Final[Mapping[str, Adapter]] = {
    name: Adapter(
        name, reader, verdicts=name == native.FORMAT, source_class=_SOURCE_CLASSES.get(name)
    )
    for name, reader in _READERS.items()
}
"""By format name."""

_TOPIC_ONLY: Final = frozenset({espresense.FORMAT, openmqttgateway.FORMAT, native.FORMAT})
"""Formats that mean nothing without their topic, and the native one, which has its own route."""

ROUTES: Final[Mapping[str, str]] = {
    **{name: name for name in ADAPTERS if name not in _TOPIC_ONLY},
    "minew-binary": minew.FORMAT,
    "room-assistant": roomassistant.FORMAT,
    "omlox-location": omlox.FORMAT,
    "omlox-proximity": omlox.FORMAT,
}
"""Format of the route `POST /v1/messages/{format}` -> adapter name."""

"""The table of formats: one adapter per wire format, and the HTTP routes that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tagtrail_ingest.adapters import espresense, native
from tagtrail_ingest.adapters.contract import Adapter, Decoded, Message, UnreadableError

_NAMES = (
    "openmqttgateway", "ruuvi", "minew", "shelly", "kontakt",
    "aprilbrother", "cassia", "impinj", "owntracks", "traccar", "sewio", "reelables",
    "roomassistant", "find3", "raddec", "omlox",
)  # fmt: skip


def _not_yet(message: Message) -> Decoded:
    raise UnreadableError(f"no reader for {message.topic or message.route}")


_READERS: Final[Mapping[str, Callable[[Message], Decoded]]] = {
    **dict.fromkeys(_NAMES, _not_yet),
    "native": native.read,
    "espresense": espresense.read,
}

ADAPTERS: Final[Mapping[str, Adapter]] = {
    name: Adapter(name, reader) for name, reader in _READERS.items()
}
"""By format name."""

ROUTES: Final[Mapping[str, str]] = {name: name for name in ADAPTERS}
"""Format of the route `POST /v1/gateways/{route}` -> adapter name."""

"""The table of formats: one adapter per wire format, and the HTTP routes that lead to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tagtrail_ingest.adapters.contract import Adapter, Decoded, Message, UnreadableError

_NAMES = (
    "native", "espresense", "openmqttgateway", "ruuvi", "minew", "shelly", "kontakt",
    "aprilbrother", "cassia", "impinj", "owntracks", "traccar", "sewio", "reelables",
    "roomassistant", "find3", "raddec", "omlox",
)  # fmt: skip


def _not_yet(message: Message) -> Decoded:
    raise UnreadableError(f"no reader for {message.topic or message.route}")


ADAPTERS: Final[Mapping[str, Adapter]] = {name: Adapter(name, _not_yet) for name in _NAMES}
"""By format name."""

ROUTES: Final[Mapping[str, str]] = {name: name for name in _NAMES}
"""Format of the route `POST /v1/gateways/{route}` -> adapter name."""

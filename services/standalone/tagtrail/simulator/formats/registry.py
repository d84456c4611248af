"""Which class speaks which wire format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from tagtrail.simulator.formats.espresense import EspresenseVoice
from tagtrail.simulator.formats.minew import MinewVoice
from tagtrail.simulator.formats.native import NativeVoice
from tagtrail.simulator.formats.openmqttgateway import OpenMqttGatewayVoice
from tagtrail.simulator.formats.ruuvi import RuuviVoice
from tagtrail.simulator.formats.voice import Voice
from tagtrail.simulator.roster import Gateway
from tagtrail.simulator.scenario import Format

VOICES: Final[Mapping[Format, Callable[[Gateway, datetime, float], Voice]]] = {
    "native": NativeVoice,
    "espresense": EspresenseVoice,
    "openmqttgateway": OpenMqttGatewayVoice,
    "ruuvi": RuuviVoice,
    "minew": MinewVoice,
}


def voice_of(gateway: Gateway, start: datetime, rssi_1m_dbm: float) -> Voice:
    """Return the voice of a gateway.

    Args:
        gateway: Who speaks.
        start: Simulated start, aware.
        rssi_1m_dbm: Power of a standard tag at 1 m as this gateway reports it, dBm.
    """
    return VOICES[gateway.format](gateway, start, rssi_1m_dbm)

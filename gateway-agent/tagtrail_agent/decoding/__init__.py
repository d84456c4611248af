"""Decoding BLE adverts. Total: any bytes give an answer."""

from tagtrail_agent.decoding.decoded import Decoded, Sealed
from tagtrail_agent.decoding.decoder import Decoder, decode
from tagtrail_agent.decoding.layouts import Layout, LayoutError
from tagtrail_agent.decoding.opening import unseal

__all__ = ["Decoded", "Decoder", "Layout", "LayoutError", "Sealed", "decode", "unseal"]

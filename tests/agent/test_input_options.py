"""Every input's options can be written in agent.toml."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from tagtrail_agent.binding import Document, bind
from tagtrail_agent.errors import ConfigError
from tagtrail_agent.inputs.bluetooth import BluetoothOptions
from tagtrail_agent.inputs.llrp.client import LlrpOptions
from tagtrail_agent.inputs.mqtt import MqttOptions, TopicOptions
from tagtrail_agent.inputs.phone import PhoneOptions, PhonesOptions
from tagtrail_agent.inputs.portal import FoldingOptions, PortalOptions
from tagtrail_agent.inputs.replay import ReplayOptions
from tagtrail_agent.inputs.uwb import UwbOptions

TEXTS: list[tuple[str, Any]] = [
    (
        'adapter = "hci1"\nmode = "active"\nsilence_s = 30',
        BluetoothOptions(adapter="hci1", mode="active", silence_s=30),
    ),
    (
        """
host = "reader-1.lan"
antennas = [1, 2, 3]
power_dbm = 27
session = 1
portals = [{ outer = [1], inner = [2] }]
folding = { quiet_s = 3 }
""",
        LlrpOptions(
            host="reader-1.lan",
            antennas=(1, 2, 3),
            power_dbm=27.0,
            session=1,
            portals=(PortalOptions(outer=(1,), inner=(2,)),),
            folding=FoldingOptions(quiet_s=3.0),
        ),
    ),
    (
        """
username = "agent"
password_file = "/etc/x"
topics = [{ filter = "hall/#", format = "minew" }]
""",
        MqttOptions(
            username="agent",
            password_file=Path("/etc/x"),
            topics=(TopicOptions(filter="hall/#", format="minew"),),
        ),
    ),
    (
        'origins = ["https://console.example"]\n[[phones]]\nphone_id = "anna"\ntoken_sha256 = "00"',
        PhonesOptions(
            phones=(PhoneOptions(phone_id="anna", token_sha256="00"),),
            origins=("https://console.example",),
        ),
    ),
    ("udp_port = 7000", UwbOptions(udp_port=7000)),
    ('device = "/dev/ttyACM0"\nbaud = 9600', UwbOptions(device=Path("/dev/ttyACM0"), baud=9600)),
    ('file = "x.jsonl.gz"\nfactor = 10', ReplayOptions(file=Path("x.jsonl.gz"), factor=10.0)),
]


@pytest.mark.parametrize(("text", "options"), TEXTS, ids=lambda v: type(v).__name__)
def test_options_are_read_from_toml(text: str, options: Any) -> None:
    document = Document(text, "agent.toml")

    assert bind(type(options), document, document.tables, ()) == options


@pytest.mark.parametrize(
    ("cls", "text", "words"),
    [
        (LlrpOptions, 'host = "x"\nsession = 4', "session is 4; it must be at most 3"),
        (LlrpOptions, "port = 1", "host is missing"),
        (BluetoothOptions, 'mode = "loud"', "allowed are 'passive', 'active'"),
        (UwbOptions, "udp_port = 65536", "at most 65535"),
        (ReplayOptions, 'file = "x"\nfactor = 0', "at least 0.001"),
    ],
)
def test_values_that_cannot_work_are_refused(cls: type, text: str, words: str) -> None:
    document = Document(text, "agent.toml")

    with pytest.raises(ConfigError, match=words):
        bind(cls, document, document.tables, ())


@pytest.mark.parametrize(
    "cls",
    [BluetoothOptions, LlrpOptions, PortalOptions, FoldingOptions, MqttOptions, TopicOptions,
     PhonesOptions, PhoneOptions, UwbOptions, ReplayOptions],
)  # fmt: skip
def test_every_option_is_described(cls: Any) -> None:
    described = set(re.findall(r"^\s+(\w+(?:, \w+)*):", cls.__doc__ or "", re.MULTILINE))
    names = {name for group in described for name in group.split(", ")}

    assert {f.name for f in dataclasses.fields(cls)} <= names

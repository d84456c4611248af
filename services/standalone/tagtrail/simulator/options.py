"""Options of `tagtrail simulate`, and how their texts are read."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from tagtrail.simulator.playback import FASTEST, start_for
from tagtrail.simulator.scenario import FORMATS, PRESETS, Format
from tagtrail_kernel.errors import RejectedError

_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

WorldName = Annotated[str, typer.Option(help=f"Ready-made warehouse: {', '.join(PRESETS)}.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
Duration = Annotated[
    str | None, typer.Option(help="Simulated time, e.g. 90s, 30m, 8h; default: the world's own.")
]
Speed = Annotated[
    str, typer.Option(help="Simulated seconds per second, or max for as fast as it is taken.")
]
Start = Annotated[
    str,
    typer.Option(
        help="Simulated start: a time with zone, now, or auto: now in real time; accelerated, so "
        "far back that the end meets the wall clock and no sighting lies in the future."
    ),
]
Formats = Annotated[
    str, typer.Option("--format", help=f"What gateways speak: {', '.join(FORMATS)}, a list, mixed.")
]
Tags = Annotated[int | None, typer.Option(min=1, help="Tags per site; default: the world's own.")]
Prefix = Annotated[str, typer.Option(help="Put before ids of tags, assets, SKUs and shipments.")]
Calm = Annotated[bool, typer.Option("--calm", help="Nothing moves and nothing fails.")]
Nlos = Annotated[
    float | None, typer.Option(min=0, max=0.9, help="Share of UWB ranges without line of sight.")
]
MqttUrl = Annotated[
    str | None,
    typer.Option(
        envvar="TAGTRAIL_MQTT_URL",
        help="Broker for gateways' messages: mqtt://user:password@host:port.",
    ),
]
ApiUrl = Annotated[
    str | None,
    typer.Option(
        envvar="TAGTRAIL_API_URL",
        help="API for registrations and business facts, and for sightings where no broker is "
        "given. Its key is read from TAGTRAIL_API_KEY.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Write everything that is sent as JSON lines.")]
TruthPath = Annotated[
    Path | None, typer.Option("--truth", help="Write what really happened as JSON lines.")
]
Positions = Annotated[
    float | None, typer.Option(min=0.1, help="Put all positions into the truth, every so many s.")
]
Registrations = Annotated[
    Path | None, typer.Option(help="Write the registrations as JSON lines of events.")
]
Register = Annotated[bool, typer.Option(help="Register the world through the API first.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def seconds(text: str) -> float:
    """Read a length of time: "90", "90s", "30m", "8h" or "1d".

    Raises:
        RejectedError: it is none, or not positive.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise RejectedError(f"{text!r} is no length of time; write 90s, 30m, 8h or 1d")
    return float(found[1]) * _UNITS[found[2]]


def formats_of(text: str) -> tuple[Format, ...]:
    """Read one format, several separated by commas, or "mixed" for all of them.

    Raises:
        RejectedError: a format is unknown.
    """
    if text == "mixed":
        return FORMATS
    named = [part.strip() for part in text.split(",")]
    known_as: dict[str, Format] = {form: form for form in FORMATS}
    found: tuple[Format, ...] = tuple([known_as[name] for name in named if name in known_as])
    if len(found) != len(named):
        known = ", ".join(FORMATS)
        raise RejectedError(f"{text!r} names an unknown format; known are {known} and mixed")
    return found


def speed_of(text: str) -> float:
    """Read a speed factor: a number > 0, or "max".

    Raises:
        RejectedError: it is neither.
    """
    if text == "max":
        return FASTEST
    with contextlib.suppress(ValueError):
        if 0 < float(text) < FASTEST:
            return float(text)
    raise RejectedError(f"{text!r} is no speed; write a number such as 1 or 60, or max")


def start_of(text: str, duration_s: float, speed: float, now: datetime) -> datetime:
    """Read the simulated start: a time with zone, "now", or "auto" (see `start_for`).

    Raises:
        RejectedError: it is no time, or has no zone.
    """
    if text in {"auto", "now"}:
        return start_for(now, duration_s, speed if text == "auto" else 1.0)
    try:
        start = datetime.fromisoformat(text)
    except ValueError as error:
        raise RejectedError(f"{text!r} is no time; write 2026-03-02T07:00:00Z or now") from error
    if start.tzinfo is None:
        raise RejectedError(f"{text!r} has no time zone; add Z or an offset")
    return start.astimezone(UTC)

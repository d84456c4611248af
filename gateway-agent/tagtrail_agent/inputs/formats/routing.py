"""Which format a topic has: the operator's rules first, then each system's own default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from tagtrail_agent.inputs.formats.native import read_native
from tagtrail_agent.inputs.formats.presence import read_espresense, read_openmqttgateway
from tagtrail_agent.inputs.formats.raw import read_minew, read_raddec, read_ruuvi, read_shelly
from tagtrail_agent.inputs.formats.told import Told
from tagtrail_agent.inputs.formats.values import mac

Reader = Callable[[Sequence[str], bytes], Told]

PASSED: Final = "passed"
"""Format of systems that tell of their own tags: their messages go on unchanged."""
STRANGERS: Final = "strangers"
"""Format of gateways that send every address they hear in a form that is not read here."""

READERS: Final[Mapping[str, Reader]] = {
    "native": read_native,
    "espresense": read_espresense,
    "openmqttgateway": read_openmqttgateway,
    "ruuvi": read_ruuvi,
    "minew": read_minew,
    "shelly": read_shelly,
    "raddec": read_raddec,
}
"""What is understood here, by format."""

FORMATS: Final = (*READERS, PASSED, STRANGERS)


class Rule(NamedTuple):
    """Says that messages on some topics have some format.

    Attributes:
        pattern: Topic filter; `+` is one level, a last `#` the rest.
        format: One of `FORMATS`.
        bare_mac: The last level must be a radio address: keeps a wide filter narrow.
    """

    pattern: str
    format: str
    bare_mac: bool = False


_DEFAULTS: Final = (
    Rule("tagtrail/v1/+/+/sightings", "native"),
    Rule("tagtrail/v1/+/+/status", "native"),
    Rule("espresense/#", "espresense"),
    Rule("home/+/BTtoMQTT/#", "openmqttgateway"),
    Rule("home/presence/+", "openmqttgateway"),
    Rule("home/+/LWT", "openmqttgateway"),
    Rule("home/+/SYStoMQTT", "openmqttgateway"),
    Rule("ruuvi/#", "ruuvi"),
    Rule("minew/+", "minew"),
    Rule("/sur/+/status", "minew"),
    Rule("blegateway/+/+", "shelly"),
    Rule("+", "shelly", bare_mac=True),
    Rule("+/events/rpc", "shelly"),
    Rule("shellies/+/events/rpc", "shelly"),
    Rule("raddec/+", "raddec"),
    *(
        Rule(pattern, PASSED)
        for pattern in (
            "kontakt/+", "impinj/+", "owntracks/+/+", "owntracks/+/+/event", "traccar/+", "sewio/+",
            "reelables/+", "room-assistant/entity/#", "omlox/#",
        )
    ),
    *(Rule(pattern, STRANGERS) for pattern in ("aprilbrother/+", "up/+/+", "find3/+")),
)  # fmt: skip


class Router:
    """Finds the format of a topic.

    Args:
        rules: The operator's own rules, asked first.

    Raises:
        ValueError: a rule names an unknown format; the text lists the known ones.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        for rule in rules:
            if rule.format not in FORMATS:
                raise ValueError(
                    f"topic {rule.pattern!r}: the format {rule.format!r} is unknown; known are "
                    + ", ".join(FORMATS)
                )
        self._rules = [(r, r.pattern.split("/")) for r in (*rules, *_DEFAULTS)]

    def format_of(self, levels: Sequence[str]) -> str | None:
        """Return the format of a topic, split into its levels; None if no rule fits."""
        for rule, pattern in self._rules:
            if _fits(pattern, levels) and (not rule.bare_mac or mac(levels[-1])):
                return rule.format
        return None


def _fits(pattern: Sequence[str], levels: Sequence[str]) -> bool:
    for i, level in enumerate(pattern):
        if level == "#":
            return True
        if i >= len(levels) or level not in ("+", levels[i]):
            return False
    return len(pattern) == len(levels)

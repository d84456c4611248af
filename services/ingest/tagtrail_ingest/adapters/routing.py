"""Which adapter reads a message: by MQTT topic, or by the format named in the HTTP route."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tagtrail_ingest.adapters.contract import Adapter
from tagtrail_ingest.adapters.registry import ADAPTERS, ROUTES


@dataclass(frozen=True, slots=True)
class TopicRule:
    """Says that messages on some topics have some format.

    Attributes:
        pattern: MQTT topic filter; `+` is one level, a last `#` is the rest.
        adapter: Name of the format, a key of `ADAPTERS`.
        site_id: Site of the gateways that publish there; None = the message or the key says it.
        bare_mac: The topic's last level must be a radio address: keeps a wide filter narrow.
    """

    pattern: str
    adapter: str
    site_id: str | None = None
    bare_mac: bool = False


DEFAULT_RULES: Final[tuple[TopicRule, ...]] = (
    TopicRule("tagtrail/v1/+/+/sightings", "native"),
    TopicRule("tagtrail/v1/+/+/status", "native"),
    TopicRule("espresense/#", "espresense"),
    TopicRule("home/+/BTtoMQTT/#", "openmqttgateway"),
    TopicRule("home/presence/+", "openmqttgateway"),
    TopicRule("home/+/LWT", "openmqttgateway"),
    TopicRule("home/+/SYStoMQTT", "openmqttgateway"),
    TopicRule("home/+/trackersync", "openmqttgateway"),
    TopicRule("ruuvi/#", "ruuvi"),
    TopicRule("minew/+", "minew"),
    TopicRule("/sur/+/status", "minew"),
    TopicRule("blegateway/+/+", "shelly"),
    TopicRule("+", "shelly", bare_mac=True),
    TopicRule("+/events/rpc", "shelly"),
    TopicRule("shellies/+/events/rpc", "shelly"),
    TopicRule("kontakt/+", "kontakt"),
    TopicRule("aprilbrother/+", "aprilbrother"),
    TopicRule("up/+/+", "cassia"),
    TopicRule("impinj/+", "impinj"),
    TopicRule("owntracks/+/+", "owntracks"),
    TopicRule("owntracks/+/+/event", "owntracks"),
    TopicRule("traccar/+", "traccar"),
    TopicRule("sewio/+", "sewio"),
    TopicRule("reelables/+", "reelables"),
    TopicRule("room-assistant/entity/#", "roomassistant"),
    TopicRule("find3/+", "find3"),
    TopicRule("raddec/+", "raddec"),
    TopicRule("omlox/#", "omlox"),
)
"""Topics used where the operator maps none: each system's own default, or `<format>/<gateway>`
where the user must set the topic anyway. A rule of the operator comes before these."""


@dataclass(frozen=True, slots=True)
class Match:
    """The adapter of a topic and the site that its rule names."""

    adapter: Adapter
    site_id: str | None


class Router:
    """Finds adapters for topics.

    Args:
        rules: The operator's own rules; they are asked first, in order, then `DEFAULT_RULES`.

    Raises:
        ValueError: a rule names an unknown format.
    """

    def __init__(self, rules: Sequence[TopicRule] = ()) -> None:
        self._rules = (*rules, *DEFAULT_RULES)
        for rule in self._rules:
            if rule.adapter not in ADAPTERS:
                raise ValueError(
                    f"topic rule {rule.pattern!r} names the unknown format {rule.adapter!r}; "
                    f"known are {', '.join(sorted(ADAPTERS))}"
                )
        self.filters: tuple[str, ...] = tuple(dict.fromkeys(r.pattern for r in self._rules))
        """MQTT subscription filters, each once."""
        self._find = lru_cache(maxsize=4096)(self._look_up)

    def for_topic(self, topic: str) -> Match | None:
        """Return what reads a topic, or None if no rule fits (then quarantine it)."""
        return self._find(topic)

    def _look_up(self, topic: str) -> Match | None:
        levels = topic.split("/")
        for rule in self._rules:
            if _fits(rule.pattern.split("/"), levels) and _address_fits(rule, levels[-1]):
                return Match(ADAPTERS[rule.adapter], rule.site_id)
        return None


def _fits(pattern: Sequence[str], levels: Sequence[str]) -> bool:
    for i, level in enumerate(pattern):
        if level == "#":
            return True
        if i >= len(levels) or level not in ("+", levels[i]):
            return False
    return len(pattern) == len(levels)


def _address_fits(rule: TopicRule, last: str) -> bool:
    digits = last.replace(":", "").replace("-", "")
    return not rule.bare_mac or (len(digits) == 12 and _is_hex(digits))


def _is_hex(text: Iterable[str]) -> bool:
    return all(c in "0123456789abcdefABCDEF" for c in text)


DEFAULT_ROUTER: Final = Router()
TOPIC_FILTERS: Final = DEFAULT_ROUTER.filters
"""MQTT subscription filters of `DEFAULT_RULES`."""


def adapter_for_topic(topic: str) -> Adapter | None:
    """Return the adapter of a topic by `DEFAULT_RULES`, or None."""
    match = DEFAULT_ROUTER.for_topic(topic)
    return match.adapter if match else None


def adapter_for_route(route: str) -> Adapter | None:
    """Return the adapter of `POST /v1/messages/{format}`, or None if there is no such format."""
    name = ROUTES.get(route)
    return ADAPTERS[name] if name else None

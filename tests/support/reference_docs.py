"""Writes docs/events.md and docs/settings.md from the code; a test compares.

Run `python -m tests.support.reference_docs` after a change of an event type or a setting.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec
from pydantic_settings import BaseSettings

from tagtrail_alerts.settings import AlertsSettings
from tagtrail_console.settings import ConsoleSettings
from tagtrail_ingest.adapters.native_schema import descriptions_of
from tagtrail_ingest.settings import IngestSettings
from tagtrail_inventory.settings import InventorySettings
from tagtrail_kernel.events.registry import REGISTRY, Event, Family
from tagtrail_kernel.settings import KernelSettings
from tagtrail_locate.settings import LocateSettings

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("Every process", KernelSettings),
    ("ingest", IngestSettings),
    ("locate", LocateSettings),
    ("inventory", InventorySettings),
    ("alerts", AlertsSettings),
    ("console", ConsoleSettings),
)
FAMILIES = {
    Family.RADIO: "Raw radio facts: many, short-lived, sensitive. Sent as sightings, never to `POST /v1/events`.",
    Family.GATEWAY: "State of gateways, and claims that they make.",
    Family.REGISTRY: "What exists, what is on what, and configuration. Registering again replaces the description from then on.",
    Family.PLACE: "Where things are: confirmed changes only.",
    Family.STOCK: "What is in what.",
    Family.SHIPMENT: "Departures and proofs of delivery.",
    Family.ALERT: "Alerts, and what people did about them.",
    Family.OPERATION: "Acts of operators that a replay must know.",
}

_EVENTS_HEAD = """# Events

Every fact in the log. The name is permanent and says what happened. Members without "yes" may be left out; times are RFC 3339 with
offset; units are in the names. Send business facts with `POST /v1/events`; `tagtrail events` lists the types.

**Around every fact** stands an envelope: `id` (UUIDv7 or UUIDv8, makes a repeat harmless), `type`, `version` of the data, `subject` (what it is about), `source` (who says so),
`occurred_at` (when it happened), `time_quality` (which clock gave that: `tag`, `gateway_receive`, `gateway_send`, `server_receive`, or `stated` by the producer),
`correlation_id`, `causation_id` (the event that led to it), `data`. The log adds `position` and `recorded_at`.

This page is written by `python -m tests.support.reference_docs` from the code; a test compares.
"""
_EPCIS_HEAD = """## In the words of EPCIS

What a partner who speaks GS1 EPCIS 2.0 and its Core Business Vocabulary would call these facts. All others are our own: they describe radio, configuration
or alerts, for which that vocabulary has no words.

"""
EPCIS = {
    "asset.registered": ("ObjectEvent", "ADD", "commissioning", "active"),
    "asset.retired": ("ObjectEvent", "DELETE", "decommissioning", "inactive"),
    "tag.bound": ("AssociationEvent: parent the asset, child the tag", "ADD", "installing", ""),
    "tag.unbound": ("AssociationEvent", "DELETE", "removing", ""),
    "crate.packed": ("AggregationEvent: parent the crate, quantities per SKU", "ADD", "packing", ""),
    "crate.unpacked": ("AggregationEvent", "DELETE", "unpacking", ""),
    "contents.moved": ("two AggregationEvents", "DELETE, then ADD", "unpacking, then packing", ""),
    "count.recorded": ("AggregationEvent", "OBSERVE", "cycle_counting", ""),
    "shipment.planned": ("TransactionEvent, type desadv", "ADD", "shipping", ""),
    "shipment.departed": ("ObjectEvent", "OBSERVE", "departing", "in_transit"),
    "tag.zone_changed": (
        "ObjectEvent: the zone is where it is afterwards (bizLocation)", "OBSERVE",
        "by the zone: storing, staging_outbound, holding", "in_progress",
    ),
    "tag.sensed": ("ObjectEvent with a sensorElementList", "OBSERVE", "sensor_reporting", ""),
}  # fmt: skip
_SETTINGS_HEAD = """# Settings

Environment variables, read once at the start. A variable with `_FILE` appended names a file that holds the value: use that for secrets. What a replay must know
(thresholds of locate, rules of alerts, enrolment, retention) is not here: it is configuration in the log.

This page is written by `python -m tests.support.reference_docs` from the code; a test compares.
"""


def events_page() -> str:
    """Return docs/events.md."""
    parts = [_EVENTS_HEAD]
    for family, about in FAMILIES.items():
        parts.append(f"## {(family.name or '').capitalize()}\n\n{about}\n")
        parts += [_type(cls) for _, cls in sorted(REGISTRY.items()) if cls.FAMILY is family]
    rows = [
        "| event | EPCIS event | action | business step | disposition |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| `{name}` | " + " | ".join(v or "–" for v in row) + " |" for name, row in EPCIS.items()
    ]
    parts.append(_EPCIS_HEAD + "\n".join(rows) + "\n")
    return "\n".join(parts)


def settings_page() -> str:
    """Return docs/settings.md."""
    parts = [_SETTINGS_HEAD]
    for title, cls in SETTINGS:
        rows = ["| variable | default | meaning |", "|---|---|---|"]
        prefix = cls.model_config.get("env_prefix", "")
        for name, field in cls.model_fields.items():
            meaning = " ".join((field.description or "").split())
            rows.append(
                f"| `{prefix}{name.upper()}` | {_default(field.default)} | {_cell(meaning)} |"
            )
        parts.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _default(value: Any) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "–"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type(cls: type[Event]) -> str:
    text = re.split(r"\n+Attributes:", inspect.getdoc(cls) or "")[0]
    sentence = re.sub(r"\s*\n\s*", " ", text)
    words = {k: v for base in reversed(cls.__mro__[:-1]) for k, v in descriptions_of(base).items()}
    schema = msgspec.json.schema_components([cls], ref_template="#/refs/{name}")
    described = schema[1][cls.__name__]
    rows = ["| member | required | kind | meaning |", "|---|---|---|---|"]
    for name, member in described.get("properties", {}).items():
        required = "yes" if name in described.get("required", []) else ""
        kind = _cell(_kind(member, schema[1]))
        rows.append(f"| `{name}` | {required} | {kind} | {_cell(words.get(name, ''))} |")
    return f"### `{cls.TYPE}`\n\nVersion {cls.VERSION}. {sentence}\n\n" + "\n".join(rows) + "\n"


def _kind(node: dict[str, Any], parts: dict[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_kind(n, parts) for n in node["anyOf"] if n.get("type") != "null")
    if "$ref" in node:
        return _kind(parts[node["$ref"].rpartition("/")[2]], parts)
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("type") == "array":
        inner = node.get("items") or {"type": f"{len(node.get('prefixItems', []))} numbers"}
        return f"list of {_kind(inner, parts) if inner else 'any'}"
    if "properties" in node and "type" in node:
        return "{" + ", ".join(f"`{name}`" for name in node["properties"]) + "}"
    return f"{node.get('format', node.get('type', 'any'))}{_limits(node)}"


def _limits(node: dict[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    above = node.get("exclusiveMinimum")
    if low is not None and high is not None:
        return f" {low:,} to {high:,}"
    if above is not None:
        return f" > {above}" + (f", ≤ {high:,}" if high is not None else "")
    return f" ≥ {low}" if low is not None else ""


def main() -> None:
    """Write the pages."""
    (DOCS / "events.md").write_text(events_page(), encoding="utf-8")
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")


if __name__ == "__main__":
    main()

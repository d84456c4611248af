"""Writes the tables of docs/gateways.md from the code and the shared samples; a test compares.

Run `python -m tests.support.gateways_doc` after a change. The prose between the tables is the
document's own.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from tests.support.gateway_samples import CAPTURE, Sample, of_file, sample_files

from tagtrail_ingest.adapters import DEFAULT_RULES, ROUTES, UnreadableError
from tagtrail_ingest.adapters.native import native_schema

REPOSITORY = Path(__file__).parents[2]
DOC = REPOSITORY / "docs" / "gateways.md"
WIRE_FORMAT = REPOSITORY / "docs" / "wire-format.md"
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n)(?:.*?\n)??(<!-- end -->)", re.DOTALL)


def generate(folder: Path) -> str:
    """Return the whole document.

    Args:
        folder: `gateway-samples` of the shared data.
    """
    parts = {
        "topics": _topics(),
        "routes": ", ".join(f"`{route}`" for route in sorted(ROUTES)),
        "files": _files(folder),
        "messages": _messages(folder),
    }
    return _filled(DOC.read_text(), parts)


def generate_wire_format() -> str:
    """Return the whole page of the native format."""
    return _filled(WIRE_FORMAT.read_text(), {"members": _members()})


def _filled(text: str, parts: dict[str, str]) -> str:
    return _BLOCK.sub(lambda m: f"{m[1]}{parts[m[2]]}\n{m[3]}", text)


def _members() -> str:
    properties = native_schema()["properties"]["sightings"]["items"]["properties"]
    rows = ["| member | kind | meaning |", "|---|---|---|"]
    for name, member in properties.items():
        kinds = [k for k in member.get("anyOf", [member]) if k.get("type") != "null"]
        meaning = member["description"].replace("|", "\\|")
        rows.append(f"| `{name}` | {_kind(kinds[0])} | {meaning} |")
    return "\n".join(rows)


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    low, high = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    limits = f" {low} to {high}" if low is not None and high is not None else ""
    limits = limits or (f" ≥ {low}" if low is not None else "")
    limits = limits or (f" > {above}, ≤ {high}" if above is not None else "")
    kind = schema.get("format", schema.get("type", "any"))
    return f"{kind}{limits}"


def _topics() -> str:
    rows = ["| topic filter | format |", "|---|---|"]
    for rule in DEFAULT_RULES:
        note = " (only if the level is a radio address)" if rule.bare_mac else ""
        rows.append(f"| `{rule.pattern}`{note} | {rule.adapter} |")
    return "\n".join(rows)


def _files(folder: Path) -> str:
    rows = [
        "| sample file | messages | events | refused items | quarantined messages |",
        "|---|---|---|---|---|",
    ]
    for name in sample_files(folder):
        events, refused, unreadable, count = Counter[str](), Counter[str](), 0, 0
        for sample in of_file(folder / name):
            count += 1
            try:
                _count(sample, events, refused)
            except UnreadableError:
                unreadable += 1
        rows.append(
            f"| {name} | {count} | {_listed(events)} | {_listed(refused)} | {unreadable or '–'} |"
        )
    return "\n".join(rows)


def _count(sample: Sample, events: Counter[str], refused: Counter[str]) -> None:
    decoded = sample.decode()
    events.update(r.draft.TYPE for r in decoded.readings)
    events.update(f"{f.event.TYPE} ({f.event.kind})" for f in decoded.gateway_facts)
    refused.update(r.reason for r in decoded.refused)


def _messages(folder: Path) -> str:
    rows = ["| sample | what it is | events | from the broker's store |", "|---|---|---|---|"]
    for name in sample_files(folder):
        listed = [] if name == CAPTURE else list(of_file(folder / name))
        if len(listed) < 2:
            continue
        rows += [f"| {name} | {_short(s.label)} | {_live(s)} | {_stored(s)} |" for s in listed]
    return "\n".join(rows)


def _short(label: str) -> str:
    return f"`{label}`" if "/" in label or ":" in label else label


def _live(sample: Sample) -> str:
    events, refused = Counter[str](), Counter[str]()
    try:
        _count(sample, events, refused)
    except UnreadableError as error:
        return f"quarantined: {error.detail}"
    both = [_listed(events)] * bool(events) + [f"refused: {_listed(refused)}"] * bool(refused)
    return "; ".join(both)


def _stored(sample: Sample) -> str:
    if not sample.stored:
        return "–"
    replayed = msgspec.structs.replace(sample.message, retained=True)
    return _live(Sample(sample.file, sample.label, replayed))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "–"


def main() -> None:
    """Write the document."""
    shared = Path(os.environ.get("TAGTRAIL_SHARED") or REPOSITORY.parent / "shared")
    WIRE_FORMAT.write_text(generate_wire_format())
    DOC.write_text(generate(shared / "data" / "gateway-samples"))


if __name__ == "__main__":
    main()

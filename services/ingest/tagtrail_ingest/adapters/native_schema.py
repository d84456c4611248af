"""The JSON Schema of a native batch, made from the event classes themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from functools import cache
from types import GenericAlias
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from tagtrail_ingest.adapters.native_items import ITEM_TYPES, SET_BY_US
from tagtrail_kernel.events.sightings import Aware, Radio

_SECTION: Final = re.compile(r"Attributes:\n(.*)\Z", re.DOTALL)
_ENTRY: Final = re.compile(r"^    (\w+): ((?:.|\n(?:     ))+)", re.MULTILINE)
_REF: Final = "#/refs/{name}"

_OWN: Final[tuple[tuple[str, Any, str], ...]] = (
    ("tag", str, "Identity as heard, `kind:value`, for example `mac:58b1294494d3`."),
    ("tag_id", str, "Our tag id; either this or `tag`."),
    ("id", UUID, "Event id, UUIDv7 or UUIDv8; makes a resend harmless."),
    ("at", Aware, "When the gateway heard it, RFC 3339 with offset."),
    ("extra", dict[str, Any], "More members to keep; unknown ones of the item are kept likewise."),
)

_HEAD: Final[tuple[tuple[str, Any, str], ...]] = (
    ("batch_id", str, "Id of the whole batch."),
    ("gateway_id", str, "Who heard them; on MQTT the topic says it."),
    ("sent_at", Aware, "When the gateway sent the batch."),
)


def descriptions_of(kind: type) -> dict[str, str]:
    """Return what the docstring of an event class says of each attribute, as one line."""
    section = _SECTION.search(inspect.getdoc(kind) or "")
    entries = _ENTRY.findall(section[1]) if section else []
    return {name: " ".join(words.split()) for name, words in entries}


@cache
def members() -> tuple[tuple[str, Any, str], ...]:
    """Return (name, type, description) of each member that an item may have."""
    found = {name: (name, kind, words) for name, kind, words in _OWN}
    for event_type in ITEM_TYPES:
        words = {**descriptions_of(Radio), **descriptions_of(event_type)}
        for field in msgspec.structs.fields(event_type):
            if field.name not in SET_BY_US:
                entry = (field.name, field.type, words.get(field.name, ""))
                found.setdefault(field.name, entry)
    return tuple(found.values())


def native_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a native batch, without references."""
    item = msgspec.defstruct("Sighting", _optional(members()), kw_only=True)
    items: Any = Annotated[GenericAlias(list, item), Meta(description="The items.")]
    head: Any = [("sightings", items), *_optional(_HEAD)]
    batch = msgspec.defstruct("Batch", head, kw_only=True)
    schemas, parts = msgspec.json.schema_components([batch], ref_template=_REF)
    schema: dict[str, Any] = _inlined(schemas[0], parts)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _optional(entries: Iterable[tuple[str, Any, str]]) -> list[Any]:
    """Make fields of which every one may be left out or null."""
    return [
        (name, Annotated[kind | None, Meta(description=words)], None)
        for name, kind, words in entries
    ]


def _inlined(node: Any, parts: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(n, parts) for n in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if reference is not None:
        rest = {k: v for k, v in node.items() if k != "$ref"}
        return {**_inlined(parts[reference.rpartition("/")[2]], parts), **rest}
    return {k: _inlined(v, parts) for k, v in node.items()}

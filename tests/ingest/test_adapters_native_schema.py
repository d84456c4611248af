"""The native format as it is published, and how fast it is read."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import jsonschema
from tests.support import gateways_doc

from tagtrail_ingest.adapters import (
    ADAPTERS,
    Message,
)
from tagtrail_ingest.adapters.native import native_schema
from tagtrail_ingest.adapters.native_items import ITEM_TYPES, SET_BY_US

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ID = "019abb00-0000-7000-8000-000000000001"


def item(**more: Any) -> dict[str, Any]:
    return {"tag": "mac:58b1294494d3", "at": "2026-11-24T11:59:59Z", "rssi_dbm": -61.5, **more}


def test_s7_the_schema_is_published_and_accepts_what_the_reader_accepts() -> None:
    schema = native_schema()
    validator = jsonschema.Draft202012Validator(schema)

    validator.validate({"sightings": [item(), item(range_m=1.5, sigma_m=0.1, note="kept")]})

    assert not validator.is_valid({"sightings": [item(rssi_dbm=31)]})
    assert not validator.is_valid({"batch_id": "no sightings"})
    assert "$ref" not in json.dumps(schema)


def test_s7_the_schema_names_every_member_of_the_events() -> None:
    members = native_schema()["properties"]["sightings"]["items"]["properties"]

    wanted = {n for kind in ITEM_TYPES for n in kind.__struct_fields__} - SET_BY_US
    assert set(members) == wanted | {"tag", "tag_id", "id", "at", "extra"}
    assert all(member["description"] for member in members.values())


def test_the_document_explains_every_member() -> None:
    assert gateways_doc.WIRE_FORMAT.read_text() == gateways_doc.generate_wire_format(), (
        "run: python -m tests.support.gateways_doc"
    )


def test_plain_items_are_read_fast_enough_for_the_hot_path() -> None:
    items = [item(tag=f"mac:58b1294494{i:02x}", sequence=i) for i in range(200)]
    body = json.dumps({"gateway_id": "g", "sightings": items}).encode()
    message = Message(payload=body, received_at=NOW)
    adapter = ADAPTERS["native"]
    best_s = min(_seconds(adapter.decode, message) for _ in range(20))

    assert len(adapter.decode(message).readings) == 200
    assert 200 / best_s > 50_000, "aim 200,000 items/s on an idle core; a quarter of it is broken"


def _seconds(decode: Any, message: Message) -> float:
    started_s = time.perf_counter()
    decode(message)
    return time.perf_counter() - started_s

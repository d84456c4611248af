"""Every event type has a golden file, a documented shape, and a name that tells what happened."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import pytest

from tagtrail_kernel import events as all_events
from tagtrail_kernel.envelope import open_body, seal
from tagtrail_kernel.errors import RejectedError, UnknownEventTypeError
from tagtrail_kernel.events import registry
from tagtrail_kernel.events.registry import (
    ALL_FAMILIES,
    BUSINESS_FAMILIES,
    REGISTRY,
    Event,
    Family,
    Upcaster,
    decode_data,
    event,
    type_of,
)

assert all_events  # importing the package registers the types
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "events"
TYPES = sorted(REGISTRY)
NEWEST = [(name, REGISTRY[name].VERSION) for name in TYPES]
VERSIONS = [(name, v) for name, newest in NEWEST for v in range(1, newest + 1)]
IRREGULAR = ("bound", "unbound", "set", "redriven")
"""Past participles that do not end in -ed."""


def golden(name: str, version: int) -> bytes:
    return (GOLDEN / name / f"v{version}.json").read_bytes()


def own_documentation(cls: type[Event]) -> str:
    return "\n".join(inspect.cleandoc(c.__dict__.get("__doc__") or "") for c in cls.__mro__[:-1])


@pytest.mark.parametrize(("name", "version"), VERSIONS)
def test_every_version_of_every_type_has_a_golden_file_that_still_decodes(
    name: str, version: int
) -> None:
    envelope = open_body(golden(name, version))

    assert type(envelope.data) is REGISTRY[name]


@pytest.mark.parametrize(("name", "version"), NEWEST)
def test_todays_golden_file_is_written_again_byte_for_byte(name: str, version: int) -> None:
    body = golden(name, version)

    again = seal(open_body(body))

    assert again.body == msgspec.json.format(body, indent=-1).strip()
    assert again.type == name


@pytest.mark.parametrize(("name", "version"), NEWEST)
def test_todays_golden_file_fills_every_field(name: str, version: int) -> None:
    written = msgspec.json.decode(golden(name, version))

    fields = {f.name for f in msgspec.structs.fields(REGISTRY[name])}
    assert set(written["data"]) == fields
    assert set(written) == {
        "id", "type", "version", "subject", "source", "occurred_at", "time_quality",
        "correlation_id", "causation_id", "data",
    }  # fmt: skip


def test_there_are_no_golden_files_of_unknown_types() -> None:
    files = {(p.parent.name, p.stem) for p in GOLDEN.glob("*/*.json")}

    assert files == {(name, f"v{version}") for name, version in VERSIONS}


@pytest.mark.parametrize("name", TYPES)
def test_wire_names_are_a_noun_and_a_past_participle(name: str) -> None:
    noun, _, participle = name.partition(".")

    assert re.fullmatch(r"[a-z]+", noun)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", participle)
    last = participle.rpartition("_")[2]
    assert last.endswith("ed") or last in IRREGULAR


@pytest.mark.parametrize("name", TYPES)
def test_class_names_are_the_wire_name_in_the_past_tense(name: str) -> None:
    words = re.findall(r"[A-Z][a-z]*", REGISTRY[name].__name__)

    assert [w.lower() for w in words] == re.split(r"[._]", name)


@pytest.mark.parametrize("name", TYPES)
def test_every_field_is_documented_by_name(name: str) -> None:
    cls = REGISTRY[name]

    text = own_documentation(cls)
    undocumented = [
        f.name
        for f in msgspec.structs.fields(cls)
        if not re.search(rf"^    {f.name}: \S", text, re.MULTILINE)
    ]
    assert undocumented == []
    assert inspect.cleandoc(cls.__doc__ or "").partition("\n")[0].endswith((".", "?"))


@pytest.mark.parametrize("name", TYPES)
def test_every_type_belongs_to_one_family(name: str) -> None:
    family = REGISTRY[name].FAMILY

    assert family in list(Family)
    assert family & ALL_FAMILIES


def test_family_bits_are_stored_and_never_renumbered() -> None:
    assert {f.name: f.value for f in Family} == {
        "RADIO": 1, "GATEWAY": 2, "REGISTRY": 4, "PLACE": 8, "STOCK": 16, "SHIPMENT": 32,
        "ALERT": 64, "OPERATION": 128,
    }  # fmt: skip
    assert ALL_FAMILIES & ~Family.RADIO == BUSINESS_FAMILIES


@pytest.mark.parametrize("name", TYPES)
def test_fields_with_a_magnitude_carry_their_unit(name: str) -> None:
    bare = {"distance", "range", "rssi", "battery", "temperature", "speed", "accuracy", "interval"}

    assert bare.isdisjoint(f.name for f in msgspec.structs.fields(REGISTRY[name]))


def to_metres(data: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in data.items() if k != "height"}, "height_cm": data["height"] * 100}


def to_whole_centimetres(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"height_cm": round(data["height_cm"])}


@pytest.fixture
def ladder() -> Iterator[type[Event]]:
    """A type in its third version, registered for one test."""

    @event("ladder.raised", version=3, family=Family.OPERATION)
    class LadderRaised(Event, frozen=True, kw_only=True):
        """A ladder was raised."""

        UPCASTERS: ClassVar[Mapping[int, Upcaster]] = {1: to_metres, 2: to_whole_centimetres}
        height_cm: Annotated[int, msgspec.Meta(ge=0)]

    yield LadderRaised
    del REGISTRY["ladder.raised"]


def test_old_data_are_read_through_every_step_in_order(ladder: type[Event]) -> None:
    first = decode_data("ladder.raised", 1, b'{"height": 2.497}')
    second = decode_data("ladder.raised", 2, b'{"height_cm": 249.7}')

    assert first == second == ladder(height_cm=250)


def test_an_envelope_of_an_old_version_is_written_as_the_newest(ladder: type[Event]) -> None:
    old = (
        b'{"id":"019cad9d-dd6e-72f0-b000-00000003fccf","type":"ladder.raised","version":1,'
        b'"subject":"l","source":"s","occurred_at":"2026-03-02T08:15:30Z","time_quality":"stated",'
        b'"data":{"height":1}}'
    )

    body = seal(open_body(old)).body

    assert msgspec.json.decode(body)["version"] == 3
    assert msgspec.json.decode(body)["data"] == {"height_cm": 100}


def test_a_version_from_the_future_is_refused(ladder: type[Event]) -> None:
    with pytest.raises(UnknownEventTypeError, match=r"up to version 3, not 4; upgrade"):
        decode_data("ladder.raised", 4, b'{"height_cm": 1}')


@pytest.mark.parametrize("version", [0, -1])
def test_versions_begin_with_one(ladder: type[Event], version: int) -> None:
    with pytest.raises(UnknownEventTypeError):
        decode_data("ladder.raised", version, b'{"height_cm": 1}')


def test_old_data_that_do_not_fit_after_upcasting_are_rejected(ladder: type[Event]) -> None:
    with pytest.raises(RejectedError, match=r"ladder\.raised v2: .*height_cm"):
        decode_data("ladder.raised", 2, b'{"height_cm": -5}')


@pytest.mark.parametrize("data", [b"{}", b'{"height": null}', b'{"height": "tall"}'])
def test_old_data_that_an_upcaster_cannot_read_are_rejected(
    ladder: type[Event], data: bytes
) -> None:
    with pytest.raises(RejectedError, match=r"ladder\.raised v1"):
        decode_data("ladder.raised", 1, data)


def test_a_gap_in_the_upcasters_is_an_error_at_import() -> None:
    with pytest.raises(TypeError, match=r"rope.cut v3 lacks upcasters from \[1\]"):

        @event("rope.cut", version=3, family=Family.OPERATION)
        class RopeCut(Event, frozen=True, kw_only=True):
            """A rope was cut."""

            UPCASTERS: ClassVar[Mapping[int, Upcaster]] = {2: to_metres}

    assert "rope.cut" not in registry.REGISTRY


def test_a_wire_name_is_given_once() -> None:
    with pytest.raises(TypeError, match=r"tag\.sighted is registered twice"):

        @event("tag.sighted", version=1, family=Family.RADIO)
        class TagSighted(Event, frozen=True, kw_only=True):
            """Another one."""

    assert REGISTRY["tag.sighted"].__module__ == "tagtrail_kernel.events.sightings"


def test_an_unknown_type_is_named_in_the_error() -> None:
    with pytest.raises(UnknownEventTypeError, match=r"'tag\.eaten'") as caught:
        type_of("tag.eaten")

    assert caught.value.context["type"] == "tag.eaten"


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b'{"tag_id":"t","gateway_id":"g","rssi_dbm":30.1}', r"\$\.rssi_dbm"),
        (b'{"tag_id":"t","gateway_id":"g","rssi_dbm":-150.1}', r"\$\.rssi_dbm"),
        (b'{"tag_id":"","gateway_id":"g"}', r"\$\.tag_id"),
        (b'{"tag_id":"t"}', "gateway_id"),
        (b'{"tag_id":"t","gateway_id":"g","tag_time_at":"2026-03-02T08:00:00"}', "tag_time_at"),
    ],
)
def test_data_outside_their_bounds_are_rejected_with_their_place(data: bytes, where: str) -> None:
    with pytest.raises(RejectedError, match=where):
        decode_data("tag.sighted", 1, data)


@pytest.mark.parametrize("rssi_dbm", [-150, 30])
def test_data_on_their_bounds_are_accepted(rssi_dbm: float) -> None:
    data = decode_data(
        "tag.sighted", 1, f'{{"tag_id":"t","gateway_id":"g","rssi_dbm":{rssi_dbm}}}'.encode()
    )

    assert data.rssi_dbm == rssi_dbm  # type: ignore[attr-defined]


def test_bytes_that_are_not_json_are_rejected() -> None:
    with pytest.raises(RejectedError, match=r"tag\.bound: not JSON"):
        decode_data("tag.bound", 1, b'{"tag_id":')

"""The published descriptions of the interfaces are what the code does (REQUIREMENTS S22)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from tests.support.api_docs import (
    ASYNCAPI,
    OPENAPI,
    all_in_one,
    asyncapi,
    openapi,
    references,
    text_of,
)

from tagtrail_ingest.confirmations import Confirmation
from tagtrail_ingest.relay import RELAYED, cloud_event
from tagtrail_kernel.access import SCOPES
from tagtrail_kernel.envelope import Recorded, open_body
from tagtrail_kernel.events.registry import REGISTRY

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "events"
ADVICE = "run `python -m tests.support.api_docs`"
RELAYED_TYPES = sorted(name for name, cls in REGISTRY.items() if cls.FAMILY & RELAYED)
METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}
WITHOUT_KEY = {"/healthz", "/readyz", "/metrics", "/v1/enrolments"}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return json.loads(OPENAPI.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def found(document: Any, reference: str) -> Any:
    node = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def test_s22_openapi_regenerates_without_a_difference() -> None:
    assert OPENAPI.read_text(encoding="utf-8") == text_of(openapi()), ADVICE


def test_s22_asyncapi_regenerates_without_a_difference() -> None:
    assert ASYNCAPI.read_text(encoding="utf-8") == text_of(asyncapi()), ADVICE


def test_no_environment_changes_the_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGTRAIL_INGEST_MAX_ITEMS", "7")
    monkeypatch.setenv("TAGTRAIL_MQTT_URL", "mqtt://127.0.0.1:1")

    assert text_of(all_in_one().openapi()) == OPENAPI.read_text(encoding="utf-8")


def test_the_versions_of_the_descriptions_are_those_that_we_promise(
    described: dict[str, Any],
) -> None:
    assert described["openapi"].startswith("3.1.")
    assert asyncapi()["asyncapi"] == "3.0.0"


def test_there_are_operations_of_every_service(operations: dict[str, dict[str, Any]]) -> None:
    tags = {tag for operation in operations.values() for tag in operation["tags"]}

    assert len(operations) > 60
    assert {"ingest", "log", "places", "registry", "stock", "alerts", "keys", "operations"} <= tags


def test_operation_ids_are_unique(operations: dict[str, dict[str, Any]]) -> None:
    ids = [operation["operationId"] for operation in operations.values()]

    assert sorted(ids) == sorted(set(ids))
    assert all(i.isidentifier() for i in ids)


def test_every_operation_has_a_summary_and_a_described_tag(
    described: dict[str, Any], operations: dict[str, dict[str, Any]]
) -> None:
    known = {tag["name"] for tag in described["tags"] if tag["description"]}
    bare = [
        name
        for name, o in operations.items()
        if not o.get("summary") or not o.get("tags") or not set(o["tags"]) <= known
    ]

    assert bare == []


def test_every_operation_but_health_needs_a_key_with_known_scopes(
    operations: dict[str, dict[str, Any]],
) -> None:
    for name, operation in operations.items():
        if name.partition(" ")[2] in WITHOUT_KEY:
            assert "security" not in operation
            continue
        [need] = operation["security"]
        assert need["key"], name
        assert set(need["key"]) <= set(SCOPES), name


def test_every_operation_declares_its_problems(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        if "security" not in operation:
            continue
        answers = operation["responses"]
        expected = {"401", "403", "429", "503"}
        expected |= {"422"} if operation.get("parameters") or "requestBody" in operation else set()
        expected |= {"413"} if "requestBody" in operation else set()
        expected |= {"404"} if "{" in name else set()
        assert expected <= set(answers), name
        for status in (s for s in answers if s >= "400"):
            content = answers[status]["content"]
            schema = {"$ref": "#/components/schemas/Problem"}
            assert content == {"application/problem+json": {"schema": schema}}, (name, status)


def test_every_parameter_of_a_path_is_described(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        in_path = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert in_path == {part.strip("{}") for part in name.split("/") if part.startswith("{")}


@pytest.mark.parametrize("document", [openapi, asyncapi])
def test_every_reference_leads_somewhere(document: Any) -> None:
    made = document()
    targets = set(references(made))

    assert targets
    assert all(found(made, target) for target in targets)


@pytest.mark.parametrize("document", [openapi, asyncapi])
def test_every_schema_is_one(document: Any) -> None:
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def validator(document: dict[str, Any], message: str) -> Draft202012Validator:
    whole = DRAFT202012.create_resource(document)
    registry: Registry[Any] = Registry().with_resource("doc:", whole)
    payload = found(document, f"#/components/messages/{message}/payload/$ref")
    return Draft202012Validator(
        {"$ref": f"doc:{payload}"}, registry=registry, format_checker=FormatChecker()
    )


@pytest.mark.parametrize("name", RELAYED_TYPES)
def test_what_is_published_over_mqtt_fits_its_description(name: str) -> None:
    cls = REGISTRY[name]
    body = (GOLDEN / name / f"v{cls.VERSION}.json").read_bytes()
    envelope = open_body(body)
    at = datetime(2026, 3, 2, tzinfo=UTC)
    event = Recorded(7, at, envelope.id, envelope.subject, name, body)
    published = json.loads(msgspec.json.encode(cloud_event(1, event)))

    check = validator(asyncapi(), cls.__name__)
    check.validate(published)
    assert not check.is_valid(published | {"type": "tag.eaten"})
    assert not check.is_valid({k: v for k, v in published.items() if k != "data"})


def test_the_batch_of_the_documentation_fits_its_description() -> None:
    text = (ASYNCAPI.parent / "wire-format.md").read_text(encoding="utf-8")
    batch = json.loads(text.partition("```json\n")[2].partition("```")[0])

    check = validator(asyncapi(), "Sightings")
    check.validate(batch)
    assert not check.is_valid({"sightings": "none"})


@pytest.mark.parametrize(
    "status", ["online", "offline", {"online": True}, {"online": False, "cpu_pct": 3}]
)
def test_a_gateways_status_fits_its_description(status: object) -> None:
    validator(asyncapi(), "GatewayStatus").validate(status)


def test_a_confirmation_fits_its_description() -> None:
    answer = Confirmation("b", datetime(2026, 3, 2, tzinfo=UTC), accepted=3, reasons={"bad_id": 1})

    check = validator(asyncapi(), "Confirmation")
    check.validate(json.loads(msgspec.json.encode(answer)))
    assert not check.is_valid({"accepted": 3})


def test_the_topics_are_those_that_we_promise() -> None:
    channels = asyncapi()["channels"]

    assert {name: c["address"] for name, c in channels.items()} == {
        "sightings": "tagtrail/v1/{site}/{gateway}/sightings",
        "status": "tagtrail/v1/{site}/{gateway}/status",
        "confirmed": "tagtrail/v1/{site}/{gateway}/confirmed",
        "config": "tagtrail/v1/{site}/{gateway}/config",
        "events": "tagtrail/v1/{site}/events/{type}",
    }
    assert set(channels["events"]["messages"]) == {REGISTRY[n].__name__ for n in RELAYED_TYPES}
    for channel in channels.values():
        in_address = {p.partition("}")[0] for p in channel["address"].split("{")[1:]}
        assert set(channel["parameters"]) == in_address

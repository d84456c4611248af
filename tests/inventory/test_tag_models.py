"""S1: the capability matrix over HTTP, from the agent's data, and what an unknown model means."""

from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from tests.support.tag_models_doc import generate

from tagtrail_agent.models import BUILT_IN as AGENTS
from tagtrail_agent.models import load_models
from tagtrail_inventory.tag_models import BUILT_IN, built_in_models, own_models

OF_THE_BRIEF = {"xiaomi-tag", "apple-airtag", "tile-pro", "rfid-label", "nfc-label"}
ACME = {
    "name": "Acme pallet tag",
    "identity": "fixed",
    "kinds": ["acme"],
    "frames": ["acme"],
    "radios": ["ble"],
    "uwb": False,
    "battery": {"kind": "CR2477", "life_months": 36},
    "precision": "zone",
    "cadence": {"transit": 2, "storage": 30},
    "adverts": [{"frame": "acme", "company": 4660}],
}


def test_the_server_ships_what_the_agent_ships() -> None:
    assert BUILT_IN.read_text() == generate(), "run: python -m tests.support.tag_models_doc"


def test_server_and_agent_read_the_same_from_the_catalogue() -> None:
    agents = load_models().models
    servers = built_in_models()

    assert servers.keys() == agents.keys()
    for key, model in servers.items():
        other = agents[key]
        assert (model.name, model.identity, model.precision, model.api) == (
            other.name, other.identity, other.precision, other.api,
        )  # fmt: skip
        assert (model.kinds, model.frames, model.radios) == (
            other.kinds, other.frames, other.radios,
        )  # fmt: skip
        assert model.cadence.model_dump() == other.cadence_s
        battery = model.battery
        assert (battery.kind if battery else None) == other.battery
        assert (battery.life_months if battery else None) == other.battery_life_months


async def test_s1_the_list_shows_the_capabilities_of_the_five_technologies(client: Any) -> None:
    body = await client.get("/v1/tag-models")

    listed = {item["model"]: item for item in body["items"]}
    assert listed.keys() >= OF_THE_BRIEF
    assert listed.keys() == yaml.safe_load(AGENTS.read_text())["models"].keys()
    assert list(listed) == sorted(listed)
    assert listed["apple-airtag"]["identity"] == "rotating"
    assert listed["rfid-label"]["battery"] is None
    assert listed["rfid-label"]["cadence"] == {"transit": None, "storage": None}
    assert not any(item["own"] for item in listed.values())
    assert (body["next"], body["refused"]) == (None, [])


async def test_s1_a_sixth_model_is_data_only(client: Any) -> None:
    tag = {"tag_id": "t1", "identities": ["acme:1"], "model": "acme-tag"}
    before = await client.post("/v1/tags", tag)
    values = {"acme-tag": ACME, "broken": ACME | {"radios": ["smoke"]}, "odd": 7}
    await client.post("/v1/config/tag_models", {"values": values})
    body = await client.get("/v1/tag-models")
    after = await client.post("/v1/tags", tag | {"tag_id": "t2", "identities": ["acme:2"]})

    listed = {item["model"]: item for item in body["items"]}
    assert listed["acme-tag"]["own"]
    assert listed["acme-tag"]["cadence"] == {"transit": 2, "storage": 30}
    assert [r["model"] for r in body["refused"]] == ["broken", "odd"]
    assert body["refused"][0]["detail"].startswith("radios.0: ")
    assert len(before["warnings"]) == 1
    assert after["warnings"] == []


async def test_a_tag_of_an_unknown_model_is_enrolled_with_a_warning(client: Any) -> None:
    tag = {"identities": ["mac:58b1294494d3"]}
    made = await client.post("/v1/tags", tag | {"tag_id": "t1", "model": "aple-airtag"}, expect=201)
    again = await client.post("/v1/tags", tag | {"tag_id": "t1", "model": "aple-airtag"})
    right = await client.post("/v1/tags", tag | {"tag_id": "t1", "model": "apple-airtag"})
    none = await client.post("/v1/tags", tag | {"tag_id": "t1"})

    assert "'aple-airtag'" in made["warnings"][0]
    assert again["warnings"] == made["warnings"]
    assert (right["warnings"], none["warnings"]) == ([], [])
    assert (await client.get("/v1/tags/t1"))["tag_id"] == "t1"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"uwb": "yes"}, "uwb"),
        ({"battery": {"kind": "CR2032"}}, "battery.life_months"),
        ({"battery": {"kind": "CR2032", "life_months": 0}}, "battery.life_months"),
        ({"cadence": {"transit": 2}}, "cadence.storage"),
        ({"colour": "red"}, "colour"),
        ({"name": ""}, "name"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_member(
    change: dict[str, object], place: str
) -> None:
    found, refused = own_models({"acme-tag": ACME | change})

    assert found == {}
    assert refused["acme-tag"].startswith(f"{place}: ")

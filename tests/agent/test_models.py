"""The catalogue of tag models, and the page that explains each to the people who use it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from tests.support.serving import served, settings_for

from tagtrail import running
from tagtrail.composition import app_for
from tagtrail_agent.decoding import decode
from tagtrail_agent.decoding.decoder import COMPANIES, SERVICES
from tagtrail_agent.identity import Enrolment, Resolver
from tagtrail_agent.models import BUILT_IN, ModelError, load_models
from tagtrail_agent.readings import Advert

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "tags.md"
LENGTH = {"at": 0, "type": "uint8", "factor": 0.015625, "offset": 0.5}
"""Reads BTHome's first octet, 0x40, as 1.5."""

OF_THE_BRIEF = {"xiaomi-tag", "apple-airtag", "tile-pro", "rfid-label", "nfc-label"}
ACME = bytes.fromhex("020106" + "0cff3412" + "01deadbeef" + "5a" + "c409" + "03")


def block(language: str, holding: str) -> str:
    """Return the block of the page that holds some words."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return next(b for b in found if holding in b)


@pytest.fixture
def sixth(tmp_path: Path) -> Path:
    """The page's own example of a technology that the code does not know."""
    path = tmp_path / "my_tags.yaml"
    path.write_text(block("yaml", "acme-tag"))
    return path


def test_the_five_technologies_of_the_brief_are_in_the_catalogue() -> None:
    models = load_models().models

    assert set(models) >= OF_THE_BRIEF
    assert models["apple-airtag"].identity == "rotating"
    assert models["rfid-label"].battery is None
    assert models["rfid-label"].cadence_s == {"transit": None, "storage": None}
    assert not any(model.uwb for model in models.values())


def test_every_frame_of_the_catalogue_is_one_that_the_decoders_know(shared_data: Path) -> None:
    stated = {frame for model in load_models().models.values() for frame in model.frames}
    source = "\n".join(
        p.read_text() for p in (BUILT_IN.parent / "decoding").glob("*.py") if p.name != "layouts.py"
    )

    assert stated == set(re.findall(r'frames\.append\("([a-z-]+)"\)', source))


def test_adverts_are_classified_by_the_models_that_send_them() -> None:
    catalogue = load_models()
    heard = {
        "02011a1aff4c000215e2c56db5dffb48d2b060d0f5a71096e000640000c5": ("ibeacon",),
        "07ff4c0012025402": ("xiaomi-tag", "apple-airtag"),
        "0201060d16ecfe0200c58aaccd312f479e": ("tile-pro",),
        "020106": (),
    }
    for digits, models in heard.items():
        assert catalogue.models_of(decode(bytes.fromhex(digits))) == models


def test_a_sixth_technology_needs_data_only(sixth: Path) -> None:
    catalogue = load_models(sixth)
    tags = [{"tag_id": "t1", "identities": ["acme:deadbeef"], "model": "acme-tag"}]
    desk = Resolver(Enrolment.parse({"tags": tags}), catalogue.decoder().decode)
    heard = desk.resolve(Advert("5a0000000001", ACME, -60, datetime(2026, 11, 24, tzinfo=UTC), 1.0))

    assert heard is not None
    assert heard.tag == "acme:deadbeef"
    assert heard.members == {
        "rssi_dbm": -60, "battery_pct": 90, "temperature_c": 25.0, "motion": True,
    }  # fmt: skip
    assert catalogue.models_of(catalogue.decoder().decode(ACME)) == ("acme-tag",)
    assert decode(ACME).frames == []
    assert catalogue.models["acme-tag"].section is None


def test_what_is_described_is_read_beside_what_is_known(tmp_path: Path) -> None:
    entry = yaml.safe_load(block("yaml", "acme-tag"))
    advert = entry["models"]["acme-tag"]["adverts"][0]
    del advert["company"]
    advert.update(service="0000fefe-0000-1000-8000-00805f9b34fb", frame="acme-long")
    second = {"service": 0xFCD2, "frame": "acme-bthome", "members": {"length": LENGTH}}
    entry["models"]["acme-tag"]["adverts"] = [advert, second]
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump(entry))

    decoder = load_models(path).decoder()
    uuid = int("0000fefe00001000800000805f9b34fb", 16).to_bytes(16, "little")
    long = bytes([26, 0x21]) + uuid + ACME[7:]
    both = decoder.decode(bytes.fromhex("0a16d2fc40016102c40900"))

    assert decoder.decode(long).identities == ["acme:deadbeef"]
    assert both.frames == ["bthome", "acme-bthome"]
    assert (both.members["battery_pct"], both.members["length"]) == (97, 1.5)
    assert 0xFEFE not in SERVICES
    assert 0x1234 not in COMPANIES


def test_any_bytes_of_a_described_advert_raise_nothing(sixth: Path) -> None:
    chance, decoder = random.Random(1), load_models(sixth).decoder()
    full = 0
    for _ in range(5000):
        body = (
            b"\xff\x34\x12" + chance.choice([b"", b"\x01"]) + chance.randbytes(chance.randrange(12))
        )
        decoded = decoder.decode(bytes([len(body)]) + body)
        full += "motion" in decoded.members

    assert 100 < full < 5000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"uwb": "maybe"}, "uwb is true or false"),
        ({"identity": "stable"}, "identity is one of fixed, rotating, label"),
        ({"precision": "exact"}, "precision is one of"),
        ({"radios": ["ble", "lora"]}, "radios is one of"),
        ({"kinds": "acme"}, "kinds is a list of texts"),
        ({"battery": {"kind": "AA", "life_months": 0}}, "battery is null, or"),
        ({"cadence": {"transit": 2}}, "cadence names transit and storage"),
        ({"cadence": {"transit": 2, "storage": -1}}, "cadence of storage"),
        ({"colour": "blue"}, "unknown colour"),
        ({"adverts": {}}, "adverts is a list"),
        ({"adverts": [{"frame": "acme"}]}, "give company or service"),
        ({"adverts": [{"frame": "a", "company": 70000}]}, "company must be a whole number"),
        ({"adverts": [{"frame": "a", "service": "xyz"}]}, "service must be"),
        ({"adverts": [{"frame": "a", "company": 1, "prefix": "0"}]}, "prefix must be hex"),
        ({"adverts": [{"frame": "a", "company": 1, "identity": {"at": 1}}]}, "identity needs kind"),
        ({"adverts": [{"frame": "a", "company": 1, "members": {"x": {"at": 1}}}]}, "x: type must"),
        ({"adverts": [{"frame": "a", "company": 1, "members": {"x": 1}}]}, "x: describe it by"),
    ],
)
def test_a_mistake_in_a_catalogue_is_named_with_file_and_model(
    sixth: Path, change: dict[str, Any], words: str
) -> None:
    document = yaml.safe_load(sixth.read_text())
    document["models"]["acme-tag"].update(change)
    sixth.write_text(yaml.safe_dump(document))

    with pytest.raises(ModelError, match=re.escape(words)) as caught:
        load_models(sixth)

    assert str(caught.value).startswith("my_tags.yaml: model 'acme-tag': ")


@pytest.mark.parametrize("text", ["", "models: 3", "models: {a: 1}", "a: [", "!!python/name:os"])
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)

    with pytest.raises(ModelError, match=r"x\.yaml"):
        load_models(path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_models(tmp_path / "none.yaml")


def test_every_model_has_its_section_with_what_is_possible_and_what_is_not() -> None:
    sections = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE.read_text(), re.MULTILINE))

    for model in load_models().models.values():
        assert model.section is not None
        body = sections[model.section]
        for part in ("**Possible.**", "**Enrol it**", "**Impossible.**"):
            assert part in body, (model.key, part)
        assert f'"model": "{model.key}"' in body, model.key
        assert model.impossible
    assert "(tags.md)" in (REPOSITORY / "docs" / "index.md").read_text()


def test_the_pages_key_file_is_one_that_the_agent_reads() -> None:
    keys = tomllib.loads(block("toml", "mibeacon"))
    tags = [{"tag_id": tag_id, "identities": [f"key:{tag_id}"]} for tag_id in keys]
    enrolment = Enrolment.parse({"tags": tags, "ranges": ["epc:3034257BF7"]}, keys)

    assert [t.tag_id for t in enrolment.tags if t.keys.eddystone] == ["tag-5"]
    assert sum(bool(t.keys.irk or t.keys.bthome or t.keys.mibeacon) for t in enrolment.tags) == 3


async def test_the_pages_lines_run_as_they_stand(database_url: str, tmp_path: Path) -> None:
    settings = settings_for(database_url)
    await running.prepare_database(settings)
    tenant = await running.ensure_tenant(settings, *running.DEFAULT_TENANT)
    key = await running.make_key(settings, log_id=tenant.log_id, name="test", role="admin")
    script = "\n".join(
        re.findall(r"<!-- runs: tags.*?-->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    )
    lines = [line for line in script.splitlines() if line]
    (tmp_path / ".curlrc").write_text('max-time = 10\nwrite-out = "\\n%{http_code}\\n"\n')
    async with served(app_for(settings, [])) as url:
        answers = await _run(lines, url, key, tmp_path)

    assert len(lines) == len(answers) >= 20
    for line, (status, body) in zip(lines, answers, strict=True):
        assert status < 300, f"{line}\n{body}"
        if "/v1/sightings" in line:
            assert json.loads(body)["accepted"] == 1, f"{line}\n{body}"


async def _run(lines: list[str], url: str, key: str, folder: Path) -> list[tuple[int, str]]:
    environment = {
        "PATH": os.environ["PATH"], "CURL_HOME": str(folder), "HOME": str(folder),
        "URL": url, "AUTH": f"Authorization: Bearer {key}",
    }  # fmt: skip
    answers = []
    for line in lines:
        done = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", line], env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        body, _, status = done.stdout.strip().rpartition("\n")
        answers.append((int(status), body))
    return answers

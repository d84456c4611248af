"""`tagtrail sources`: classes of sources are switched and erased from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.processes import all_in_one

pytestmark = pytest.mark.slow

TAG = {"type": "tag.registered", "data": {"tag_id": "rack-1", "identities": ["nfc:04a2b3c4d5e680"]}}
ENTRY = {
    "tag_id": "rack-1", "zone": "shop", "technology": "unknown", "source_class": "crowd_shared",
    "actor_id": "operator-7", "shared_from": "a link",
}  # fmt: skip


async def test_a_class_is_allowed_for_some_tags_refused_and_erased(home: Path) -> None:
    async with all_in_one(home) as product:
        headers = {"Authorization": f"Bearer {product.key}"}
        async with httpx2.AsyncClient(base_url=product.urls.console, headers=headers) as api:

            async def enter() -> Any:
                body = {"gateway_id": "form", "sightings": [ENTRY]}
                return (await api.post("/v1/sightings", json=body)).json()["accepted"]

            await api.post("/v1/events", json={"events": [TAG]})
            taken = [await enter()]
            allowed = await product.command(
                "sources", "allow", "crowd_shared", "--tag-prefix", "rack-"
            )
            other = await product.command("sources", "allow", "partner_network", "--kind", "pallet")
            taken.append(await enter())
            shown = await product.command("sources", "status", "--json")
            early = await product.command("sources", "erase", "crowd_shared", "--yes")
            refused = await product.command("sources", "refuse", "crowd_shared")
            taken.append(await enter())
            unsure = await product.command("sources", "erase", "crowd_shared")
            erased = await product.command(
                "sources", "erase", "crowd_shared", "--yes", "--reason", "asked for"
            )
            left = await api.get("/v1/events", params={"families": "radio"})

    assert taken == [0, 1, 0]
    assert "on for tags rack-…" in allowed[1]
    assert json.loads(shown[1])["items"] == [
        {"source_class": "crowd_shared", "accepted": True, "asset_kinds": [], "tag_prefixes": ["rack-"]},
        {"source_class": "partner_network", "accepted": True, "asset_kinds": ["pallet"], "tag_prefixes": []},
    ]  # fmt: skip
    assert (early[0], "switch it off first" in early[2]) == (2, True)
    assert (refused[0], other[0]) == (0, 0)
    assert (unsure[0], "Tagtrail-Confirm" in unsure[2]) == (2, True)
    assert erased[1].startswith("1 sightings and ")
    assert "tagtrail rebuild --swap" in erased[1]
    assert left.json()["items"] == []

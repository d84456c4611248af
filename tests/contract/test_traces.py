"""One id leads from a request to its answer, its log lines and its events."""

from __future__ import annotations

import pytest
from tests.support.all_in_one import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_trace_id_of_a_request_is_the_correlation_of_its_events(running: Running) -> None:
    head = {"X-Request-Id": "order-4711-a"}
    pod = {"events": [{"type": "pod.recorded", "data": {"asset_ids": ["pallet-42"]}}]}
    site = {"site_id": "traced", "name": "Traced"}
    async with running.client(running.blue) as http:
        direct = await http.post("/v1/events", json=pod, headers=head)
        through_inventory = await http.post(
            "/v1/sites", json=site, headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        )
        own = {"events": [pod["events"][0] | {"correlation_id": "mine"}]}
        kept = await http.post("/v1/events", json=own, headers=head)
        events = (await http.get("/v1/events")).json()["items"]

    correlations = [(e["type"], e["correlation_id"]) for e in events]
    assert direct.headers["x-request-id"] == kept.headers["x-request-id"] == "order-4711-a"
    assert through_inventory.headers["x-request-id"] == "ab" * 16
    assert ("pod.recorded", "order-4711-a") in correlations
    assert ("pod.recorded", "mine") in correlations
    assert ("site.registered", "ab" * 16) in correlations

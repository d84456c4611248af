"""From a gateway's message to stock by zone and an alert in chat, on whole processes."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from tests.support.e2e_scenario import run_scenario
from tests.support.fake_slack import FakeSlack
from tests.support.processes import Product, all_in_one, ready, separate

from tagtrail.embedded import Embedded

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(name="processes")]


def alerting(slack: FakeSlack) -> dict[str, str]:
    """Return the settings that send cards to the fake Slack."""
    return {
        "TAGTRAIL_ALERTS_ALLOW_LOOPBACK": "true",
        "TAGTRAIL_ALERTS_SLACK_WEBHOOK_URL": slack.url,
        "TAGTRAIL_ALERTS_GROUP_WAIT_S": "1",
    }


async def the_day_passes(product: Product, slack: FakeSlack) -> None:
    """Play the scenario, then check what needs the command line."""
    await run_scenario(product.urls, product.key, product.mqtt_url, slack)
    rebuilt = await product.rebuilt()
    assert {r["projection"] for r in rebuilt} >= {
        "locate.places",
        "inventory.books",
        "alerts.alerts",
    }
    assert all(r["equal"] for r in rebuilt), rebuilt
    await the_link_signs_in(await product.sign_in_link())


async def the_link_signs_in(link: str) -> None:
    async with httpx2.AsyncClient(timeout=20) as browser:
        shown = await browser.get(link)
        assert shown.status_code == 200
        address, _, code = link.partition("?code=")
        entered = await browser.post(address, data={"code": code})
        assert entered.status_code == 303
        page = await browser.get(httpx2.URL(address).join(entered.headers["location"]))
        assert 'id="plan"' in page.text


async def test_the_spine_holds_in_one_process_with_its_own_servers(short_dir: Path) -> None:
    async with FakeSlack().running() as slack:
        async with all_in_one(short_dir / "spine", **alerting(slack)) as product:
            await ready(product.urls.ingest[0])
            await the_day_passes(product, slack)


async def test_the_spine_holds_apart_on_outside_servers_with_two_ingest_replicas(
    short_dir: Path,
) -> None:
    async with FakeSlack().running() as slack, Embedded(short_dir / "outside") as servers:
        async with separate(servers, **alerting(slack)) as product:
            for url in (*product.urls.ingest, product.urls.locate, product.urls.alerts):
                await ready(url)
            await the_day_passes(product, slack)

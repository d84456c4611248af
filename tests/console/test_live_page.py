"""The live page in Chromium, before a world that the test moves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect
from tests.support.console_visit import DESKTOP, PHONE, Visit, open_page, visiting
from tests.support.console_world import hall, sign_in_code

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
FOUND = {"pallet 5": 1, "TAG-07": 1, "olive": 8, "cold": 5, "T-0009": 1, "nothing": 0}
"""What is typed, and how many tags fit."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hall_visit(browser: Browser) -> AsyncIterator[Visit]:
    async with visiting(browser, hall()) as visit:
        yield visit


@pytest_asyncio.fixture(loop_scope="module")
async def looking(hall_visit: Visit) -> AsyncIterator[Visit]:
    """One visit for all tests that only look."""
    yield hall_visit
    await hall_visit.leave_as_found()


async def test_the_page_shows_the_plan_the_stock_and_the_alerts(looking: Visit) -> None:
    page = looking.page
    await expect(page.locator(".layer-zones .zone")).to_have_count(7)
    await expect(page.locator(".gateway")).to_have_count(5)
    await expect(page.locator(".layer-tags .tag")).to_have_count(32)
    await expect(page.locator('.zone[data-zone="cold"] .label')).to_have_text("Cold store5")
    await expect(page.locator('.gateway[data-health="silent"]')).to_have_count(1)
    await expect(page.locator("#alerts .alert")).to_have_count(2)
    await expect(page.locator("#alerts .alert").first).to_contain_text("Critical")
    outbound = page.locator("#stock tbody", has_text="Outbound dock")
    await expect(outbound).to_contain_text("PASTA-500")
    await expect(page.locator("#freshness")).to_contain_text("log position 1,00")
    await expect(page.locator("#tags tbody tr")).to_have_count(25)


async def test_no_request_leaves_the_host_and_nothing_complains(browser: Browser) -> None:
    async with visiting(browser, hall()) as visit:
        visit.world.move("tag-02", "outbound")
        await visit.page.locator('.tag[data-tag="tag-05"]').click()
        await expect(visit.page.locator("#panel .trail li")).to_have_count(2)

    hosts = {urlsplit(url).hostname for url in visit.requested if not url.startswith("data:")}
    assert len(visit.requested) > 20
    assert hosts <= LOOPBACK
    assert visit.complaints == []


async def test_a_tag_moves_when_its_place_changes(
    changing: Visit,
) -> None:
    page = changing.page
    before = await changing.place_of("tag-05")
    zone = await page.locator('.zone[data-zone="aisle-a"] .area').bounding_box()
    assert zone is not None

    changing.world.move("tag-05", "aisle-a", x_m=17.0, y_m=4.0)

    await expect(page.locator('.tag[data-tag="tag-05"]')).to_have_attribute(
        "aria-label", re.compile("Pallet 5, Aisle A")
    )
    await expect(page.locator('.zone[data-zone="aisle-a"] .count')).to_have_text("6")
    await changing.still()
    x, y = await changing.place_of("tag-05")
    assert x == pytest.approx(zone["x"] + zone["width"] / 2, abs=2)
    assert y == pytest.approx(zone["y"] + zone["height"] / 2, abs=2)
    assert (x, y) != before


async def test_a_tag_known_by_zone_only_stands_inside_its_zone(
    changing: Visit,
) -> None:
    await changing.page.emulate_media(reduced_motion="reduce")
    changing.world.move("tag-02", "cold")
    await expect(changing.page.locator('.tag[data-tag="tag-02"]')).to_have_attribute(
        "aria-label", re.compile("Crate 2, Cold store")
    )

    x, y = await changing.place_of("tag-02")

    zone = await changing.page.locator('.zone[data-zone="cold"] .area').bounding_box()
    assert zone is not None
    assert zone["x"] < x < zone["x"] + zone["width"]
    assert zone["y"] < y < zone["y"] + zone["height"]


async def test_stock_follows_the_asset_into_its_new_zone(
    changing: Visit,
) -> None:
    world = changing.world
    cold = changing.page.locator("#stock tbody", has_text="Cold store")
    row = cold.locator("tr", has_text="TOM-400")
    before = sum(
        line["quantity"] for line in world.stock() if (line["zone_id"], line["sku"]) == ("cold", "TOM-400")
    )  # fmt: skip
    moved = world.assets["crate-6"]["contents"][0]

    world.move("tag-06", "cold")

    assert moved["sku"] == "TOM-400"
    await expect(row.locator(".number")).to_have_text(str(before + moved["quantity"]))


async def test_a_new_alert_appears_by_itself_and_is_acknowledged_by_keyboard(
    changing: Visit,
) -> None:
    page = changing.page
    changing.world.fire("alert-new", severity="critical", title="Pallet 10 left the yard")
    button = page.get_by_role("button", name="Acknowledge: Pallet 10 left the yard")
    await expect(button).to_be_visible()
    await page.locator("#alerts-title").click()
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await button.evaluate("(b) => b === document.activeElement"):
            break

    await page.keyboard.press("Enter")

    await expect(page.locator("#announcements")).to_have_text(
        "Acknowledged: Pallet 10 left the yard"
    )
    await expect(button).to_have_count(0)
    assert changing.world.alerts["alert-new"]["state"] == "acknowledged"
    assert len(changing.world.acknowledged_with) == 1
    assert changing.world.acknowledged_with[0]


@pytest.mark.parametrize("state", ["open", "resolved"])
async def test_an_alert_that_a_chat_card_linked_to_is_shown_and_has_the_focus(
    browser: Browser, state: str
) -> None:
    world = hall()
    for number in range(12):
        world.fire(f"alert-{number}", title=f"Alert {number}")
    world.fire("alert-linked", state=state, title="Pallet 10 left the yard", severity="info")
    async with visiting(browser, world, query="?site=hall&alert=alert-linked") as visit:
        linked = visit.page.locator('.alert[data-alert="alert-linked"]')

        await expect(linked).to_be_focused()
        await expect(linked).to_be_in_viewport()
        await expect(linked).to_contain_text("Pallet 10 left the yard")


async def test_an_auditor_sees_alerts_but_no_button(browser: Browser) -> None:
    async with visiting(browser, hall(), role="auditor") as visit:
        await expect(visit.page.locator("#alerts .alert")).to_have_count(2)
        await expect(visit.page.locator("#alerts .act")).to_have_count(0)


async def test_the_keyboard_reaches_a_tag_and_opens_and_closes_it(looking: Visit) -> None:
    page = looking.page
    await page.locator("#zoom-fit").focus()
    await page.keyboard.press("Tab")
    first = await looking.focused()
    await page.keyboard.press("ArrowRight")
    second = await looking.focused()
    await expect(page.locator("#tooltip")).to_be_visible()

    await page.keyboard.press("Enter")

    assert first.startswith("tag-")
    assert second.startswith("tag-")
    assert second != first
    panel = page.locator("#panel")
    await expect(panel).to_be_visible()
    await expect(panel).to_contain_text(looking.world.tags[second]["label"])
    await page.keyboard.press("Escape")
    await expect(panel).to_be_hidden()
    assert await looking.focused() == second


async def test_the_words_of_the_focused_mark_come_back_when_the_mouse_leaves_another(
    looking: Visit,
) -> None:
    page = looking.page
    await page.locator('.tag[data-tag="tag-05"]').focus()
    tooltip = page.locator("#tooltip")
    await expect(tooltip).to_contain_text("Pallet 5")
    x, y = await looking.place_of("tag-01")
    await page.mouse.move(x, y)
    await expect(tooltip).to_contain_text("Crate 1")

    await page.mouse.move(2, 2)

    await expect(tooltip).to_contain_text("Pallet 5")


async def test_a_focused_gateway_keeps_the_focus_when_its_health_is_renewed(
    browser: Browser,
) -> None:
    world = hall()
    async with visiting(browser, world) as visit:
        gateway = visit.page.locator(".gateway").first
        await gateway.focus()
        await expect(visit.page.locator("#tooltip")).to_contain_text("Dock west")

        async with visit.page.expect_response("**/v1/gateways/health*"):
            world.tell("events", {"type": "gateway.registered", "data": {}})
            world.cut.set()
            await expect(visit.page.locator("#connection")).to_have_attribute(
                "data-state", "waiting"
            )
            world.cut.clear()

        await expect(gateway).to_be_focused()
        await expect(visit.page.locator("#tooltip")).to_be_visible()


async def test_the_panel_says_where_since_how_sure_and_what_is_on_it(browser: Browser) -> None:
    async with visiting(browser, hall(), query="?tag=tag-05") as visit:
        panel = visit.page.locator("#panel")
        await expect(panel.get_by_role("heading", level=2)).to_have_text("Pallet 5")
        for words in ("Outbound dock", "UWB ranging", "68%", "± 0.6 m", "PASTA-500", "28 min ago"):
            await expect(panel).to_contain_text(words)
        await expect(panel.locator(".trail li")).to_have_count(2)
        visit.world.move("tag-05", "packing")
        await expect(panel.locator(".trail li")).to_have_count(3)
        await expect(panel.locator(".facts")).to_contain_text("Packing")


async def test_one_box_finds_assets_tags_skus_and_zones(looking: Visit) -> None:
    page = looking.page
    for typed, found in FOUND.items():
        await page.locator("#search").fill(typed)

        words = "1 tag found" if found == 1 else f"{found} tags found"
        await expect(page.locator("#found")).to_have_text(words)
        await expect(page.locator("#tags tbody tr")).to_have_count(found)
        await expect(page.locator(".layer-tags .tag:not(.dim)")).to_have_count(found)
        assert f"q={typed.split(maxsplit=1)[0]}" in page.url


async def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser) -> None:
    async with visiting(browser, hall(), viewport=PHONE, has_touch=True) as visit:
        page = visit.page
        await expect(page.locator("#tags tbody tr").first).to_be_visible()
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await page.evaluate("document.querySelector('.legend').open = true")

            wide = await page.evaluate(
                "[document.documentElement.scrollWidth, document.body.scrollWidth]"
            )

            assert max(wide) <= PHONE["width"]
            await page.locator('.tag[data-tag="tag-05"]').tap()
            box = await page.locator("#panel").bounding_box()
            assert box is not None
            assert box["width"] <= PHONE["width"]
            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
            await page.locator("#panel .close").tap()


async def test_everything_that_takes_the_focus_has_a_name(
    looking: Visit,
) -> None:
    await looking.page.locator('.tag[data-tag="tag-05"]').click()
    await expect(looking.page.locator("#panel .trail li")).to_have_count(2)
    await expect(looking.page.locator("#panel summary").last).to_be_visible()
    tools = await looking.page.context.new_cdp_session(looking.page)
    for viewport in (DESKTOP, PHONE):
        await looking.page.set_viewport_size(viewport)

        tree = (await tools.send("Accessibility.getFullAXTree"))["nodes"]

        focusable = [
            node
            for node in tree
            if any(p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", []))
            and node["role"]["value"] not in {"RootWebArea", "listitem"}
        ]  # fmt: skip
        nameless = [n["role"]["value"] for n in focusable if not n.get("name", {}).get("value")]
        assert len(focusable) > 60
        assert nameless == []
        assert await looking.page.locator("h1").count() == 1


async def test_dark_mode_is_dark_and_light_mode_is_light(looking: Visit) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        await looking.page.emulate_media(color_scheme=scheme)
        shade = await looking.page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(int(n) for n in re.findall(r"\d+", shade)[:3])

    assert shades["light"] > 600
    assert shades["dark"] < 150


async def test_nothing_glides_for_people_who_want_no_motion(looking: Visit) -> None:
    for motion, duration in (("no-preference", "0.9s"), ("reduce", "0s")):
        await looking.page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
        await expect(looking.page.locator("#plan .still, #plan.still")).to_have_count(0)
        await expect(looking.page.locator('.tag[data-tag="tag-01"]')).to_have_css(
            "transition-duration", duration
        )


async def test_after_the_stream_is_cut_the_page_says_so_and_catches_up(browser: Browser) -> None:
    world = hall()
    async with visiting(browser, world) as visit:
        page = visit.page
        lamp = page.locator("#connection")
        world.cut.set()
        await expect(lamp).to_have_attribute("data-state", "waiting")
        await expect(lamp).to_contain_text("Reconnecting")
        world.places["tag-05"] |= {"zone_id": "packing", "x_m": None, "y_m": None}

        world.cut.clear()

        await expect(lamp).to_have_attribute("data-state", "live", timeout=15_000)
        await expect(page.locator('.tag[data-tag="tag-05"]')).to_have_attribute(
            "aria-label", re.compile("Packing")
        )
        world.move("tag-05", "cold")
        await expect(page.locator('.tag[data-tag="tag-05"]')).to_have_attribute(
            "aria-label", re.compile("Cold store")
        )


async def test_a_module_that_did_not_arrive_is_loaded_again(browser: Browser) -> None:
    lost: list[str] = []

    async def lose_the_first(route: Route) -> None:
        if lost:
            await route.continue_()
        else:
            lost.append(route.request.url)
            await route.abort()

    async with visiting(browser, hall()) as visit:
        await visit.page.route("**/js/plan.js", lose_the_first)
        await visit.page.context.clear_cookies()
        code = await sign_in_code(visit.deps)
        await open_page(visit.page, f"{visit.base}/console/enter?code={code}")
        await visit.page.get_by_role("button", name="Sign in").click()

        await expect(visit.page.locator(".layer-tags .tag")).to_have_count(32, timeout=10_000)

    assert len(lost) == 1


async def test_a_session_that_ends_is_told_and_not_mistaken_for_an_outage(browser: Browser) -> None:
    world = hall()
    async with visiting(browser, world) as visit:
        await visit.page.context.clear_cookies()

        world.cut.set()

        await expect(visit.page.get_by_role("alertdialog")).to_contain_text("sign-in-link")


async def test_another_site_can_be_chosen_and_says_what_to_do_while_it_is_empty(
    looking: Visit,
) -> None:
    page = looking.page

    await page.locator("#site").select_option("shop")

    await expect(page.locator("#plan-empty")).to_contain_text("/v1/zones")
    await expect(page.locator("#tags-empty")).to_be_visible()
    await expect(page.locator("#stock-empty")).to_contain_text("/v1/assets")
    await expect(page.locator(".layer-tags .tag")).to_have_count(0)
    assert "site=shop" in page.url
    await page.locator("#site").select_option("hall")
    await expect(page.locator(".layer-tags .tag")).to_have_count(32)


async def test_a_page_that_was_opened_before_the_first_site_fills_by_itself(
    browser: Browser,
) -> None:
    world = hall()
    sites, zones, places = world.sites, world.zones, world.places
    world.sites, world.zones, world.places = [], [], {}
    async with visiting(browser, world) as visit:
        page = visit.page
        await expect(page.locator("#plan-empty")).to_contain_text("/v1/sites")

        world.sites, world.zones, world.places = sites, zones, places
        world.tell("events", {"type": "site.registered", "data": {"site_id": "hall"}})

        await expect(page.locator(".layer-zones .zone")).to_have_count(7)
        await expect(page.locator(".layer-tags .tag")).to_have_count(32)
        await expect(page.locator("#site")).to_have_value("hall")
        await expect(page.locator("#plan-empty")).to_be_hidden()


async def test_a_tag_heard_for_the_first_time_gets_its_name(browser: Browser) -> None:
    world = hall()
    new_place = world.places["tag-02"] | {"tag_id": "tag-new"}
    world.places = {}
    async with visiting(browser, world) as visit:
        await expect(visit.page.locator("#plan-empty")).to_contain_text("No tag has been heard")
        world.tags["tag-new"] = world.tags["tag-02"] | {
            "tag_id": "tag-new",
            "asset_id": "crate-new",
        }
        world.assets["crate-new"] = {"asset_id": "crate-new", "name": "Crate new", "contents": []}
        world.places["tag-new"] = new_place
        world.tell("places", new_place)

        await expect(visit.page.locator('.tag[data-tag="tag-new"]')).to_have_attribute(
            "aria-label", re.compile("Crate new")
        )
        await expect(visit.page.locator("#plan-empty")).to_be_hidden()


async def test_names_with_markup_are_only_text(browser: Browser) -> None:
    world = hall()
    evil = "<img src=x onerror=alert(1)>"
    world.assets["pallet-5"]["name"] = evil
    world.zones[0]["name"] = evil
    world.alerts["alert-pod"]["title"] = evil
    async with visiting(browser, world, query="?tag=tag-05") as visit:
        await expect(visit.page.locator("#panel-title")).to_have_text(evil)
        await expect(visit.page.locator("#alerts .alert").first).to_contain_text(evil)
        assert await visit.page.locator("img[src=x]").count() == 0

    assert visit.complaints == []


async def test_a_thousand_tags_are_drawn_and_still_move(browser: Browser) -> None:
    world = hall()
    for index in range(1000):
        tag_id = f"many-{index:04d}"
        world.tags[tag_id] = {
            **world.tags["tag-02"],
            "tag_id": tag_id,
            "label": tag_id,
            "asset_id": None,
        }
        zone_id = world.zones[index % 7]["zone_id"]
        world.places[tag_id] = {**world.places["tag-02"], "tag_id": tag_id, "zone_id": zone_id}
        world.history[tag_id] = []
    async with visiting(browser, world) as visit:
        page = visit.page
        await expect(page.locator(".layer-tags .tag")).to_have_count(1032)

        for index in range(0, 1000, 5):
            world.move(f"many-{index:04d}", "cold")

        await expect(page.locator('.tag[data-tag="many-0995"]')).to_have_attribute(
            "aria-label", re.compile("Cold store"), timeout=5_000
        )
        spots = await page.evaluate(
            """[...document.querySelectorAll('.layer-tags .tag')].map((g) => g.style.transform)"""
        )
        assert len(set(spots)) > 1000


async def test_a_zone_too_small_for_its_tags_still_shows_and_counts_them(browser: Browser) -> None:
    world = hall()
    world.zones.append(
        {
            "zone_id": "cage",
            "site_id": "hall",
            "name": "Cage",
            "kind": "storage",
            "outline_m": [[30, 16], [30.4, 16], [30.2, 16.3]],
        }
    )
    for index in range(60):
        tag_id = f"caged-{index}"
        world.tags[tag_id] = {**world.tags["tag-02"], "tag_id": tag_id, "asset_id": None}
        world.places[tag_id] = {
            **world.places["tag-02"], "tag_id": tag_id, "zone_id": "cage", "x_m": 30.2, "y_m": 16.1,
            "accuracy_m": 3.0,
        }  # fmt: skip
        world.history[tag_id] = []
    async with visiting(browser, world) as visit:
        page = visit.page
        await expect(page.locator(".layer-tags .tag")).to_have_count(92)

        world.move("caged-7", "cage", x_m=30.25)
        for _ in range(6):
            await page.locator("#zoom-in").click()
        await page.locator("#zoom-fit").click()

        await expect(page.locator('.zone[data-zone="cage"] .count')).to_have_text("60")
        assert visit.complaints == []

"""A tag's panel and the list of gateways in Chromium: what locate says today, in words for people."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect
from tests.support.console_answers import at, explanation
from tests.support.console_visit import BLANKS, PHONE, Visit, visiting
from tests.support.console_world import World, hall
from tests.support.explained import KINDS, explained

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

DRAW = """
async (body) => {
  const folder = document.querySelector('link[rel=modulepreload][href$="/explain.js"]').href;
  const [{ drawExplanation }, { drawPresence }, { Model }] = await Promise.all(
    ["explain", "presence", "model"].map((name) => import(folder.replace("explain.js", `${name}.js`))));
  const model = new Model();
  const draw = (told) => [...drawExplanation(told, model), ...drawPresence(told.presence ?? null, model)]
    .map((part) => part.textContent).join(" | ");
  const shown = { whole: draw(body) };
  const without = (holder, path) => {
    for (const key of Object.keys(holder)) {
      if (Array.isArray(holder) && Number(key) > 1) continue;
      const value = holder[key];
      const name = `${path}.${key}`;
      if (!Array.isArray(holder)) {
        holder[key] = null;
        shown[`${name} is null`] = draw(body);
        delete holder[key];
        shown[`${name} is missing`] = draw(body);
        holder[key] = value;
      }
      if (value !== null && typeof value === "object") without(value, name);
    }
  };
  without(body, "");
  return shown;
}
"""
"""Draws an explanation as the panel does: whole, and once for every member without that member."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kinds_visit(browser: Browser) -> AsyncIterator[Visit]:
    """The first tags of the hall are explained by locate itself, one of each kind."""
    world = hall()
    for number, kind in enumerate(KINDS):
        world.explained[f"tag-{number:02d}"] = explained(kind)
    async with visiting(browser, world) as visit:
        yield visit


@pytest_asyncio.fixture(loop_scope="module")
async def looking(kinds_visit: Visit) -> AsyncIterator[Visit]:
    """One visit for all tests that open a panel and change nothing else."""
    yield kinds_visit
    await kinds_visit.leave_as_found()


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_answer_is_shown_without_blanks_whatever_is_missing(
    looking: Visit, kind: str
) -> None:
    shown = await looking.page.evaluate(DRAW, explained(kind))

    assert len(shown) > 60
    assert {path: text for path, text in shown.items() if BLANKS.search(text)} == {}


async def _opened(visit: Visit, tag_id: str) -> Locator:
    """Open a tag's panel by its row in the list, and wait until it is filled."""
    page = visit.page
    await page.locator("#search").fill(tag_id)
    await page.locator(f'#tags tr[data-tag="{tag_id}"] .link').click()
    panel = page.locator("#panel")
    await expect(panel.locator(".trail li").first).to_be_visible()
    await expect(panel.locator(".verdict")).to_be_visible()
    return panel


@pytest.mark.parametrize("kind", KINDS)
async def test_the_panel_says_why_in_words(looking: Visit, kind: str) -> None:
    panel = await _opened(looking, f"tag-{list(KINDS).index(kind):02d}")

    await expect(panel.locator(".verdict")).to_have_text(re.compile(VERDICTS[kind]))

    text = await panel.inner_text()
    assert not BLANKS.search(text), text
    assert looking.complaints == []


VERDICTS = {
    "by signal strength": "Stays: b is also the most probable zone",
    "about to leave": "Stays: a has led for .+ moved when that lasts",
    "in rooms without coordinates": "Stays: y is also the most probable zone",
    "read at a door": r"Read or told: It was read there. \(RFID read at gw-b\)",
    "scanned elsewhere": r"Read or told: It was read there. \(phone scan at gw-a\)",
    "told by a partner": "Stays: b is also the most probable zone",
    "by ranges": "Stays: Its position lies in b",
    "too few ranges": "Not known: Nothing that was heard of it tells a place yet",
    "gone": "Stays: a is also the most probable zone",
    "battery empty": "Stays: a is also the most probable zone",
    "gateways down": "Stays: a is also the most probable zone",
}


async def _rows(panel: Locator, caption: str) -> list[list[str]]:
    table = panel.locator(".evidence", has_text=caption)
    await expect(table).to_be_visible()
    return [
        [" ".join(cell.split()) for cell in await row.locator("th, td").all_inner_texts()]
        for row in await table.locator("tbody tr").all()
    ]


async def test_zones_are_shown_with_their_probability_as_bar_and_number(looking: Visit) -> None:
    panel = await _opened(looking, "tag-18")

    rows = await _rows(panel, "How probable each zone is")

    assert rows == [["Packing (its zone)", "98%"], ["Aisle A", "2%"]]
    track = await panel.locator(".evidence .track").first.bounding_box()
    fill = await panel.locator(".evidence .fill").first.bounding_box()
    assert track is not None
    assert fill is not None
    assert fill["width"] == pytest.approx(0.98 * track["width"], rel=0.02)


async def test_gateways_are_shown_with_what_they_heard_and_what_is_expected(
    looking: Visit,
) -> None:
    told = _told(looking.world, "tag-12", at=at(looking.world.clock.now()))
    told["links"][1] |= {"smoothed_dbm": -41.0, "age_s": 3015.0}
    looking.world.explained["tag-12"] = told
    panel = await _opened(looking, "tag-12")

    rows = await _rows(panel, "What the gateways heard")

    assert [row[:4] for row in rows] == [
        ["Dock east", "-58", "-60", "214"],
        ["Aisle centre", "-41", "-77", "214"],
    ]
    assert re.fullmatch(r"\d+ s", rows[0][4])
    assert rows[1][4] == "50 min"
    unheard = panel.get_by_text("Packing usually hears it within 12 s, but has not for 1 min.")
    await expect(unheard).to_be_visible()
    await expect(panel).to_contain_text("Decided")
    await expect(panel).to_contain_text("3 events as evidence · configuration 7")


async def test_sources_that_disagree_are_shown_in_the_order_in_which_they_are_trusted(
    looking: Visit,
) -> None:
    panel = await _opened(looking, f"tag-{list(KINDS).index('scanned elsewhere'):02d}")

    rows = await _rows(panel, "Who says so")

    assert [[row[0], row[1], row[3]] for row in rows] == [
        ["read point", "a", "decides"],
        ["BLE zone", "b", "overruled"],
    ]
    await expect(panel).to_contain_text("Sources disagree")
    radio = await _rows(panel, "What signal strength alone would say")
    assert radio[0][0] == "b"


async def test_what_strangers_say_is_marked_as_theirs(looking: Visit) -> None:
    panel = await _opened(looking, f"tag-{list(KINDS).index('told by a partner'):02d}")

    rows = await _rows(panel, "Who says so")

    assert rows[0][0] == "stated by a person or system (a partner's network)"
    assert [row[3] for row in rows] == ["own news is newer", "decides"]


async def test_a_distance_that_was_not_believed_says_by_how_much(looking: Visit) -> None:
    panel = await _opened(looking, f"tag-{list(KINDS).index('by ranges'):02d}")

    rows = {row[0]: row for row in await _rows(panel, "Distances to the anchors")}

    assert rows["u1"][1:3] == ["15.65 m", "not believed, 3 m off"]
    assert [rows[name][2] for name in ("u2", "u3", "u4")] == ["used"] * 3


async def test_a_tag_that_only_answers_is_never_called_silent(looking: Visit) -> None:
    panel = await _opened(looking, f"tag-{list(KINDS).index('read at a door'):02d}")

    await expect(panel).to_contain_text("its silence means nothing")
    await expect(panel.locator(".measure")).to_have_count(0)


async def test_a_missing_tag_says_how_sure_why_and_where_to_look(looking: Visit) -> None:
    panel = await _opened(looking, f"tag-{list(KINDS).index('gone'):02d}")

    await expect(panel.locator(".note .state")).to_have_text("missing")
    await expect(panel).to_contain_text("listening all the time and heard nothing")
    share = await panel.locator(".measure .number").inner_text()
    assert int(share.strip("%>")) >= 90
    steps = await panel.locator("ol.steps li").all_inner_texts()
    assert steps[0] == "a it was last seen here"
    assert "out things leave through this zone" in steps
    witnesses = [row[0] for row in await _rows(panel, "Who was listening")]
    assert sorted(witnesses) == ["gw-a", "gw-b"]


async def test_an_empty_battery_is_told_as_one(looking: Visit) -> None:
    panel = await _opened(looking, f"tag-{list(KINDS).index('battery empty'):02d}")

    await expect(panel.locator(".note .state")).to_have_text("unobservable")
    await expect(panel).to_contain_text("battery was low or empty")
    await expect(panel.locator('.battery[data-low="yes"]')).to_contain_text("Battery 2%")


async def test_gateways_that_are_down_explain_a_silence(looking: Visit) -> None:
    panel = await _opened(looking, f"tag-{list(KINDS).index('gateways down'):02d}")

    await expect(panel).to_contain_text("gateways that usually hear it were silent themselves")
    await expect(panel).to_contain_text("gw-a could have heard it, but is silent itself")


async def test_a_zone_that_was_left_says_why_in_the_history(looking: Visit) -> None:
    panel = await _opened(looking, "tag-15")

    first = panel.locator(".trail li").first
    await expect(first).to_contain_text("clearly outside its old zone")
    await expect(first).to_contain_text("BLE zone · 94%")


async def test_folded_figures_open_by_keyboard_and_stay_open_when_the_answer_is_renewed(
    changing: Visit,
) -> None:
    page, world = changing.page, changing.world
    panel = await _opened(changing, "tag-17")
    summary = panel.locator('details[data-key="settings"] summary')
    await panel.locator(".close").focus()
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await summary.evaluate("(s) => s === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    tolerance = panel.get_by_text("Outside means beyond its edge by")
    await expect(tolerance).to_be_visible()

    world.explained["tag-17"] = _told(world, "tag-17", configuration="8")
    world.move("tag-17", "packing")

    await expect(panel).to_contain_text("configuration 8")
    await expect(tolerance).to_be_visible()
    await expect(summary).to_be_focused()


def _told(world: World, tag_id: str, **fields: Any) -> dict[str, Any]:
    return explanation(world.places[tag_id], world.clock.now()) | fields


async def test_an_open_panel_is_renewed_while_its_tag_goes_on_being_heard(changing: Visit) -> None:
    world = changing.world
    panel = await _opened(changing, "tag-21")
    await expect(panel).to_contain_text("configuration 7")

    world.explained["tag-21"] = _told(world, "tag-21", configuration="8")
    world.move("tag-21", "inbound")

    await expect(panel).to_contain_text("configuration 8", timeout=8_000)


async def test_on_a_phone_the_open_panel_fits_in_light_and_dark(browser: Browser) -> None:
    world = hall()
    for number, kind in enumerate(KINDS):
        world.explained[f"tag-{number:02d}"] = explained(kind)
    async with visiting(browser, world, viewport=PHONE) as visit:
        for number in range(len(KINDS)):
            await visit.page.emulate_media(color_scheme=("light", "dark")[number % 2])
            panel = await _opened(visit, f"tag-{number:02d}")
            await panel.evaluate(
                "(p) => p.querySelectorAll('details').forEach((d) => (d.open = true))"
            )

            inside = await panel.evaluate(
                "(p) => [p.scrollWidth, p.clientWidth, ...[...p.querySelectorAll('td, dd, li')]"
                ".map((e) => e.getBoundingClientRect().right)]"
            )

            assert max(inside) <= PHONE["width"], number
            await visit.page.keyboard.press("Escape")


async def test_a_change_of_presence_reaches_the_list_the_plan_and_the_alert(
    changing: Visit,
) -> None:
    page, world = changing.page, changing.world
    now = page.locator('.alert[data-alert="alert-pod"] .now')
    await expect(now).to_contain_text("present")
    world.places["tag-05"] |= {"presence": "missing"}

    world.tell(
        "events",
        {
            "type": "tag.presence_changed",
            "data": {
                "tag_id": "tag-05", "state": "missing", "cause": "silent_while_heard",
                "gone_probability": 0.997, "lost": True, "look_first": ["outbound"],
            },
        },
    )  # fmt: skip

    row = page.locator('#tags tr[data-tag="tag-05"]')
    await page.locator("#search").fill("pallet 5")
    await expect(row.locator(".state")).to_have_text("lost")
    await expect(row).to_contain_text("heard nothing")
    dot = page.locator('.tag[data-tag="tag-05"]')
    await expect(dot).to_have_attribute("data-state", "missing")
    await expect(dot).to_have_attribute("aria-label", re.compile("lost .* heard nothing"))
    await expect(now).to_contain_text("lost")
    await expect(now).to_contain_text("gone with >99%")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def troubled(browser: Browser) -> AsyncIterator[Visit]:
    """One visit to a site where only one gateway is well, by the link of an alert that is over."""
    world = hall()
    world.fire("alert-over", state="resolved", title="Crate 9 was missing", cause="heard again")
    world.strangers = [{"gateway_id": "gw-new", "site_id": "hall"}]
    world.health = {
        "gw-dock": "clock_ahead", "gw-cold": "silent", "gw-pack": "never_heard", "gw-aisle": "deaf",
        "gw-new": "unregistered",
    }  # fmt: skip
    async with visiting(browser, world, query="?alert=alert-over") as visit:
        yield visit


async def test_an_alert_that_is_over_says_why(troubled: Visit) -> None:
    linked = troubled.page.locator('.alert[data-alert="alert-over"]')

    await expect(linked).to_contain_text("Over because: heard again")


async def test_gateways_are_listed_with_the_troubled_ones_first(troubled: Visit) -> None:
    page = troubled.page
    rows = await page.locator("#gateways tbody tr").all_inner_texts()
    words = [" ".join(row.split()) for row in rows]

    names = ["Aisle centre", "Cold store", "Packing", "Dock west", "gw-new", "Dock east"]
    assert [word.startswith(name) for word, name in zip(words, names, strict=True)] == [True] * 6
    assert "deaf" in words[0]
    assert "hears no tags any more" in words[0]
    assert re.search(r"silent 10 min ago .*nobody can hear them", words[1])
    assert "never heard never" in words[2]
    assert re.search(r"clock ahead \(1 min\) .*Set its clock", words[3])
    assert "Nobody else hears Outbound dock." in words[5]
    await expect(page.locator("#gateways-count")).to_have_text("1 of 6 are well")
    deaf = page.locator('.gateway[data-health="deaf"]')
    await expect(deaf).to_have_attribute("aria-label", re.compile("Aisle centre, Gateway: deaf"))
    assert troubled.complaints == []


async def test_a_gateway_that_nobody_registered_is_listed_with_what_to_do(troubled: Visit) -> None:
    row = troubled.page.locator('#gateways tr[data-gateway="gw-new"]')

    await expect(row).to_contain_text("POST /v1/gateways")


async def test_tags_that_were_silent_before_the_page_was_opened_say_why(looking: Visit) -> None:
    row = looking.page.locator('#tags tr[data-tag="tag-13"]')
    await looking.page.locator("#search").fill("tag-13")

    await expect(row.locator(".state")).to_have_text("overdue")
    await expect(row).to_contain_text("lost by chance")


async def test_a_gateway_that_hears_a_tag_again_is_no_longer_shown_as_silent(
    browser: Browser,
) -> None:
    world = hall()
    async with visiting(browser, world) as visit:
        row = visit.page.locator('#gateways tr[data-gateway="gw-cold"]')
        await expect(row).to_have_attribute("data-health", "silent")
        world.health = {}

        world.move("tag-03", "cold", gateway_id="gw-cold")

        await expect(row).to_have_attribute("data-health", "healthy")


async def test_without_the_coverage_map_the_gateways_are_shown_all_the_same(
    browser: Browser,
) -> None:
    world = hall()
    async with visiting(browser, world) as visit:
        page = visit.page
        await page.route("**/coverage", lambda route: route.fulfill(status=503, json={}))
        world.health = {"gw-out": "silent"}

        world.move("tag-03", "cold", gateway_id="gw-cold")

        row = page.locator('#gateways tr[data-gateway="gw-out"]')
        await expect(row).to_have_attribute("data-health", "silent")


async def test_ages_of_an_answer_go_on_while_the_panel_is_open(looking: Visit) -> None:
    now = looking.world.clock.now()
    looking.world.explained["tag-16"] = _told(looking.world, "tag-16", at=at(now))
    panel = await _opened(looking, "tag-16")
    decided = panel.locator("p", has_text="Decided").locator("time")
    before = await decided.inner_text()

    await expect(decided).not_to_have_text(before)

    words = (before, await decided.inner_text())
    assert all(re.fullmatch(r"just now|\d+ s ago", word) for word in words)

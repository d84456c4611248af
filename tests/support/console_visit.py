"""Visits to the live page in a real browser, as a person makes them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Final

from playwright.async_api import Browser, ConsoleMessage, Error, Page, ViewportSize, expect
from tests.support.console_world import World, console_app, deps_of, sign_in_code
from tests.support.serving import served

from tagtrail_kernel.wiring import Deps

PHONE: Final[ViewportSize] = {"width": 360, "height": 740}
DESKTOP: Final[ViewportSize] = {"width": 1280, "height": 900}
NETWORK_CHANGED: Final = "ERR_NETWORK_CHANGED"
"""Chromium drops all requests when an interface comes or goes, for example with a container."""
BLANKS: Final = re.compile(r"NaN|undefined|\bnull\b|Invalid|\[object|\{\w+\}")
"""What a page shows when it takes a missing figure for one that is there."""


class Visit:
    """One browser with a session, and all that it asked for and complained about."""

    def __init__(self, page: Page, world: World, base: str, deps: Deps) -> None:
        self.page = page
        self.deps = deps
        self.world = world
        self.base = base
        self.requested: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda r: self.requested.append(r.url))
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _note(self, message: ConsoleMessage) -> None:
        if NETWORK_CHANGED in message.text:
            return
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    async def place_of(self, tag_id: str) -> tuple[float, float]:
        """Return the middle of a tag's mark on the screen, pixels."""
        shape = self.page.locator(f'.tag[data-tag="{tag_id}"] .shape')
        await expect(shape).to_be_visible()
        box = await shape.bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    async def still(self) -> None:
        """Wait until nothing glides any more."""
        await self.page.evaluate(
            "Promise.allSettled(document.getAnimations().map((glide) => glide.finished))"
        )

    async def leave_as_found(self) -> None:
        """Undo what a test that only looked may have left: search, panel, focus, mouse, screen."""
        await self.page.keyboard.press("Escape")
        await self.page.locator("#search").fill("")
        await self.page.locator("#search").blur()
        await self.page.mouse.move(2, 2)
        await self.page.emulate_media(color_scheme="null", reduced_motion="null")
        await self.page.set_viewport_size(DESKTOP)

    async def focused(self) -> str:
        """Return the element that has the focus, in words."""
        return str(
            await self.page.evaluate(
                "(({dataset: d, id, tagName}) => d.tag ?? (id || tagName))(document.activeElement)"
            )
        )


async def open_page(page: Page, address: str) -> None:
    for attempt in range(3):
        try:
            await page.goto(address)
        except Error as error:
            if NETWORK_CHANGED not in error.message or attempt == 2:
                raise
        else:
            return


@contextlib.asynccontextmanager
async def visiting(
    browser: Browser,
    world: World,
    *,
    viewport: ViewportSize = DESKTOP,
    role: str = "operator",
    query: str = "",
    **context: object,
) -> AsyncIterator[Visit]:
    """Open the page with a session, and wait until it is live and has filled itself.

    Stock, alerts and gateways arrive just after the page is live, and move what stands below them: a
    person's first act comes later, and so does a test's.
    """
    deps: Deps = deps_of()
    async with served(console_app(deps, world)) as base:
        window = await browser.new_context(viewport=viewport, **context)  # type: ignore[arg-type]
        page = await window.new_page()
        visit = Visit(page, world, base, deps)
        try:
            code = await sign_in_code(deps, role)
            signed_in = await window.request.post(f"{base}/console/enter", form={"code": code})
            assert signed_in.ok
            await open_page(page, f"{base}/console/{query}")
            await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
            await expect(page.locator("body")).to_have_attribute("data-filled", "yes")
            yield visit
        finally:
            await window.close()

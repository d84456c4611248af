from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from tests.support.console_world import World, console_app

import tagtrail_console
from tagtrail_console.assets import Assets
from tagtrail_console.pages import Pages
from tagtrail_kernel.access import Key, mint
from tagtrail_kernel.access_stores import MemoryAccess
from tagtrail_kernel.errors import UnavailableError
from tagtrail_kernel.wiring import Deps

PACKAGE = Path(tagtrail_console.__file__).parent
FIRST_LOAD_BYTES = 200_000


async def test_the_front_door_answers_200_without_a_session(client: httpx2.AsyncClient) -> None:
    client.follow_redirects = True

    reply = await client.get("/")

    assert reply.status_code == 200
    assert reply.url.path == "/console/"
    assert "tagtrail keys sign-in-link" in reply.text


async def test_a_person_gets_a_page_when_the_keys_are_out_of_reach(
    deps: Deps, world: World
) -> None:
    class Unreachable(MemoryAccess):
        async def key(self, key_id: str) -> Key | None:
            raise UnavailableError("the database is out of reach")

    transport = httpx2.ASGITransport(console_app(replace(deps, access=Unreachable()), world))
    async with httpx2.AsyncClient(transport=transport, base_url="http://console.test") as client:
        token, _ = mint(1, name="test", role="operator", at=deps.clock.now())
        client.cookies.set("tagtrail_session", token)
        page = await client.get("/console/", headers={"accept": "text/html,*/*"})
        problem = await client.get("/console/api/v1/sites")

    assert page.status_code == problem.status_code == 503
    assert "the database is out of reach" in page.text
    assert page.headers["content-type"].startswith("text/html")
    assert problem.headers["content-type"] == "application/problem+json"


async def test_other_pages_without_a_session_are_401_and_say_how_to_sign_in(
    client: httpx2.AsyncClient,
) -> None:
    reply = await client.get("/console/rules")

    assert reply.status_code == 401
    assert "tagtrail keys sign-in-link" in reply.text


async def test_an_unknown_page_leads_back(signed_in: httpx2.AsyncClient) -> None:
    reply = await signed_in.get("/console/nothing-here")

    assert reply.status_code == 404
    assert 'href="/console/"' in reply.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/console/", 200),
        ("/console/enter?code=x", 200),
        ("/console/nothing", 404),
        ("/console/api/v1/sites", 200),
        ("/console/api/v1/assets/none", 404),
        ("/console/api/healthz", 404),
        ("/console/static/x/css/live.css", 200),
        ("/console/static/x/none.css", 404),
        ("/", 307),
    ],
)
async def test_every_answer_carries_the_protecting_headers(
    signed_in: httpx2.AsyncClient, path: str, status: int
) -> None:
    reply = await signed_in.get(path)

    assert reply.status_code == status
    policy = reply.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/console/", "/console/enter?code=x", "/console/api/v1/sites"])
async def test_answers_of_a_session_are_not_kept(signed_in: httpx2.AsyncClient, path: str) -> None:
    assert (await signed_in.get(path)).headers["cache-control"] == "no-store"


async def test_a_code_in_the_address_is_shown_as_text_only(client: httpx2.AsyncClient) -> None:
    page = await client.get("/console/enter", params={"code": '"><script>alert(1)</script>'})

    assert "<script" not in page.text


async def test_pages_have_no_inline_script_style_or_handler(signed_in: httpx2.AsyncClient) -> None:
    page = (await signed_in.get("/console/")).text

    scripts = re.findall(r"<script([^>]*)>", page)
    assert scripts
    assert all("src=" in s or 'type="application/json"' in s for s in scripts)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)


async def test_static_files_of_this_release_are_kept_for_ever(
    signed_in: httpx2.AsyncClient,
) -> None:
    page = (await signed_in.get("/console/")).text
    addresses = sorted(set(re.findall(r"/console/static/[^\"]+", page)))

    assert len(addresses) > 10
    for address in addresses:
        reply = await signed_in.get(address)
        assert reply.status_code == 200, address
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert reply.headers["content-type"].partition(";")[0] in {
            "text/css", "text/javascript", "image/svg+xml",
        }  # fmt: skip


async def test_a_file_of_another_release_is_checked_each_time(client: httpx2.AsyncClient) -> None:
    old = await client.get("/console/static/0123456789abcdef/js/main.js")

    assert old.headers["cache-control"] == "no-cache"
    again = await client.get(
        "/console/static/0123456789abcdef/js/main.js",
        headers={"if-none-match": old.headers["etag"]},
    )
    assert again.status_code == 304


async def test_files_are_sent_compressed_only_to_who_takes_that(client: httpx2.AsyncClient) -> None:
    address = "/console/static/x/js/main.js"

    packed = await client.get(address, headers={"accept-encoding": "gzip"})
    plain = await client.get(address, headers={"accept-encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content == (PACKAGE / "static/js/main.js").read_bytes()


@pytest.mark.parametrize(
    "name", ["../settings.py", "..%2fsettings.py", "js/../../api.py", "", "js"]
)
async def test_nothing_outside_the_static_folder_is_served(
    client: httpx2.AsyncClient, name: str
) -> None:
    assert (await client.get(f"/console/static/x/{name}")).status_code in {401, 404}


def test_the_address_of_a_file_changes_with_any_content(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a{}")
    (tmp_path / "b.js").write_text("1")
    before = Assets(tmp_path).url("b.js")

    (tmp_path / "a.css").write_text("a{color:red}")

    assert Assets(tmp_path).url("b.js") != before


async def test_s92_the_first_load_is_small(signed_in: httpx2.AsyncClient) -> None:
    page = await signed_in.get("/console/")
    addresses = sorted(set(re.findall(r"/console/static/[^\"]+", page.text)))

    total = len(page.content) + sum([len((await signed_in.get(a)).content) for a in addresses])

    assert total < FIRST_LOAD_BYTES, f"{total} bytes uncompressed"


def _sources() -> str:
    files = [*PACKAGE.glob("templates/*.html"), *PACKAGE.glob("static/js/*.js")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_every_text_that_is_asked_for_is_in_the_catalogue() -> None:
    texts = Pages(Assets()).texts
    sources = _sources()
    asked = set(re.findall(r"""\bt\(\s*["']([a-z_.]+)["']""", sources))
    plural = set(re.findall(r"""\btn\(\s*["']([a-z_.]+)["']""", sources))

    assert len(asked) > 50
    assert asked <= texts.keys()
    assert {f"{k}.{form}" for k in plural for form in ("one", "other")} <= texts.keys()


def test_every_text_of_the_catalogue_is_used() -> None:
    sources = _sources()
    literal = set(re.findall(r"""["'`]([a-z_]+(?:\.[a-z_]+)+)["'`]""", sources))
    prefixes = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)*\.)\$\{", sources))

    unused = [
        key
        for key in Pages(Assets()).texts
        if key not in literal
        and key.rpartition(".")[0] not in literal
        and not any(key.startswith(prefix) for prefix in prefixes)
    ]

    assert unused == []


def test_pages_and_scripts_hold_no_address_of_another_host() -> None:
    files = [p for p in PACKAGE.rglob("*") if p.suffix in {".html", ".js", ".css", ".svg"}]

    found = {
        (path.name, address)
        for path in files
        for address in re.findall(r"https?://[^\s\"')]+", path.read_text(encoding="utf-8"))
    }

    assert {address for _, address in found} <= {"http://www.w3.org/2000/svg"}

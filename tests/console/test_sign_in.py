from __future__ import annotations

from datetime import timedelta
from http.cookies import SimpleCookie

import httpx2
import pytest
from tests.support.console_world import World, console_app, sign_in_code

from tagtrail_kernel.access import new_code
from tagtrail_kernel.clock import FakeClock
from tagtrail_kernel.wiring import Deps

ENTER = "/console/enter"


async def test_the_printed_link_asks_before_it_uses_the_code(
    client: httpx2.AsyncClient, deps: Deps
) -> None:
    code = await sign_in_code(deps)

    for _ in range(2):
        shown = await client.get(ENTER, params={"code": code})
        assert shown.status_code == 200
        assert f'value="{code}"' in shown.text
        assert "set-cookie" not in shown.headers
    assert (await client.post(ENTER, data={"code": code})).status_code == 303


async def test_a_good_code_opens_a_session_of_twelve_hours(
    client: httpx2.AsyncClient, deps: Deps, clock: FakeClock
) -> None:
    code = await sign_in_code(deps, role="auditor")

    reply = await client.post(ENTER, data={"code": code})

    assert reply.headers["location"] == "/console/"
    cookie = SimpleCookie(reply.headers["set-cookie"])["tagtrail_session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "strict"
    assert cookie["path"] == "/console"
    assert cookie["max-age"] == "43200"
    assert not cookie["secure"]
    (key,) = await deps.access.keys(1)
    assert key.role == "auditor"
    assert key.expires_at == clock.now() + timedelta(hours=12)
    assert cookie.value.startswith(f"tt_{key.key_id}_")
    assert 'id="plan"' in (await client.get("/console/")).text


@pytest.mark.parametrize("address", ["https://console.test", "http://console.test"])
async def test_the_cookie_is_secure_where_browsers_come_by_https(
    deps: Deps, world: World, address: str
) -> None:
    public = "https://stock.example" if address.startswith("http:") else ""
    transport = httpx2.ASGITransport(console_app(deps, world, public_url=public))
    code = await sign_in_code(deps)

    async with httpx2.AsyncClient(transport=transport, base_url=address) as client:
        reply = await client.post(ENTER, data={"code": code})

    assert "Secure" in reply.headers["set-cookie"]


async def test_a_code_works_once(client: httpx2.AsyncClient, deps: Deps) -> None:
    code = await sign_in_code(deps)
    await client.post(ENTER, data={"code": code})

    again = await client.post(ENTER, data={"code": code})

    assert again.status_code == 401
    assert "set-cookie" not in again.headers
    assert "tagtrail keys sign-in-link" in again.text


@pytest.mark.parametrize("code", ["", "wrong", "x" * 201, "x" * 5000, "ü\x00"])
async def test_a_wrong_code_is_told_what_to_do(client: httpx2.AsyncClient, code: str) -> None:
    reply = await client.post(ENTER, data={"code": code})

    assert reply.status_code == 401
    assert "tagtrail keys sign-in-link" in reply.text


@pytest.mark.parametrize(("late_s", "status"), [(-1, 303), (0, 401), (1, 401)])
async def test_a_code_ends_at_its_time(
    client: httpx2.AsyncClient, deps: Deps, clock: FakeClock, late_s: int, status: int
) -> None:
    tenant = await deps.access.add_tenant("test", "Test")
    code, stored = new_code()
    await deps.access.add_code(
        stored, tenant.log_id, "operator", clock.now() - timedelta(seconds=late_s)
    )

    assert (await client.post(ENTER, data={"code": code})).status_code == status


@pytest.mark.parametrize(("hours", "signed_in_still"), [(11.99, True), (12.0, False)])
async def test_a_session_ends_after_its_hours(
    signed_in: httpx2.AsyncClient, clock: FakeClock, hours: float, signed_in_still: bool
) -> None:
    clock.forward(hours * 3600)

    page = await signed_in.get("/console/")

    assert page.status_code == 200
    assert ('id="plan"' in page.text) is signed_in_still


async def test_leaving_revokes_the_key_and_removes_the_cookie(
    signed_in: httpx2.AsyncClient, deps: Deps, clock: FakeClock
) -> None:
    stolen = signed_in.cookies["tagtrail_session"]

    left = await signed_in.post("/console/leave")

    assert left.status_code == 200
    assert "tagtrail_session" not in signed_in.cookies
    clock.forward(6)
    (key,) = await deps.access.keys(1)
    assert key.revoked_at is not None
    reply = await signed_in.get(
        "/console/api/v1/sites", headers={"cookie": f"tagtrail_session={stolen}"}
    )
    assert reply.status_code == 401


async def test_leaving_without_a_session_is_harmless(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/console/leave")).status_code == 200


@pytest.mark.parametrize("path", [ENTER, "/console/leave"])
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://console.test", True),
        (None, True),
        ("http://evil.test", False),
        ("http://console.test.evil.test", False),
        ("null", False),
    ],
)
async def test_forms_of_other_sites_are_refused(
    client: httpx2.AsyncClient, deps: Deps, path: str, origin: str | None, allowed: bool
) -> None:
    code = await sign_in_code(deps)

    headers = {} if origin is None else {"origin": origin}
    reply = await client.post(path, data={"code": code}, headers=headers)

    assert (reply.status_code != 403) is allowed


async def test_the_public_address_counts_as_an_own_origin(deps: Deps, world: World) -> None:
    app = console_app(deps, world, public_url="https://stock.example")
    code = await sign_in_code(deps)

    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://inner"
    ) as client:
        reply = await client.post(
            ENTER, data={"code": code}, headers={"origin": "https://stock.example"}
        )

    assert reply.status_code == 303

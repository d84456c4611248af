"""The service as a whole: HTTP in front, the rules, the ticker and the outbox behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from tests.support.alert_history import T0, History
from tests.support.fake_slack import SECRET_PATH, FakeSlack

from tagtrail_alerts.core.parameters import CLONE_SUSPECTED, LEFT_OUTBOUND, MISSING_TAG
from tagtrail_alerts.projection import NAME
from tagtrail_alerts.service import build
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.access import mint
from tagtrail_kernel.clock import FakeClock
from tagtrail_kernel.migrations import Migration, upgrade_all
from tagtrail_kernel.testing.deps import service_deps
from tagtrail_kernel.wiring import Deps, app_of

MIGRATIONS = [
    Migration("access", "tagtrail_kernel.migrations_access"),
    Migration(NAME, "tagtrail_alerts.migrations"),
]


@dataclass(slots=True)
class Running:
    """The running service.

    Attributes:
        deps: Its ports.
        clock: The wall clock.
        http: Client with an admin's key of tenant 1.
        app: The app, for a server with real sockets.
    """

    deps: Deps
    clock: FakeClock
    http: httpx2.AsyncClient
    app: FastAPI

    @contextlib.asynccontextmanager
    async def on_a_socket(self) -> AsyncIterator[str]:
        """Serve on loopback, for streams; gives the address."""
        config = uvicorn.Config(self.app, port=0, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            await task

    async def record(self, history: History, log_id: int = 1) -> None:
        """Append a whole history at once, at the time of its end."""
        end = max(e.occurred_at for e in history.envelopes)
        self.clock.at = max(self.clock.at, end)
        await self.deps.sink.publish(log_id, history.envelopes)

    async def get(self, path: str, expect: int = 200, **params: Any) -> Any:
        reply = await self.http.get(path, params=params)
        assert reply.status_code == expect, reply.text
        return reply.json()

    async def send(
        self, method: str, path: str, body: object = None, expect: int = 200, key: str | None = None
    ) -> Any:
        headers = {"Idempotency-Key": key} if key is not None else {}
        reply = await self.http.request(method, path, json=body, headers=headers)
        assert reply.status_code == expect, reply.text
        return reply.json() if reply.content else None

    async def alerts(self, number: int, **params: Any) -> list[dict[str, Any]]:
        """Wait for so many alerts."""
        body: dict[str, Any] = {}

        async def enough() -> bool:
            nonlocal body
            body = await self.get("/v1/alerts", **params)
            return len(body["items"]) >= number

        await until(enough)
        items: list[dict[str, Any]] = body["items"]
        return items


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.fixture
async def running(database_url: str, slack: FakeSlack) -> AsyncIterator[Running]:
    """The service, running, with a fake Slack."""
    await upgrade_all(database_url, MIGRATIONS)
    clock = FakeClock(T0)
    settings = AlertsSettings(
        slack_webhook_url=slack.url,
        channel_secret="0123456789abcdef",
        allow_loopback=True,
        tick_s=0.05,
        poll_s=0.05,
        group_wait_s=0,
        send_interval_s=0,
        send_timeout_s=1,
    )
    async with service_deps(database_url, clock=clock) as (deps, key):
        app = app_of(deps, build(deps, settings))
        headers = {"Authorization": f"Bearer {key}"}
        async with app.router.lifespan_context(app):
            async with httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app=app), base_url="http://test", headers=headers
            ) as http:
                yield Running(deps, clock, http, app)


def departures(*pallets: str) -> History:
    history = History().warehouse(*pallets)
    for number, pallet in enumerate(pallets):
        history.move(number * 0.1, "out", pallet)
        history.move(10 + number * 0.1, None, pallet)
    history.tick(60)
    return history


async def test_s63_s30_goods_without_pod_are_one_alert_and_one_card(
    running: Running, slack: FakeSlack
) -> None:
    await running.record(departures("p1"))
    (alert,) = await running.alerts(1)

    async def told() -> bool:
        return bool(slack.delivered)

    await until(told)

    assert alert["rule_id"] == LEFT_OUTBOUND
    assert alert["state"] == "open"
    assert alert["what"] == "Pallet p1"
    assert alert["where"] == "Out, Hall North"
    assert alert["since_at"] == "2026-03-02T08:10:00Z"
    assert alert["fired_at"] == "2026-03-02T08:42:00Z"
    assert "No POD covers it by 2026-03-02 08:40:00 UTC" in alert["why"]
    assert alert["next_step"].startswith("Ask dock and driver")
    assert alert["age_s"] == 0
    assert len(slack.delivered) == 1
    assert alert["alert_id"] in json.dumps(slack.delivered)


async def test_the_wall_clock_alone_fires_through_the_running_service(running: Running) -> None:
    history = departures("p1")
    del history.envelopes[-1]
    await running.record(history)
    await asyncio.sleep(0.3)
    before = await running.get("/v1/alerts")
    running.clock.forward(33 * 60)

    (alert,) = await running.alerts(1)

    assert before["items"] == []
    assert alert["fired_at"] == "2026-03-02T08:42:00Z"


async def test_one_alert_shows_its_evidence_and_an_etag(running: Running) -> None:
    history = departures("p1")
    await running.record(history)
    (alert,) = await running.alerts(1)
    path = f"/v1/alerts/{alert['alert_id']}"
    reply = await running.http.get(path)
    again = await running.http.get(path, headers={"If-None-Match": reply.headers["etag"]})
    evidence = reply.json()["evidence"]
    left = next(
        e for e in history.envelopes if e.id.hex == evidence["anchor_event_id"].replace("-", "")
    )
    fired = await running.deps.log.find(1, UUID(evidence["fired_event_id"]))

    assert left.data.TYPE == "tag.zone_changed"
    assert evidence["event_ids"] == [evidence["anchor_event_id"]]
    assert fired is not None
    assert fired.type == "alert.fired"
    assert reply.json()["as_of_position"] >= alert["position"]
    assert again.status_code == 304
    await running.get("/v1/alerts/nope", expect=404)


async def test_s31_people_acknowledge_and_resolve_with_a_cause(running: Running) -> None:
    await running.record(departures("p1"))
    (alert,) = await running.alerts(1)
    path = f"/v1/alerts/{alert['alert_id']}"
    first = await running.send("POST", f"{path}/acknowledge", {"note": "on it"}, key="k1")
    again = await running.send("POST", f"{path}/acknowledge", {"note": "on it"}, key="k1")
    await running.alerts(1, state="acknowledged")
    twice = await running.send("POST", f"{path}/acknowledge", {})
    await running.send("POST", f"{path}/resolve", {"cause": "found: POD in the cab"})
    (resolved,) = await running.alerts(1, state="resolved")
    refused = await running.send("POST", f"{path}/resolve", {"cause": "again"}, expect=409)
    await running.send("POST", f"{path}/acknowledge", {}, expect=409)
    await running.send("POST", f"{path}/resolve", {}, expect=422)
    await running.send("POST", "/v1/alerts/nope/resolve", {"cause": "x"}, expect=404)

    assert first == again
    assert twice["position"] == first["position"]
    assert resolved["note"] == "on it"
    assert resolved["cause"] == "found: POD in the cab"
    assert resolved["acknowledged_by"] == resolved["resolved_by"]
    assert "found: POD in the cab" in refused["detail"]


async def test_acknowledging_without_a_body_works(running: Running) -> None:
    await running.record(departures("p1"))
    (alert,) = await running.alerts(1)
    await running.send("POST", f"/v1/alerts/{alert['alert_id']}/acknowledge")

    assert len(await running.alerts(1, state="acknowledged")) == 1


async def test_lists_are_paged_newest_first_and_filtered(running: Running) -> None:
    pallets = tuple(f"p{n}" for n in range(5))
    await running.record(departures(*pallets))
    await running.alerts(5)
    first = await running.http.get("/v1/alerts?limit=2&rule_id=left_outbound_without_pod")
    seen = [a["asset_id"] for a in first.json()["items"]]
    link = first.headers["link"]
    while link:
        reply = await running.http.get(link.partition(">")[0].removeprefix("<"))
        seen += [a["asset_id"] for a in reply.json()["items"]]
        link = reply.headers.get("link", "")

    assert link == ""
    assert seen == [f"p{n}" for n in (4, 3, 2, 1, 0)]
    assert (await running.get("/v1/alerts", rule_id=MISSING_TAG))["items"] == []
    assert len((await running.get("/v1/alerts", subject="t-p3"))["items"]) == 1
    assert len((await running.get("/v1/alerts", site_id="s1"))["items"]) == 5
    await running.get("/v1/alerts", state="closed", expect=422)


async def test_rules_are_shown_and_set_by_events(running: Running) -> None:
    listed = await running.get("/v1/rules")
    answer = await running.send(
        "PUT", f"/v1/rules/{LEFT_OUTBOUND}", {"parameters": {"grace_s": 60}}, key="r1"
    )
    (event,) = (await running.deps.log.read(1, after=answer["position"] - 1)).events  # type: ignore[union-attr]

    async def taken() -> bool:
        return bool((await running.get(f"/v1/rules/{LEFT_OUTBOUND}"))["version"] == 2)

    await until(taken)
    shown = await running.get(f"/v1/rules/{LEFT_OUTBOUND}")
    wrong = await running.send(
        "PUT", f"/v1/rules/{LEFT_OUTBOUND}", {"parameters": {"grace": 60}}, expect=422
    )
    await running.send("PUT", "/v1/rules/nope", {"parameters": {}}, expect=404)
    await running.get("/v1/rules/nope", expect=404)

    assert [r["rule_id"] for r in listed["items"]] == [
        MISSING_TAG,
        LEFT_OUTBOUND,
        CLONE_SUSPECTED,
    ]
    assert all(r["parameters"]["enabled"] for r in listed["items"])
    assert event.type == "config.changed"
    assert shown["parameters"]["grace_s"] == 60
    assert shown["parameters"]["lateness_s"] == 120
    assert shown["set_at_position"] == answer["position"]
    assert "grace" in wrong["detail"]
    assert "grace_s" in json.dumps(shown["schema"])


async def test_n10_s63_a_back_test_over_http_equals_the_live_rule(running: Running) -> None:
    history = departures("p1", "p2", "p3")
    history.pod(20, "p2")
    await running.record(history)
    live = await running.alerts(2, rule_id=LEFT_OUTBOUND)
    retracting = History()
    retracting.pod(25, "p1", document="POD-9")
    await running.record(retracting)
    await running.alerts(1, state="resolved")
    path = f"/v1/rules/{LEFT_OUTBOUND}/backtest"
    same = await running.send("POST", path, {})
    longer = await running.send("POST", path, {"parameters": {"grace_s": 86_400}})
    early = await running.send("POST", path, {"to_position": 20})
    late = await running.send("POST", path, {"from_position": same["items"][-1]["position"] + 1})
    await running.send("POST", path, {"parameters": {"grace_s": "x"}}, expect=422)
    await running.send("POST", path, {"from_position": 10_000}, expect=422)
    await running.send("POST", "/v1/rules/nope/backtest", {}, expect=404)

    assert same["would_have_fired"] == same["live"] == len(live) == 3
    assert {i["alert_id"] for i in same["items"]} == {a["alert_id"] for a in live}
    assert same["retracted"] == 2
    assert longer["would_have_fired"] == 0
    assert longer["pending"] == 1
    assert early["would_have_fired"] == 0
    assert late["would_have_fired"] == late["live"] == 0


async def test_dead_letters_are_listed_and_redriven_over_http(
    running: Running, slack: FakeSlack
) -> None:
    slack.script.append("404:no_service")
    await running.record(departures("p1"))
    dead: dict[str, Any] = {}

    async def died() -> bool:
        nonlocal dead
        dead = await running.get("/v1/outbox", state="dead")
        return bool(dead["items"])

    await until(died)
    (row,) = dead["items"]
    answer = await running.send("POST", f"/v1/outbox/{row['outbox_id']}/redrive")

    async def sent() -> bool:
        return bool((await running.get("/v1/outbox", state="sent"))["items"])

    await until(sent)
    await running.send("POST", f"/v1/outbox/{row['outbox_id']}/redrive", expect=409)
    await running.send("POST", "/v1/outbox/999/redrive", expect=404)

    assert dead["counts"]["dead"] == 1
    assert row["reason"] == "the channel answers 404 no_service"
    assert answer["queued"] == 1
    assert len(slack.delivered) == 1


async def test_channels_are_tested_and_never_show_their_address(
    running: Running, slack: FakeSlack, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"kind": "slack", "url": slack.url}
    put = await running.send("PUT", "/v1/channels/dock", body)
    listed = await running.get("/v1/channels")
    tested = await running.send("POST", "/v1/channels/dock/test")
    slack.script.append("410:channel_is_archived")
    running.clock.forward(2)
    failed = await running.send("POST", "/v1/channels/dock/test")
    reserved = await running.send("PUT", "/v1/channels/default", body, expect=409)
    await running.send("DELETE", "/v1/channels/dock", expect=204)
    await running.send("POST", "/v1/channels/dock/test", expect=404)
    await running.send("DELETE", "/v1/channels/dock", expect=404)
    shown = json.dumps([put, listed, tested, failed, reserved]) + caplog.text

    assert [c["channel_id"] for c in listed["items"]] == ["default", "dock"]
    assert tested["delivered"] is True
    assert "Test from Tagtrail" in slack.delivered[0]["text"]
    assert failed == {
        "channel_id": "dock",
        "delivered": False,
        "result": "permanent",
        "reason": "the channel answers 410 channel_is_archived",
    }
    assert SECRET_PATH not in shown


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.slack.com/services/sEcReT",
        "https://10.0.0.7/sEcReT",
        "https://169.254.169.254/sEcReT",
        "https://user:sEcReT@hooks.slack.com/",
        "file:///etc/sEcReT",
        "",
    ],
)
async def test_addresses_into_our_own_network_are_refused(running: Running, url: str) -> None:
    problem = await running.send("PUT", "/v1/channels/dock", {"url": url}, expect=422)

    assert "sEcReT" not in json.dumps(problem)
    assert (await running.get("/v1/channels"))["items"][-1]["channel_id"] == "default"


async def test_the_stream_tells_each_change_and_resumes(running: Running) -> None:
    await running.record(departures("p1"))
    (alert,) = await running.alerts(1)
    events = []

    async def read(after: int, number: int) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        headers = {"Last-Event-ID": str(after)}
        headers["Authorization"] = running.http.headers["Authorization"]
        async with client.stream("GET", f"{url}/v1/alerts/stream", headers=headers) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            async for line in reply.aiter_lines():
                if line.startswith("data:"):
                    found.append(json.loads(line.removeprefix("data:")))
                    if len(found) == number:
                        return found
        return found

    async with (
        asyncio.timeout(10),
        running.on_a_socket() as url,
        httpx2.AsyncClient() as client,
    ):
        events += await read(0, 1)
        reader = asyncio.create_task(read(alert["changed_position"], 1))
        await asyncio.sleep(0.2)
        await running.send("POST", f"/v1/alerts/{alert['alert_id']}/acknowledge")
        events += await reader

    assert [e["state"] for e in events] == ["open", "acknowledged"]
    assert {e["alert_id"] for e in events} == {alert["alert_id"]}


async def test_every_endpoint_wants_a_key_with_its_scope(running: Running) -> None:
    text, key = mint(1, name="gw", role="gateway", at=running.clock.now())
    await running.deps.access.add_key(key)
    calls = [
        ("GET", "/v1/alerts"), ("GET", "/v1/alerts/x"), ("GET", "/v1/alerts/stream"),
        ("POST", "/v1/alerts/x/acknowledge"), ("POST", "/v1/alerts/x/resolve"),
        ("GET", "/v1/rules"), ("GET", "/v1/rules/x"), ("PUT", "/v1/rules/x"),
        ("POST", "/v1/rules/x/backtest"), ("GET", "/v1/outbox"), ("POST", "/v1/outbox/1/redrive"),
        ("GET", "/v1/channels"), ("PUT", "/v1/channels/x"), ("DELETE", "/v1/channels/x"),
        ("POST", "/v1/channels/x/test"), ("POST", "/v1/channels/x/rotate-secret"),
    ]  # fmt: skip
    answers = set()
    for method, path in calls:
        for header in ("", f"Bearer {text}"):
            reply = await running.http.request(
                method,
                path,
                headers={"Authorization": header},
                json={"cause": "x", "parameters": {}, "url": "x"},
            )
            answers.add((header != "", reply.status_code))

    assert answers == {(False, 401), (True, 403)}


async def test_another_tenant_sees_nothing(running: Running) -> None:
    tenant = await running.deps.access.add_tenant("other", "Other")
    text, key = mint(tenant.log_id, name="o", role="admin", at=running.clock.now())
    await running.deps.access.add_key(key)
    await running.record(departures("p1"))
    (alert,) = await running.alerts(1)
    other = {"Authorization": f"Bearer {text}"}
    listed = await running.http.get("/v1/alerts", headers=other)
    one = await running.http.get(f"/v1/alerts/{alert['alert_id']}", headers=other)
    act = await running.http.post(f"/v1/alerts/{alert['alert_id']}/acknowledge", headers=other)
    rows = await running.http.get("/v1/outbox", headers=other)
    test = await running.http.post("/v1/channels/default/test", headers=other)

    assert listed.json()["items"] == []
    assert rows.json()["items"] == []
    assert [r.status_code for r in (one, act, test)] == [404, 404, 404]


async def test_the_service_is_ready_and_counts(running: Running) -> None:
    async def ready() -> bool:
        return (await running.http.get("/readyz")).status_code == 200

    await until(ready)
    metrics = (await running.http.get("/metrics")).text
    described = (await running.http.get("/openapi.json")).json()

    assert "tagtrail_alerts_outbox_messages" in metrics
    operations = [o["operationId"] for p in described["paths"].values() for o in p.values()]
    assert len(operations) == len(set(operations))
    assert all(o.get("summary") for p in described["paths"].values() for o in p.values())

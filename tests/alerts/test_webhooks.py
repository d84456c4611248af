"""S23: webhooks: signed, tried again, in order for each asset, never into our own network."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.support.alert_history import T0, History
from tests.support.fake_receiver import PATH, FakeReceiver, signature_of
from tests.support.fake_slack import FakeSlack

from tagtrail_alerts import outbox
from tagtrail_alerts.channels import webhook
from tagtrail_alerts.channels.contract import Letter, Reply
from tagtrail_alerts.channels.directory import Channels
from tagtrail_alerts.channels.webhook import (
    SignatureRefusedError,
    classify,
    headers_of,
    new_secret,
    sign,
    verify,
)
from tagtrail_alerts.service import build
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.errors import ConflictError, NotFoundError, RejectedError
from tagtrail_kernel.wiring import app_of

if TYPE_CHECKING:
    from tests.alerts.conftest import Desk, DeskMaker, World

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("TAGTRAIL_SHARED", ROOT.parent / "shared"))
VECTORS = json.loads(
    (SHARED / "data/exchange/dev/standard-webhooks-vectors.json").read_text(encoding="utf-8")
)["vectors"]
DAY_S = 86_400


@pytest.fixture
async def receiver(world: World) -> AsyncIterator[FakeReceiver]:
    """A program on loopback that takes webhooks."""
    async with FakeReceiver(world.clock.now).running() as server:
        yield server


WebhookMaker = Callable[..., Awaitable["Desk"]]


@pytest.fixture
def webhook_desk(desk: DeskMaker, receiver: FakeReceiver) -> WebhookMaker:
    """Makes a desk whose only channel is the receiver."""

    async def make(**settings: object) -> Desk:
        d = desk(slack_webhook_url="", channel_secret="0123456789abcdef", **settings)
        _, secret = await d.channels.put(
            1,
            "erp",
            kind="webhook",
            url=receiver.url,
            host="127.0.0.1",
            enabled=True,
            by="k",
            at=d.world.clock.now(),
        )
        assert secret is not None
        receiver.secrets.append(secret)
        return d

    return make


def departures(*pallets: str) -> History:
    history = History().warehouse(*pallets)
    for pallet in pallets:
        history.move(0, "out", pallet)
        history.move(10, None, pallet)
    history.tick(42)
    return history


async def fire(d: Desk, *pallets: str) -> History:
    """Let pallets leave without POD, and the projection find it."""
    history = departures(*(pallets or ("p1",)))
    await d.world.record(*history.envelopes)
    await d.follow()
    return history


async def resolve_late(d: Desk, history: History, pallet: str = "p1") -> None:
    """Let a POD that happened in time reach the log late."""
    await d.world.deps.sink.publish(1, [history.pod(20, pallet)])
    await d.follow()


# ---- the scheme ----


@pytest.mark.parametrize("vector", VECTORS, ids=[v["name"] for v in VECTORS])
def test_s23_published_vectors_are_judged_as_published(vector: dict[str, Any]) -> None:
    headers = {
        "Webhook-Id": vector["id"],
        "Webhook-Timestamp": str(vector["timestamp"]),
        "Webhook-Signature": vector["signature"],
    }
    now = datetime.fromtimestamp(vector["now"], UTC)
    body = vector["payload"].encode()

    if vector["valid"]:
        assert verify(vector["secret"], headers, body, now=now) == vector["id"]
    else:
        with pytest.raises(SignatureRefusedError):
            verify(vector["secret"], headers, body, now=now)


def test_s23_the_published_signature_is_made() -> None:
    vector = VECTORS[0]
    made = sign(vector["secret"], vector["id"], vector["timestamp"], vector["payload"].encode())

    assert made == vector["signature"]


@pytest.mark.parametrize("seconds", [-301, -300, 300, 301])
def test_s23_a_request_of_more_than_five_minutes_ago_or_ahead_is_refused(seconds: int) -> None:
    secret = new_secret()
    headers = headers_of([secret], Letter("m1", b"{}"), T0)
    now = T0 + timedelta(seconds=seconds)

    if abs(seconds) <= 300:
        assert verify(secret, headers, b"{}", now=now) == "m1"
    else:
        with pytest.raises(SignatureRefusedError, match="300 s away"):
            verify(secret, headers, b"{}", now=now)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "m2"},
        {"webhook-timestamp": "1772438401"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "\u0661"},
        {"webhook-timestamp": "9" * 20},
        {"webhook-timestamp": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,\u00fc"},
        {"webhook-signature": "v1,"},
    ],
)
def test_s23_a_request_that_was_changed_is_refused(change: dict[str, str]) -> None:
    secret = new_secret()
    headers = headers_of([secret], Letter("m1", b"{}"), T0)

    with pytest.raises(SignatureRefusedError):
        verify(secret, headers | change, b"{}", now=T0)


def test_s23_a_receiver_may_accept_two_secrets_while_it_changes_them() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    headers = headers_of([old], Letter("m1", b"{}"), T0)

    assert verify([new, old], headers, b"{}", now=T0) == "m1"
    with pytest.raises(SignatureRefusedError):
        verify([new, other], headers, b"{}", now=T0)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_" + "A" * 88, "whsec_%%%%"])
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(RejectedError) as caught:
        sign(secret, "m1", 1, b"{}")

    assert "24 to 64 bytes" in caught.value.detail
    assert "AAAA" not in caught.value.detail


def test_secrets_are_long_and_different() -> None:
    secrets = {new_secret() for _ in range(100)}

    assert len(secrets) == 100
    assert all(len(base64.b64decode(s.removeprefix("whsec_"))) == 32 for s in secrets)


@pytest.mark.parametrize(
    ("status", "retry_after", "result", "after_s"),
    [
        (200, None, "delivered", None), (204, None, "delivered", None),
        (429, "7", "rate_limited", 7), (429, None, "rate_limited", 30),
        (500, None, "retry", None), (503, "90", "retry", 90), (408, None, "retry", None),
        (301, None, "permanent", None), (400, None, "permanent", None),
        (404, None, "permanent", None), (410, None, "permanent", None),
    ],
)  # fmt: skip
def test_s23_answers_mean_what_the_scheme_says(
    status: int, retry_after: str | None, result: str, after_s: float | None
) -> None:
    outcome = classify(Reply(status, b"anything", retry_after), T0)

    assert (outcome.result, outcome.after_s) == (result, after_s)
    assert outcome.disables == (status == 410)


def test_the_verifier_of_the_docs_works_by_itself() -> None:
    page = (ROOT / "docs/alerting.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the example of our own page
    secret = new_secret()
    headers = headers_of([new_secret(), secret], Letter("m1", b"{}"), T0)
    now_s = T0.timestamp()

    assert names["is_from_tagtrail"](secret, headers, b"{}", now_s) is True
    assert names["is_from_tagtrail"](secret, headers, b"{ }", now_s) is False
    assert names["is_from_tagtrail"](new_secret(), headers, b"{}", now_s) is False
    assert names["is_from_tagtrail"](secret, headers, b"{}", now_s + 301) is False


# ---- delivery ----


async def test_s23_an_alert_is_one_signed_letter_with_the_alert_as_the_api_shows_it(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await fire(d)
    await d.send()
    (request,) = receiver.requests
    (row,) = await d.world.alerts()
    event = request.event

    assert request.answered == 204
    assert event["id"] == request.webhook_id == str(row["fired_event_id"])
    assert (event["type"], event["kind"]) == ("alert.fired", "fired")
    assert event["position"] == row["fired_position"]
    assert event["source"] == "/logs/1/alerts"
    assert event["specversion"] == "1.0"
    assert event["subject"] == event["data"]["asset_id"] == "p1"
    assert event["time"] == event["data"]["fired_at"] == "2026-03-02T08:42:00Z"
    assert event["data"]["state"] == "open"
    assert event["data"]["where"] == "Out, Hall North"
    assert "age_s" not in event["data"]
    assert len(request.body) < 20_000
    assert await d.states() == ["sent"]


async def test_s23_500s_and_then_200_are_one_effect(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await fire(d)
    receiver.script.extend(["500", "503", "lost", "hang", "429:7", "502", "204"])
    await d.send(seconds=7200, rounds=8)
    stamps = [int(r.headers["webhook-timestamp"]) for r in receiver.requests]

    assert len(receiver.requests) == 7
    assert len(receiver.effects) == 1
    assert len({r.webhook_id for r in receiver.requests}) == 1
    assert len({r.body for r in receiver.requests}) == 1
    assert stamps == sorted(set(stamps))
    assert receiver.refused == []
    assert await d.states() == ["sent"]


async def test_s23_a_receiver_with_another_secret_refuses_and_the_letter_is_a_dead_letter(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    receiver.secrets[:] = [new_secret()]
    await fire(d)
    await d.send()
    (row,) = await d.rows()

    assert len(receiver.refused) == 1
    assert receiver.effects == {}
    assert (row["state"], row["reason"]) == ("dead", "the receiver answers 401")


async def test_s23_a_dead_letter_that_is_redriven_is_the_same_message(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await fire(d)
    receiver.script.append("400")
    await d.send()
    (dead,) = await d.rows()
    d.world.clock.forward(DAY_S)
    async with d.world.database.transaction() as tx:
        await outbox.redrive(tx, 1, int(str(dead["outbox_id"])), d.world.clock.now())
    await d.send()
    first, second = receiver.requests

    assert dead["state"] == "dead"
    assert first.webhook_id == second.webhook_id
    assert first.body == second.body
    assert list(receiver.effects) == [first.webhook_id]
    assert receiver.refused == []
    assert await d.states() == ["sent"]


async def test_s23_waits_grow_as_proposed_and_end_as_a_dead_letter(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await fire(d)
    receiver.script.extend(["500"] * webhook.MAX_ATTEMPTS)
    waits = []
    for _ in range(webhook.MAX_ATTEMPTS):
        await d.send(seconds=DAY_S)
        (row,) = await d.rows()
        waits.append((row["next_at"] - d.world.clock.now()).total_seconds())  # type: ignore[operator]
    await d.send(seconds=DAY_S)

    assert [w / 2 <= s <= w for s, w in zip(waits, webhook.WAITS_S, strict=False)] == [True] * 10
    assert len(receiver.requests) == webhook.MAX_ATTEMPTS == 11
    assert await d.states() == ["dead"]


async def test_s23_a_later_message_about_the_same_asset_waits_for_the_earlier_one(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    history = await fire(d, "p1", "p2")
    receiver.script.extend(["p1=500", "p1=hang", "p1=429:40"])
    await d.send()
    await resolve_late(d, history, "p1")
    await resolve_late(d, history, "p2")
    await d.send(rounds=3)
    while_waiting = [(e["subject"], e["kind"]) for e in receiver.effects.values()]
    await d.send(seconds=301, rounds=5)
    tries = [(r.event["kind"], r.answered) for r in receiver.requests if r.event["subject"] == "p1"]

    assert while_waiting == [("p2", "fired"), ("p2", "resolved")]
    assert tries == [
        ("fired", 500),
        ("fired", 0),
        ("fired", 429),
        ("fired", 204),
        ("resolved", 204),
    ]
    assert await d.states() == ["sent"] * 4


async def test_s23_every_fact_is_told_also_of_an_alert_that_was_over_before_it_was_told(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    history = await fire(d)
    await resolve_late(d, history)
    await d.send()
    told = [(e["kind"], e["data"]["state"]) for e in receiver.effects.values()]
    positions = [e["position"] for e in receiver.effects.values()]

    assert told == [("fired", "open"), ("resolved", "resolved")]
    assert positions == sorted(positions)
    assert list(receiver.effects.values())[1]["data"]["cause"].startswith("retracted: POD POD-7")


async def test_s23_an_end_is_told_although_its_beginning_is_a_dead_letter(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    history = await fire(d)
    receiver.script.append("422")
    await d.send()
    await resolve_late(d, history)
    await d.send()

    assert [e["kind"] for e in receiver.effects.values()] == ["resolved"]
    assert await d.states() == ["dead", "sent"]


async def test_s23_many_letters_go_out_in_one_round_and_unpaced(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await fire(d, *[f"p{n}" for n in range(30)])
    await d.send()
    positions = [e["position"] for e in receiver.effects.values()]

    assert len(receiver.requests) == len(receiver.effects) == 30
    assert positions == sorted(positions)


async def test_s23_a_receiver_that_is_gone_switches_its_channel_off(
    webhook_desk: WebhookMaker, receiver: FakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    d = await webhook_desk()
    history = await fire(d, "p1", "p2")
    receiver.script.append("410")
    await d.send()
    (off,) = await d.channels.all(1)
    states = await d.states()
    await resolve_late(d, history)
    await d.send()
    on, secret = await d.channels.put(
        1, "erp", kind="webhook", url=receiver.url, host="h", enabled=True, by="k",
        at=d.world.clock.now(),
    )  # fmt: skip

    assert len(receiver.requests) == 1
    assert (off.enabled, off.disabled_reason) == (
        False,
        "the receiver answers 410: it wants no more",
    )
    assert states == ["dead", "dead"]
    assert "channel.disabled" in caplog.text
    assert (on.enabled, on.disabled_reason, secret) == (True, None, None)


async def test_s23_what_was_being_sent_when_the_service_was_killed_is_sent_again_under_its_id(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk(send_timeout_s=5)
    await fire(d)
    for _ in range(3):
        receiver.script.append("hang")
        await d.worker.round()
        (task,) = d.worker._under_way.values()
        async with asyncio.timeout(5):
            while receiver.script:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        d.world.clock.forward(30)
    await d.send()

    assert len(receiver.requests) == 4
    assert len(receiver.effects) == 1
    assert len({r.webhook_id for r in receiver.requests}) == 1
    assert await d.states() == ["sent"]


async def test_s23_two_workers_send_each_letter_once_and_in_order(
    webhook_desk: WebhookMaker, desk: DeskMaker, receiver: FakeReceiver
) -> None:
    first = await webhook_desk()
    second = desk(slack_webhook_url="", channel_secret="0123456789abcdef")
    history = await fire(first, *[f"p{n}" for n in range(10)])
    for number in range(10):
        await resolve_late(first, history, f"p{number}")
    for _ in range(4):
        await asyncio.gather(*[d.worker.round() for d in (first, second)])
        await asyncio.gather(first.worker.settle(), second.worker.settle())
    kinds: dict[str, list[str]] = {}
    for request in receiver.requests:
        kinds.setdefault(request.event["subject"], []).append(request.event["kind"])

    assert len(receiver.requests) == 20
    assert kinds == {f"p{n}": ["fired", "resolved"] for n in range(10)}


async def test_slack_and_a_webhook_are_told_side_by_side(
    desk: DeskMaker, slack: FakeSlack, webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    await webhook_desk()
    d = desk(channel_secret="0123456789abcdef")
    await fire(d, "p1", "p2")
    await d.send(seconds=6)

    assert len(slack.delivered) == 1
    assert "2×" in slack.delivered[0]["text"]
    assert {e["subject"] for e in receiver.effects.values()} == {"p1", "p2"}


async def test_old_history_is_kept_but_no_program_is_told(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    history = departures("p1")
    await d.world.record(*history.envelopes)
    d.world.clock.forward(7 * 3600)
    await d.follow()
    await resolve_late(d, history)
    await d.send(seconds=6)

    assert receiver.requests == []
    assert await d.states() == ["superseded"]


async def test_a_channel_that_became_another_kind_leaves_dead_letters(
    webhook_desk: WebhookMaker, receiver: FakeReceiver, slack: FakeSlack
) -> None:
    d = await webhook_desk()
    await fire(d)
    at = d.world.clock.now()
    with pytest.raises(ConflictError, match="of another kind"):
        await d.channels.put(
            1, "erp", kind="slack", url=slack.url, host="h", enabled=True, by="k", at=at
        )
    await d.channels.remove(1, "erp")
    await d.channels.put(
        1, "erp", kind="slack", url=slack.url, host="h", enabled=True, by="k", at=at
    )
    await d.send()

    assert (slack.requests, receiver.requests) == (0, [])
    assert await d.states() == ["dead"]


# ---- secrets ----


async def test_s23_while_a_secret_is_changed_both_sign_and_then_only_the_new_one(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    old = receiver.secrets[0]
    channel, new = await d.channels.rotate(
        1, "erp", overlap_s=DAY_S, by="k", now=d.world.clock.now()
    )
    await fire(d, "p1")
    await d.send()
    receiver.secrets[:] = [new]
    history = History().warehouse("p2")
    history.move(2880, "out", "p2")
    history.move(2890, None, "p2")
    history.tick(2930)
    await d.world.record(*history.envelopes[-6:])
    await d.follow()
    await d.send(seconds=1, rounds=2)
    both, one = (r.headers["webhook-signature"].split(" ") for r in receiver.requests)
    signed = b".".join(
        [
            receiver.requests[0].webhook_id.encode(),
            receiver.requests[0].headers["webhook-timestamp"].encode(),
            receiver.requests[0].body,
        ]
    )

    assert channel.previous_secret_until == T0 + timedelta(days=1)
    assert both == [signature_of(new, signed), signature_of(old, signed)]
    assert len(one) == 1
    assert receiver.refused == []
    assert await d.states() == ["sent", "sent"]


async def test_s23_a_secret_that_leaked_ends_at_once(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    now = d.world.clock.now()
    await d.channels.rotate(1, "erp", overlap_s=DAY_S, by="k", now=now)
    channel, new = await d.channels.rotate(1, "erp", overlap_s=0, by="k", now=now)
    address = await d.channels.address(1, "erp", now)

    assert channel.previous_secret_until is None
    assert address.secrets == (new,)


async def test_a_change_whose_answer_was_lost_does_not_end_the_secret_in_use(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    now = d.world.clock.now()
    _, lost = await d.channels.rotate(1, "erp", overlap_s=DAY_S, by="k", now=now)
    _, new = await d.channels.rotate(1, "erp", overlap_s=2 * DAY_S, by="k", now=now)
    address = await d.channels.address(1, "erp", now)
    day_later = await d.channels.address(1, "erp", now + timedelta(days=1))

    assert address.secrets == (new, lost, receiver.secrets[0])
    assert day_later.secrets == (new, lost)


async def test_too_many_secrets_at_once_are_refused(webhook_desk: WebhookMaker) -> None:
    d = await webhook_desk()
    now = d.world.clock.now()
    for _ in range(4):
        await d.channels.rotate(1, "erp", overlap_s=DAY_S, by="k", now=now)

    with pytest.raises(ConflictError, match="overlap_s 0"):
        await d.channels.rotate(1, "erp", overlap_s=DAY_S, by="k", now=now)
    await d.channels.rotate(1, "erp", overlap_s=DAY_S, by="k", now=now + timedelta(days=2))
    with pytest.raises(NotFoundError):
        await d.channels.rotate(2, "erp", overlap_s=DAY_S, by="k", now=now)


async def test_s23_no_secret_is_in_a_log_line_a_table_or_a_repr(
    webhook_desk: WebhookMaker, receiver: FakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    d = await webhook_desk()
    await fire(d)
    receiver.script.extend(["500", "hang", "400"])
    await d.send(seconds=400, rounds=5)
    address = await d.channels.address(1, "erp", d.world.clock.now())
    async with d.world.database.connection() as connection:
        (row,) = await connection.fetch("select address_sealed, secrets_sealed from channel")
    stored = [bytes(value) for value in row]
    shown = "\n".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records)
    shown += repr(address) + str(await d.rows()) + repr(await d.channels.all(1))
    secret = receiver.secrets[0].removeprefix("whsec_")

    assert len(receiver.requests) == 3
    assert "message.died" in shown
    assert PATH not in shown
    assert secret not in shown
    assert all(secret.encode() not in value and b"sEcReT" not in value for value in stored)


async def test_a_sealed_secret_is_of_no_use_in_another_channel(webhook_desk: WebhookMaker) -> None:
    d = await webhook_desk()
    async with d.world.database.transaction() as tx:
        await tx.execute(
            "insert into channel select log_id, 'other', kind, address_sealed, host, enabled, "
            "updated_at, updated_by, secrets_sealed from channel"
        )

    with pytest.raises(ConflictError, match="1/other"):
        await d.channels.address(1, "other", d.world.clock.now())


# ---- over HTTP ----


@pytest.fixture
async def api(world: World, receiver: FakeReceiver) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service, whose background tasks rest."""
    settings = AlertsSettings(channel_secret="0123456789abcdef", allow_loopback=True)
    app = app_of(world.deps, build(world.deps, settings))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url="http://test",
        headers={"Authorization": f"Bearer {world.key}"},
    ) as client:
        yield client


async def test_s23_the_secret_is_shown_by_the_answer_that_makes_it_and_never_again(
    api: httpx2.AsyncClient, receiver: FakeReceiver
) -> None:
    body = {"kind": "webhook", "url": receiver.url}
    made = await api.put("/v1/channels/erp", json=body)
    again = await api.put("/v1/channels/erp", json=body)
    rotated = await api.post("/v1/channels/erp/rotate-secret", json={"overlap_s": 60})
    listed = await api.get("/v1/channels")
    shown = again.text + listed.text

    assert made.json()["secret"].startswith("whsec_")
    assert made.headers["cache-control"] == rotated.headers["cache-control"] == "no-store"
    assert "secret" not in again.json()
    assert rotated.json()["secret"] != made.json()["secret"]
    assert rotated.json()["previous_secret_until"] is not None
    assert "whsec_" not in shown
    assert PATH not in shown + made.text + rotated.text


async def test_s23_a_test_ping_is_signed_and_says_what_became_of_it(
    api: httpx2.AsyncClient, receiver: FakeReceiver
) -> None:
    made = await api.put("/v1/channels/erp", json={"kind": "webhook", "url": receiver.url})
    unknown = (await api.post("/v1/channels/erp/test")).json()
    receiver.secrets.append(made.json()["secret"])
    known = (await api.post("/v1/channels/erp/test")).json()
    (effect,) = receiver.effects.values()

    assert (unknown["delivered"], unknown["reason"]) == (False, "the receiver answers 401")
    assert known["delivered"] is True
    assert (effect["type"], effect["kind"]) == ("alert.test", "test")


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.7/sEcReT", "https://192.168.1.9/sEcReT", "https://169.254.169.254/sEcReT",
        "https://[::ffff:10.0.0.7]/sEcReT", "https://[fd00::1]/sEcReT",
        "http://erp.example.com/sEcReT",
    ],
)  # fmt: skip
async def test_s23_a_private_address_is_refused(api: httpx2.AsyncClient, url: str) -> None:
    refused = await api.put("/v1/channels/erp", json={"kind": "webhook", "url": url})

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert "sEcReT" not in refused.text
    assert (await api.get("/v1/channels")).json()["items"] == []


async def test_s23_a_name_that_leads_into_a_private_network_later_is_refused_when_sending(
    webhook_desk: WebhookMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk(allow_loopback=False)
    await fire(d)
    await d.send()
    (row,) = await d.rows()

    assert receiver.requests == []
    assert row["state"] == "dead"
    assert "private or local network" in str(row["reason"])


async def test_only_webhooks_have_a_secret_to_change(
    api: httpx2.AsyncClient, slack: FakeSlack
) -> None:
    made = await api.put("/v1/channels/chat", json={"kind": "slack", "url": slack.url})
    refused = await api.post("/v1/channels/chat/rotate-secret")
    unknown = await api.post("/v1/channels/nope/rotate-secret")
    wrong = await api.post("/v1/channels/chat/rotate-secret", json={"overlap_s": -1})

    assert "secret" not in made.json()
    assert [r.status_code for r in (refused, unknown, wrong)] == [409, 404, 422]


async def test_without_a_sealing_secret_no_webhook_is_stored(
    world: World, receiver: FakeReceiver
) -> None:
    channels = Channels(world.database, AlertsSettings(allow_loopback=True))

    with pytest.raises(ConflictError, match="TAGTRAIL_ALERTS_CHANNEL_SECRET_FILE"):
        await channels.put(
            1, "erp", kind="webhook", url=receiver.url, host="h", enabled=True, by="k", at=T0
        )

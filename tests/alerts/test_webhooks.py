"""S23: from an alert to a program: signed, tried again, in order for each asset, one effect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.support.alert_history import pallets_left
from tests.support.fake_receiver import FakeReceiver
from tests.support.fake_slack import FakeSlack

from tagtrail_alerts import outbox
from tagtrail_alerts.channels import webhook
from tagtrail_alerts.channels.webhook import new_secret
from tagtrail_kernel.errors import ConflictError

if TYPE_CHECKING:
    from tests.alerts.conftest import DeskMaker, WebhookDeskMaker

DAY_S = 86_400


async def test_s23_an_alert_is_one_signed_letter_with_the_alert_as_the_api_shows_it(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await d.fire()
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
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await d.fire()
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
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    receiver.secrets[:] = [new_secret()]
    await d.fire()
    await d.send()
    (row,) = await d.rows()

    assert len(receiver.refused) == 1
    assert receiver.effects == {}
    assert (row["state"], row["reason"]) == ("dead", "the receiver answers 401")


async def test_s23_a_dead_letter_that_is_redriven_is_the_same_message(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await d.fire()
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
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await d.fire()
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
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    history = await d.fire("p1", "p2")
    receiver.script.extend(["p1=500", "p1=hang", "p1=429:40"])
    await d.send()
    await d.resolve_late(history, "p1")
    history.move(43, "out", "p1")
    history.move(44, None, "p1")
    history.tick(90)
    await d.world.record(*history.envelopes[-3:])
    await d.follow()
    await d.resolve_late(history, "p2")
    await d.send(rounds=3)
    while_waiting = [(e["subject"], e["kind"]) for e in receiver.effects.values()]
    await d.send(seconds=301, rounds=5)
    tries = [(r.event["kind"], r.answered) for r in receiver.requests if r.event["subject"] == "p1"]
    positions = [e["position"] for e in receiver.effects.values() if e["subject"] == "p1"]

    assert while_waiting == [("p2", "fired"), ("p2", "resolved")]
    assert tries == [
        ("fired", 500),
        ("fired", 0),
        ("fired", 429),
        ("fired", 204),
        ("resolved", 204),
        ("fired", 204),
    ]
    assert positions == sorted(positions)
    assert await d.states() == ["sent"] * 5


async def test_s23_every_fact_is_told_also_of_an_alert_that_was_over_before_it_was_told(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    history = await d.fire()
    await d.resolve_late(history)
    await d.send()
    told = [(e["kind"], e["data"]["state"]) for e in receiver.effects.values()]
    positions = [e["position"] for e in receiver.effects.values()]

    assert told == [("fired", "open"), ("resolved", "resolved")]
    assert positions == sorted(positions)
    assert list(receiver.effects.values())[1]["data"]["cause"].startswith("retracted: POD POD-7")


async def test_s23_an_end_is_told_although_its_beginning_is_a_dead_letter(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    history = await d.fire()
    receiver.script.append("422")
    await d.send()
    await d.resolve_late(history)
    await d.send()

    assert [e["kind"] for e in receiver.effects.values()] == ["resolved"]
    assert await d.states() == ["dead", "sent"]


async def test_s23_many_letters_go_out_in_one_round_and_unpaced(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    await d.fire(*[f"p{n}" for n in range(30)])
    await d.send()
    positions = [e["position"] for e in receiver.effects.values()]

    assert len(receiver.requests) == len(receiver.effects) == 30
    assert positions == sorted(positions)


async def test_s23_a_receiver_that_is_gone_switches_its_channel_off(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    d = await webhook_desk()
    history = await d.fire("p1", "p2")
    receiver.script.append("410")
    await d.send()
    (off,) = await d.channels.all(1)
    states = await d.states()
    await d.resolve_late(history)
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
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk(send_timeout_s=5)
    await d.fire()
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
    webhook_desk: WebhookDeskMaker, desk: DeskMaker, receiver: FakeReceiver
) -> None:
    first = await webhook_desk()
    second = desk(slack_webhook_url="", channel_secret="0123456789abcdef")
    history = await first.fire(*[f"p{n}" for n in range(10)])
    for number in range(10):
        await first.resolve_late(history, f"p{number}")
    for _ in range(4):
        await asyncio.gather(*[d.worker.round() for d in (first, second)])
        await asyncio.gather(first.worker.settle(), second.worker.settle())
    kinds: dict[str, list[str]] = {}
    for request in receiver.requests:
        kinds.setdefault(request.event["subject"], []).append(request.event["kind"])

    assert len(receiver.requests) == 20
    assert kinds == {f"p{n}": ["fired", "resolved"] for n in range(10)}


async def test_slack_and_a_webhook_are_told_side_by_side(
    desk: DeskMaker, slack: FakeSlack, webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    await webhook_desk()
    d = desk(channel_secret="0123456789abcdef")
    await d.fire("p1", "p2")
    await d.send(seconds=6)

    assert len(slack.delivered) == 1
    assert "2×" in slack.delivered[0]["text"]
    assert {e["subject"] for e in receiver.effects.values()} == {"p1", "p2"}


async def test_old_history_is_kept_but_no_program_is_told(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    history = pallets_left("p1")
    await d.world.record(*history.envelopes)
    d.world.clock.forward(7 * 3600)
    await d.follow()
    await d.resolve_late(history)
    await d.send(seconds=6)

    assert receiver.requests == []
    assert await d.states() == ["superseded"]


async def test_a_channel_that_became_another_kind_leaves_dead_letters(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver, slack: FakeSlack
) -> None:
    d = await webhook_desk()
    await d.fire()
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

"""From the alert's row to a card in chat: nothing lost, nothing told twice without saying so."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.support.alert_history import History
from tests.support.fake_slack import SECRET_PATH, FakeSlack

from tagtrail_alerts import outbox
from tagtrail_alerts.channels.directory import Channels
from tagtrail_kernel.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from tests.alerts.conftest import Desk, DeskMaker


def departures(*pallets: str) -> History:
    history = History().warehouse(*pallets)
    for pallet in pallets:
        history.move(0, "out", pallet)
    for pallet in pallets:
        history.move(10, None, pallet)
    history.tick(42)
    return history


async def fire(desk: Desk, *pallets: str) -> History:
    """Let pallets leave without POD, and the projection find it."""
    history = departures(*(pallets or ("p1",)))
    await desk.world.record(*history.envelopes)
    await desk.follow()
    return history


async def test_s30_an_alert_becomes_one_card(desk: DeskMaker, slack: FakeSlack) -> None:
    d = desk()
    await fire(d)
    await d.send(seconds=6, rounds=5)

    (payload,) = slack.delivered

    assert payload["text"] == "🔴 Pallet p1 left Out, Hall North without proof of delivery"
    assert await d.states() == ["sent"]


async def test_s30_after_all_troubles_exactly_one_card_is_delivered(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk()
    await fire(d)
    slack.script.extend(["429:7", "500", "200:internal_error", "503", "hang", "ok"])
    await d.send(seconds=2, rounds=60)

    (payload,) = slack.delivered

    assert slack.requests == 6
    assert "May be a repeat" in json.dumps(payload)
    assert await d.states() == ["sent"]


async def test_retry_after_silences_the_whole_channel(desk: DeskMaker, slack: FakeSlack) -> None:
    d = desk(group_wait_s=0)
    await fire(d)
    slack.script.append("429:30")
    await d.send()
    await d.send(seconds=29)
    before = slack.requests
    await d.send(seconds=2)

    (row,) = await d.rows()

    assert before == 1
    assert slack.requests == 2
    assert row["state"] == "sent"
    assert row["attempts"] == 1


async def test_being_asked_to_wait_is_no_failed_attempt(desk: DeskMaker, slack: FakeSlack) -> None:
    d = desk(max_attempts=2)
    await fire(d)
    slack.script.extend(["429:1"] * 6)
    await d.send(seconds=5, rounds=10)

    assert await d.states() == ["sent"]


async def test_failed_attempts_wait_longer_and_longer_and_end_as_a_dead_letter(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk(max_attempts=4, group_wait_s=0)
    await fire(d)
    slack.script.extend(["500"] * 4)
    waits = []
    for _ in range(4):
        await d.send(seconds=301)
        (row,) = await d.rows()
        waits.append((row["next_at"] - d.world.clock.at).total_seconds())  # type: ignore[operator]

    (row,) = await d.rows()

    assert [0.5 <= w <= 1 for w in waits[:1]] == [True]
    assert [1 <= w <= 2 for w in waits[1:2]] == [True]
    assert [2 <= w <= 4 for w in waits[2:3]] == [True]
    assert row["state"] == "dead"
    assert row["reason"] == "the channel answers 500"
    assert row["attempts"] == 4


@pytest.mark.parametrize("answer", ["404:no_service", "410:channel_is_archived", "200:no_service"])
async def test_what_can_never_work_is_a_dead_letter_at_once_and_can_be_redriven(
    desk: DeskMaker, slack: FakeSlack, answer: str
) -> None:
    d = desk(group_wait_s=0)
    await fire(d)
    slack.script.append(answer)
    await d.send(seconds=1, rounds=3)
    (dead,) = await d.rows()
    async with d.world.database.transaction() as tx:
        count = await outbox.redrive(tx, 1, int(str(dead["outbox_id"])), d.world.clock.now())
    await d.send(seconds=1, rounds=3)

    assert dead["state"] == "dead"
    assert answer.partition(":")[2] in str(dead["reason"])
    assert count == 1
    assert await d.states() == ["sent"]
    assert slack.requests == 2


async def test_only_dead_letters_are_redriven(desk: DeskMaker) -> None:
    d = desk()
    await fire(d)
    (row,) = await d.rows()

    async with d.world.database.transaction() as tx:
        with pytest.raises(ConflictError):
            await outbox.redrive(tx, 1, int(str(row["outbox_id"])), d.world.clock.now())
        with pytest.raises(NotFoundError):
            await outbox.redrive(tx, 1, 999, d.world.clock.now())


async def test_silence_twice_is_a_dead_letter_that_says_it_may_have_arrived(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk()
    await fire(d)
    slack.script.extend(["hang", "drop", "ok"])
    await d.send(seconds=6, rounds=8)

    (row,) = await d.rows()

    assert slack.requests == 2
    assert row["state"] == "dead"
    assert "may have arrived" in str(row["reason"])


async def test_a_refused_connection_is_tried_again_without_doubt(desk: DeskMaker) -> None:
    async with FakeSlack().running() as gone:
        url, port = gone.url, gone.port
    d = desk(slack_webhook_url=url, group_wait_s=0)
    await fire(d)
    await d.send(seconds=1)
    (row,) = await d.rows()
    async with FakeSlack().running(port) as back:
        await d.send(seconds=5, rounds=3)

        assert row["state"] == "queued"
        assert row["ambiguous"] is False
        assert len(back.delivered) == 1


async def test_s30_a_hundred_alerts_of_one_cause_are_one_message_with_their_number(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk()
    await fire(d, *[f"p{n}" for n in range(100)])
    await d.send(seconds=1, rounds=10)

    (payload,) = slack.delivered

    assert "100× left the outbound zone without proof of delivery" in payload["text"]
    assert "… and 90 more" in json.dumps(payload, ensure_ascii=False)
    assert await d.states() == ["sent"] * 100
    assert slack.requests == 1


async def test_alerts_that_come_while_a_message_waits_join_it(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk()
    history = await fire(d, "p1", "p2")
    slack.script.append("503")
    await d.send(seconds=6)
    history.move(43, "out", "p1")
    history.move(44, None, "p1")
    history.move(43, "out", "p2")
    history.tick(90)
    await d.world.record(*history.envelopes[-4:])
    await d.follow()
    await d.send(seconds=6, rounds=4)

    assert slack.requests >= 2
    assert slack.delivered[0]["text"] == "🔴 3× left the outbound zone without proof of delivery"


async def test_an_alert_that_is_over_within_the_group_wait_is_not_told(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk()
    history = await fire(d)
    await d.world.deps.sink.publish(1, [history.pod(20, "p1")])
    await d.follow()
    await d.send(seconds=6, rounds=5)

    assert slack.requests == 0
    assert await d.states() == ["superseded"]


async def test_the_end_of_an_alert_is_told_to_those_who_saw_its_beginning(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk()
    history = await fire(d)
    await d.send(seconds=6)
    await d.world.deps.sink.publish(1, [history.pod(20, "p1")])
    await d.follow()
    await d.send(seconds=6, rounds=3)

    assert [p["text"][0] for p in slack.delivered] == ["🔴", "✅"]
    assert "retracted: POD POD-7" in json.dumps(slack.delivered[1])


async def test_the_end_of_an_alert_waits_for_its_beginning(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk()
    history = await fire(d)
    slack.script.extend(["500", "500"])
    await d.send(seconds=6)
    await d.world.deps.sink.publish(1, [history.pod(20, "p1")])
    await d.follow()
    await d.send(seconds=6, rounds=8)

    assert [p["text"][0] for p in slack.delivered] == ["🔴", "✅"]


async def test_the_end_of_an_alert_that_could_not_be_told_is_not_told(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk()
    history = await fire(d)
    slack.script.extend(["500", "404:no_service"])
    await d.send(seconds=6)
    await d.world.deps.sink.publish(1, [history.pod(20, "p1")])
    await d.follow()
    await d.send(seconds=6, rounds=8)

    assert slack.delivered == []
    assert await d.states() == ["dead", "superseded"]


async def test_messages_of_one_channel_keep_a_second_between_them(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk(group_wait_s=0)
    history = History().warehouse("p1", "p2")
    for pallet in ("p1", "p2"):
        history.move(0, "store", pallet)
    history.presence(20, "missing", heard_min=2, pallet="p1")
    history.move(20, "out", "p2")
    history.move(20, None, "p2")
    history.tick(53)
    await d.world.record(*history.envelopes)
    await d.follow()
    counts = []
    for seconds in (0, 0.4, 0.4, 0.4):
        await d.send(seconds=seconds)
        counts.append(slack.requests)

    assert counts == [1, 1, 1, 2]


async def test_what_was_queued_when_the_service_was_killed_is_sent_once_after_the_restart(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    await fire(desk())
    restarted = desk()
    await restarted.send(seconds=6, rounds=5)

    assert len(slack.delivered) == 1
    assert "repeat" not in json.dumps(slack.delivered)


@pytest.mark.parametrize("fate", ["hang", "ok"])
async def test_what_was_being_sent_when_the_service_was_killed_is_sent_again_and_says_so(
    desk: DeskMaker, slack: FakeSlack, fate: str
) -> None:
    d = desk(send_timeout_s=5)
    await fire(d)
    slack.script.append(fate)
    d.world.clock.forward(6)
    await d.worker.round()
    if fate == "hang":
        await asyncio.wait_for(slack.arrived.wait(), 5)
    (task,) = d.worker._under_way.values()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    killed = await d.states()
    restarted = desk(send_timeout_s=5)
    await restarted.send(seconds=10)
    too_early = slack.requests
    await restarted.send(seconds=20, rounds=2)

    assert killed == ["sending"]
    assert too_early <= 1
    assert "May be a repeat" in json.dumps(slack.delivered[-1])
    assert await restarted.states() == ["sent"]


async def test_two_workers_send_one_message(desk: DeskMaker, slack: FakeSlack) -> None:
    first, second = desk(), desk()
    await fire(first, "p1", "p2")
    first.world.clock.forward(6)
    await asyncio.gather(*[d.worker.round() for d in (first, second) * 3])
    await asyncio.gather(first.worker.settle(), second.worker.settle())

    assert slack.requests == 1
    assert await first.states() == ["sent", "sent"]


async def test_old_history_is_kept_but_not_told(desk: DeskMaker, slack: FakeSlack) -> None:
    d = desk()
    history = departures("p1")
    await d.world.record(*history.envelopes)
    d.world.clock.forward(7 * 3600)
    await d.follow()
    await d.send(seconds=6, rounds=3)

    (row,) = await d.rows()

    assert len(await d.world.alerts()) == 1
    assert slack.requests == 0
    assert row["state"] == "superseded"
    assert str(row["reason"]).startswith("it would have fired 7 h")


async def test_a_rebuild_tells_nobody(desk: DeskMaker, slack: FakeSlack) -> None:
    d = desk()
    await fire(d)
    async with d.world.database.transaction() as tx:
        for table in ("memory", "rule_setting", "expectation", "alert", "consumer"):
            await tx.execute(f"delete from {table}")
    await d.follow()
    await d.send(seconds=6, rounds=3)

    assert slack.requests == 1
    assert len(await d.rows()) == 1


async def test_the_channel_of_the_settings_belongs_to_one_tenant(desk: DeskMaker) -> None:
    d = desk(slack_log_id=2)
    await fire(d)

    assert await d.rows() == []


async def test_no_log_line_shows_the_address(
    desk: DeskMaker, slack: FakeSlack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    d = desk(max_attempts=3)
    await fire(d)
    slack.script.extend(["500", "hang", "404:no_service"])
    await d.send(seconds=6, rounds=6)
    shown = "\n".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records)

    assert slack.requests == 3
    assert "message.died" in shown
    assert SECRET_PATH not in shown
    assert "sEcReT" not in repr(d.settings)
    assert "sEcReT" not in str(await d.rows())


async def test_addresses_set_by_the_api_are_sealed_in_the_table(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk(slack_webhook_url="", channel_secret="0123456789abcdef")
    at = d.world.clock.now()
    await d.channels.put(
        1, "dock", kind="slack", url=slack.url, host="127.0.0.1", enabled=True, by="k", at=at
    )
    async with d.world.database.connection() as connection:
        stored = bytes(await connection.fetchval("select address_sealed from channel"))
    other = Channels(
        d.world.database,
        d.settings.model_copy(update={"channel_secret": d.settings.slack_webhook_url}),
    )
    await fire(d)
    await d.send(seconds=6, rounds=2)

    assert b"sEcReT" not in stored
    assert len(slack.delivered) == 1
    with pytest.raises(ConflictError, match="TAGTRAIL_ALERTS_CHANNEL_SECRET_FILE"):
        await other.address(1, "dock", at)
    with pytest.raises(NotFoundError):
        await d.channels.address(2, "dock", at)


async def test_a_channel_that_was_removed_leaves_dead_letters(
    desk: DeskMaker, slack: FakeSlack
) -> None:
    d = desk(slack_webhook_url="", channel_secret="0123456789abcdef")
    at = d.world.clock.now()
    await d.channels.put(
        1, "dock", kind="slack", url=slack.url, host="h", enabled=True, by="k", at=at
    )
    await fire(d)
    await d.channels.remove(1, "dock")
    await d.send(seconds=6)

    (row,) = await d.rows()

    assert row["state"] == "dead"
    assert "channel dock does not exist" in str(row["reason"])


async def test_the_metrics_count_what_became_of_messages(desk: DeskMaker, slack: FakeSlack) -> None:
    d = desk()
    await fire(d)
    slack.script.append("500")
    await d.send(seconds=6, rounds=2)
    await d.worker.measure()
    registry = d.worker._deps.registry

    assert (
        registry.get_sample_value(
            "tagtrail_alerts_messages_total", {"channel": "default", "result": "retry"}
        )
        == 1
    )
    assert (
        registry.get_sample_value(
            "tagtrail_alerts_outbox_messages", {"log_id": "1", "state": "sent"}
        )
        == 1
    )


async def test_a_group_of_more_than_a_message_holds_is_told_in_several(desk: DeskMaker) -> None:
    d = desk()
    await fire(d, "p1", "p2", "p3")
    sizes = []
    for _ in range(3):
        d.world.clock.forward(6)
        async with d.world.database.transaction() as tx:
            claimed = await outbox.claim(
                tx,
                1,
                "default",
                message_id=d.world.deps.ids.new(),
                now=d.world.clock.now(),
                terms=outbox.Terms(timedelta(seconds=1), timedelta(seconds=60), most=2),
            )
        sizes.append(len(claimed.group.cards) if claimed is not None else 0)

    assert sizes == [2, 1, 0]

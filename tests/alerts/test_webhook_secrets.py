"""S23: the secrets of webhooks, their addresses, and the API that sets them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.support.alert_history import T0, History
from tests.support.fake_receiver import PATH, FakeReceiver, signature_of
from tests.support.fake_slack import FakeSlack

from tagtrail_alerts.channels.directory import Channels
from tagtrail_alerts.service import build
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.errors import ConflictError, NotFoundError
from tagtrail_kernel.wiring import app_of

if TYPE_CHECKING:
    from tests.alerts.conftest import WebhookDeskMaker, World

DAY_S = 86_400


async def test_s23_while_a_secret_is_changed_both_sign_and_then_only_the_new_one(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    old = receiver.secrets[0]
    channel, new = await d.channels.rotate(
        1, "erp", overlap_s=DAY_S, by="k", now=d.world.clock.now()
    )
    await d.fire("p1")
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
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    now = d.world.clock.now()
    await d.channels.rotate(1, "erp", overlap_s=DAY_S, by="k", now=now)
    channel, new = await d.channels.rotate(1, "erp", overlap_s=0, by="k", now=now)
    address = await d.channels.address(1, "erp", now)

    assert channel.previous_secret_until is None
    assert address.secrets == (new,)


async def test_a_change_whose_answer_was_lost_does_not_end_the_secret_in_use(
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk()
    now = d.world.clock.now()
    _, lost = await d.channels.rotate(1, "erp", overlap_s=DAY_S, by="k", now=now)
    _, new = await d.channels.rotate(1, "erp", overlap_s=2 * DAY_S, by="k", now=now)
    address = await d.channels.address(1, "erp", now)
    day_later = await d.channels.address(1, "erp", now + timedelta(days=1))

    assert address.secrets == (new, lost, receiver.secrets[0])
    assert day_later.secrets == (new, lost)


async def test_too_many_secrets_at_once_are_refused(webhook_desk: WebhookDeskMaker) -> None:
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
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    d = await webhook_desk()
    await d.fire()
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


async def test_a_sealed_secret_is_of_no_use_in_another_channel(
    webhook_desk: WebhookDeskMaker,
) -> None:
    d = await webhook_desk()
    async with d.world.database.transaction() as tx:
        await tx.execute(
            "insert into channel select log_id, 'other', kind, address_sealed, host, enabled, "
            "updated_at, updated_by, secrets_sealed from channel"
        )

    with pytest.raises(ConflictError, match="1/other"):
        await d.channels.address(1, "other", d.world.clock.now())


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
    webhook_desk: WebhookDeskMaker, receiver: FakeReceiver
) -> None:
    d = await webhook_desk(allow_loopback=False)
    await d.fire()
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

"""HTTP: the outbox and the channels, for operators."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from tagtrail_alerts import letters, outbox
from tagtrail_alerts.channels import guard
from tagtrail_alerts.channels.contract import Letter
from tagtrail_alerts.channels.directory import Channel, Channels
from tagtrail_alerts.core.card import AlertCard, GroupCard
from tagtrail_alerts.models import ChannelBody, RotateBody
from tagtrail_alerts.projection import NAME
from tagtrail_alerts.replies import (
    CONFLICT,
    NOT_FOUND,
    PROBLEMS,
    ChannelId,
    Cursor,
    Limit,
    Operating,
    Reading,
    answer,
    page_answer,
)
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_alerts.worker import Sender, interval_of
from tagtrail_kernel.errors import RateLimitedError, RejectedError
from tagtrail_kernel.wiring import Deps

OutboxState = Literal["queued", "sending", "sent", "dead", "superseded"]


class DeliveryApi:
    """Endpoints of the outbox and of channels."""

    def __init__(
        self, deps: Deps, settings: AlertsSettings, channels: Channels, sender: Sender
    ) -> None:
        self._deps = deps
        self._settings = settings
        self._channels = channels
        self._sender = sender
        self._database = deps.database_of(NAME)

    async def list_outbox(
        self,
        request: Request,
        who: Reading,
        state: Annotated[OutboxState | None, Query(description="Only these.")] = None,
        after: Cursor = None,
        limit: Limit = 100,
    ) -> Response:
        """Messages to people, oldest first, with what became of each."""
        async with self._database.connection() as connection:
            counts = await outbox.counts(connection, who.log_id)
            items = await outbox.page(
                connection, who.log_id, state=state, after=after or 0, limit=limit
            )
        following = items[-1]["outbox_id"] if len(items) == limit else None
        now = self._deps.clock.now()
        return page_answer(request, items, following, counts=counts, as_of=now)

    async def redrive(
        self, outbox_id: Annotated[int, Path(ge=1, le=2**62)], who: Operating
    ) -> Response:
        """Send a dead letter again, with everything that was in the same message."""
        async with self._database.transaction() as tx:
            rows = await outbox.redrive(tx, who.log_id, outbox_id, self._deps.clock.now())
        return answer({"outbox_id": outbox_id, "queued": rows})

    async def list_channels(self, who: Reading) -> Response:
        """Channels; of their addresses the host only."""
        found = await self._channels.all(who.log_id)
        return answer({"items": [asdict(c) for c in found], "next": None})

    async def put_channel(
        self, channel_id: ChannelId, who: Operating, body: ChannelBody
    ) -> Response:
        """Set a channel. Its address must be public https, and is never shown again.

        The first time for a webhook the answer has its signing secret, which nobody sees again.
        """
        url = body.url.get_secret_value()
        loopback = self._settings.allow_loopback
        try:
            await guard.target_of(url, allow_loopback=loopback)
        except guard.UnresolvedError as error:
            raise RejectedError("the address's host name cannot be resolved") from error
        host = guard.check_form(url, allow_loopback=loopback).hostname or ""
        channel, secret = await self._channels.put(
            who.log_id,
            channel_id,
            kind=body.kind,
            url=url,
            host=host,
            enabled=body.enabled,
            by=who.key_id,
            at=self._deps.clock.now(),
        )
        return _channel_answer(channel, secret)

    async def rotate_secret(
        self, channel_id: ChannelId, who: Operating, body: RotateBody | None = None
    ) -> Response:
        """Give a webhook a new signing secret, shown in this answer only.

        Until the overlap is over each request has a signature of every valid secret. A repeated
        call makes another secret: no answer with a secret is kept anywhere.
        """
        channel, secret = await self._channels.rotate(
            who.log_id,
            channel_id,
            overlap_s=(body or RotateBody()).overlap_s,
            by=who.key_id,
            now=self._deps.clock.now(),
        )
        return _channel_answer(channel, secret)

    async def remove_channel(self, channel_id: ChannelId, who: Operating) -> Response:
        """Remove a channel; what was not sent yet becomes dead letters."""
        await self._channels.remove(who.log_id, channel_id)
        return Response(status_code=204)

    async def test_channel(self, channel_id: ChannelId, who: Operating) -> Response:
        """Send a test message now and say what became of it."""
        now = self._deps.clock.now()
        address = await self._channels.address(who.log_id, channel_id, now)
        interval = interval_of(address.kind, self._settings)
        async with self._database.transaction() as tx:
            mine = await outbox.take_pace(tx, who.log_id, channel_id, now=now, interval=interval)
        if not mine:
            raise RateLimitedError(
                "the channel has just been used, or asked us to wait; try again in a moment",
                retry_after_s=1,
            )
        message: GroupCard | Letter = self._test_card()
        if address.kind == "webhook":
            message = letters.ping_of(who.log_id, str(self._deps.ids.new()), channel_id, now)
        outcome = await self._sender.send(address, message, now)
        return answer(
            {
                "channel_id": channel_id,
                "delivered": outcome.result == "delivered",
                "result": outcome.result,
                "reason": outcome.reason,
            }
        )

    def _test_card(self) -> GroupCard:
        card = AlertCard(
            alert_id="test",
            rule_id="test",
            severity="info",
            title="Test from Tagtrail",
            why="This channel gets Tagtrail's alerts. Nothing has happened.",
            link=self._settings.console_url,
        )
        return GroupCard(cards=[card])


def _channel_answer(channel: Channel, secret: str | None) -> Response:
    shown = asdict(channel)
    if secret is None:
        return answer(shown)
    return answer(shown | {"secret": secret}, {"Cache-Control": "no-store"})


def router_of(
    deps: Deps, settings: AlertsSettings, channels: Channels, sender: Sender
) -> APIRouter:
    """Return the routes of the outbox and of channels."""
    api = DeliveryApi(deps, settings, channels, sender)
    router = APIRouter(tags=["delivery"], responses=PROBLEMS)
    add = router.add_api_route
    add("/outbox", api.list_outbox, methods=["GET"], summary="Messages and their fate")
    add(
        "/outbox/{outbox_id}/redrive",
        api.redrive,
        methods=["POST"],
        summary="Send a dead letter again",
        operation_id="redrive_message",
        responses=NOT_FOUND | CONFLICT,
    )
    add("/channels", api.list_channels, methods=["GET"], summary="List channels")
    add(
        "/channels/{channel_id}",
        api.put_channel,
        methods=["PUT"],
        summary="Set a channel",
        responses=CONFLICT,
    )
    add(
        "/channels/{channel_id}",
        api.remove_channel,
        methods=["DELETE"],
        status_code=204,
        summary="Remove a channel",
        responses=NOT_FOUND,
    )
    add(
        "/channels/{channel_id}/test",
        api.test_channel,
        methods=["POST"],
        summary="Send a test message",
        responses=NOT_FOUND | CONFLICT | {429: {"description": "The channel was just used"}},
    )
    add(
        "/channels/{channel_id}/rotate-secret",
        api.rotate_secret,
        methods=["POST"],
        summary="Change a webhook's signing secret",
        responses=NOT_FOUND | CONFLICT,
    )
    return router

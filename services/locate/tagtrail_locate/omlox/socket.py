"""The WebSocket of omlox Hub v2: subscriptions to topics, and publishing by messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from fastapi import WebSocket, WebSocketDisconnect

from tagtrail_kernel.access import Gatekeeper, Principal
from tagtrail_kernel.errors import DomainError, ForbiddenError, UnauthenticatedError
from tagtrail_locate.omlox import store
from tagtrail_locate.omlox.frames import crs_of
from tagtrail_locate.omlox.objects import VENDOR, Json, feature_of
from tagtrail_locate.omlox.views import Views
from tagtrail_locate.omlox.writer import Writer

LOCATIONS: Final = "location_updates"
PROXIMITIES: Final = "proximity_updates"
FENCES: Final = "fence_events"
MOTIONS: Final = "trackable_motions"
TOPICS: Final = frozenset({LOCATIONS, PROXIMITIES, FENCES, MOTIONS})

UNKNOWN_EVENT: Final = 10000
UNKNOWN_TOPIC: Final = 10001
SUBSCRIPTION_FAILED: Final = 10002
UNSUBSCRIBE_FAILED: Final = 10003
NOT_AUTHORIZED: Final = 10004
INVALID_DATA: Final = 10005
NOT_AUTHENTICATED: Final = 10006
"""Error codes of the hub's WebSocket messages."""

MOST_SUBSCRIPTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client listens to."""

    number: int
    topic: str
    crs: str
    geojson: bool
    params: Json = field(default_factory=dict)


class Session:
    """One client.

    Args:
        socket: Accepted.
        views: Reads.
        writer: Writes.
        interval_s: Time between two looks at the tables, seconds.
    """

    def __init__(
        self, socket: WebSocket, views: Views, writer: Writer, *, interval_s: float
    ) -> None:
        self._socket = socket
        self._views = views
        self._writer = writer
        self._interval_s = interval_s
        self._who: Principal | None = None
        self._subscriptions: dict[int, Subscription] = {}
        self._count = 0
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Serve the client until it goes."""
        await self._sign_in(self._socket.headers.get("authorization"))
        tasks = {asyncio.create_task(self._listen()), asyncio.create_task(self._watch())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _listen(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self._take(await self._socket.receive_text())

    async def _sign_in(self, authorization: str | None) -> None:
        if authorization is None:
            return
        gatekeeper: Gatekeeper = self._socket.app.state.gatekeeper
        with contextlib.suppress(UnauthenticatedError, ForbiddenError):
            self._who = await gatekeeper.principal(
                authorization, self._socket.headers.get("tagtrail-log")
            )

    async def _send(self, message: Json) -> None:
        async with self._sending:
            await self._socket.send_text(orjson.dumps(message, default=str).decode())

    async def _fail(self, code: int, text: str) -> None:
        await self._send({"event": "error", "code": code, "description": text})

    async def _take(self, text: str) -> None:
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            await self._fail(INVALID_DATA, "a message must be one JSON object")
            return
        if not isinstance(message, dict):
            await self._fail(INVALID_DATA, "a message must be one JSON object")
            return
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        if self._who is None and isinstance(params.get("token"), str):
            await self._sign_in("Bearer " + params["token"].removeprefix("Bearer "))
        if self._who is None:
            await self._fail(NOT_AUTHENTICATED, "send a key: header Authorization, or params.token")
            return
        event = message.get("event")
        if event == "subscribe":
            await self._subscribe(self._who, str(message.get("topic")), params)
        elif event == "unsubscribe":
            await self._unsubscribe(message.get("subscription_id"))
        elif event == "message":
            await self._publish(self._who, str(message.get("topic")), message.get("payload"))
        else:
            await self._fail(UNKNOWN_EVENT, f"no event is called {event!r}")

    async def _subscribe(self, who: Principal, written: str, params: Json) -> None:
        topic, _, variant = written.partition(":")
        if topic not in TOPICS or variant not in ("", "geojson"):
            text = f"Subscription failed. There is no topic with name {written[:60]!r}."
            if topic == "collision_events":
                text = "Subscription failed. Collisions are not computed."
            await self._fail(UNKNOWN_TOPIC, text)
            return
        if "places:read" not in who.scopes:
            await self._fail(NOT_AUTHORIZED, "this key lacks the scope places:read")
            return
        try:
            crs = crs_of(params.get("crs"))
        except (DomainError, AttributeError):
            await self._fail(SUBSCRIPTION_FAILED, "crs must be local or EPSG:4326")
            return
        if len(self._subscriptions) >= MOST_SUBSCRIPTIONS:
            await self._fail(SUBSCRIPTION_FAILED, "too many subscriptions; unsubscribe from some")
            return
        self._count += 1
        geojson = variant == "geojson" or params.get("geojson") in (True, "true")
        self._subscriptions[self._count] = Subscription(self._count, topic, crs, geojson, params)
        await self._send({"event": "subscribed", "topic": written, "subscription_id": self._count})

    async def _unsubscribe(self, number: Any) -> None:
        if not isinstance(number, int) or self._subscriptions.pop(number, None) is None:
            await self._fail(UNSUBSCRIBE_FAILED, "there is no such subscription_id")
            return
        await self._send({"event": "unsubscribed", "subscription_id": number})

    async def _publish(self, who: Principal, topic: str, payload: Any) -> None:
        if topic not in (LOCATIONS, PROXIMITIES):
            await self._fail(UNKNOWN_TOPIC, f"nothing can be published on {topic[:60]!r}")
            return
        if "sightings:write" not in who.scopes:
            await self._fail(NOT_AUTHORIZED, "this key lacks the scope sightings:write")
            return
        if not isinstance(payload, list) or not all(isinstance(p, dict) for p in payload):
            await self._fail(INVALID_DATA, "payload must be a list of objects")
            return
        bodies = [(str(p.get("provider_id")), p) for p in payload[:500]]
        try:
            if topic == LOCATIONS:
                await self._writer.locate(who.log_id, bodies)
            else:
                await self._writer.approach(who.log_id, bodies)
        except DomainError as error:
            await self._fail(INVALID_DATA, error.detail)

    # -- what goes out ----------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at the tables at intervals and send what is new since the first look."""
        after: int | None = None
        while True:
            await asyncio.sleep(self._interval_s)
            who = self._who
            if who is None:
                continue
            until = await self._views.position(who.log_id)
            if after is not None and until > after and self._subscriptions:
                try:
                    await self._tell(who.log_id, after, until)
                except (WebSocketDisconnect, RuntimeError):
                    return
            after = until

    async def _tell(self, log_id: int, after: int, until: int) -> None:
        subscriptions = list(self._subscriptions.values())
        events: list[Json] = []
        if any(s.topic == FENCES for s in subscriptions):
            events = await self._views.fence_events(log_id, after, until)
        places: list[Json] = []
        if any(s.topic != FENCES for s in subscriptions):
            places = await self._views.written_between(log_id, after, until)
        async with self._views.database.connection() as connection:
            names = await store.names_of(connection, log_id)
            plan = await store.plan_of(connection, log_id)
        for subscription in subscriptions:
            payload: Sequence[Json]
            if subscription.topic == FENCES:
                payload = events
            elif subscription.topic == MOTIONS:
                payload = self._views.moved(places, names, plan, subscription.crs)
            else:
                payload = self._views.located(places, names, plan, subscription.crs)
            if subscription.topic == PROXIMITIES:
                payload = [proximity_of(loc) for loc in payload if _is_read(loc)]
            if payload:
                await self._send_payload(subscription, payload)

    async def _send_payload(self, subscription: Subscription, payload: Sequence[Json]) -> None:
        values = list(payload)
        if subscription.geojson:
            values = [feature_of(v, (v.get("location") or v).get("position")) for v in values]
        name = subscription.topic + (":geojson" if subscription.geojson else "")
        await self._send(
            {
                "event": "message",
                "topic": name,
                "subscription_id": subscription.number,
                "payload": values,
            }
        )


def _is_read(location: Json) -> bool:
    return bool(location["properties"][VENDOR]["method"] == "read_point")


def proximity_of(location: Json) -> Json:
    """Return the Proximity behind a location that a read point gave."""
    kept = ("source", "provider_type", "provider_id", "timestamp_generated", "timestamp_sent")
    return {k: location[k] for k in kept} | {"accuracy": location["accuracy"]}

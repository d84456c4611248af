"""A gateway's connection to the broker: QoS 1, and it knows what was acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from tagtrail_ingest.mqtt import client_of


class Publisher:
    """Publishes and waits for the broker's acknowledgement; sends again after a reconnect.

    Args:
        url: mqtt://user:password@host:port.
        client_id: Name of its session.
    """

    def __init__(self, url: str, client_id: str) -> None:
        self._url = url
        self._client = client_of(url, client_id, clean=False)
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(500)
        self._client.reconnect_delay_set(1, 2)
        self._client.on_publish = self._published
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._early: set[int] = set()
        self._loop = asyncio.get_running_loop()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Publisher]:
        """Connect, and end the connection afterwards."""
        address = urlsplit(self._url)
        self._client.connect(address.hostname or "127.0.0.1", address.port or 1883, keepalive=20)
        self._client.loop_start()
        try:
            yield self
        finally:
            self._client.disconnect()
            await asyncio.to_thread(self._client.loop_stop)

    def _published(self, _client: paho.Client, _userdata: Any, mid: int, *_more: Any) -> None:
        self._loop.call_soon_threadsafe(self._settle, mid)

    def _settle(self, mid: int) -> None:
        waiting = self._waiting.pop(mid, None)
        if waiting is None:
            self._early.add(mid)
        elif not waiting.done():
            waiting.set_result(None)

    async def publish(self, topic: str, payload: bytes, within_s: float = 60.0) -> None:
        """Publish one message and return when the broker acknowledged it.

        Raises:
            TimeoutError: it did not.
        """
        info = self._client.publish(topic, payload, qos=1)
        if info.mid in self._early:
            self._early.discard(info.mid)
            return
        self._waiting[info.mid] = asyncio.get_running_loop().create_future()
        await asyncio.wait_for(self._waiting[info.mid], within_s)

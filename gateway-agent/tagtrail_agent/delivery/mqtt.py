"""MQTT 3.1.1: batches by QoS 1, confirmed by ingest on a topic of the gateway's own.

The broker's acknowledgement says nothing about the log, so it is not waited for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tagtrail_agent.courier import Message
from tagtrail_agent.delivery.link import Answer, answer_of
from tagtrail_agent.delivery.trust import context_for_mqtt, words_of
from tagtrail_agent.errors import ConfigError, RefusedError, UnreachableError

log = logging.getLogger(__name__)

MOST_BYTES: Final = 1_000_000
"""Tagtrail's broker ends the connection of whoever sends more than 1 MB."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and as whom to connect.

    Attributes:
        url: mqtt://host:port or mqtts://host:port.
        user: User, if the broker asks for one.
        password: Its password.
        ca_file: Certificates to trust instead of the system's.
    """

    url: str
    user: str | None = None
    password: str | None = None
    ca_file: Path | None = None


class MqttLink:
    """A connection to the broker; reconnects by itself, with a back-off.

    Args:
        broker: Where to connect.
        site_id: First level of the topics.
        gateway_id: The agent's own gateway.
        confirm_within_s: How long to wait for a confirmation, seconds.
        on_config: Called in the event loop with what is pushed on the topic `config`.
    """

    at_once = 4

    def __init__(
        self,
        broker: Broker,
        *,
        site_id: str,
        gateway_id: str,
        confirm_within_s: float = 30.0,
        on_config: Callable[[bytes], None] | None = None,
    ) -> None:
        self._broker, self._site_id, self._gateway_id = broker, site_id, gateway_id
        self._within_s = confirm_within_s
        self._on_config = on_config
        self._waiting: dict[tuple[str, str], asyncio.Future[Answer]] = {}
        self._subscribing: dict[int, asyncio.Future[None]] = {}
        self._subscribed: set[str] = set()
        self._publishing: dict[int, asyncio.Future[None]] = {}
        self._client: paho.Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._up = asyncio.Event()
        self.sent_bytes = 0
        self.fault: str | None = "not connected yet"

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._up.is_set()

    def _topic(self, gateway_id: str, leaf: str) -> str:
        return f"tagtrail/v1/{self._site_id}/{gateway_id}/{leaf}"

    async def open(self) -> None:
        """Begin to connect; returns at once.

        Raises:
            ConfigError: the address or the file of authorities cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._client = client = self._made()
        address = urlsplit(self._broker.url)
        port = address.port or (8883 if address.scheme == "mqtts" else 1883)
        client.connect_async(address.hostname or "", port, keepalive=30)
        client.loop_start()

    def _made(self) -> paho.Client:
        broker, address = self._broker, urlsplit(self._broker.url)
        if address.scheme not in ("mqtt", "mqtts") or not address.hostname:
            raise ConfigError("server.mqtt must read mqtt://host:port or mqtts://host:port")
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"tagtrail-agent-{self._gateway_id}-{secrets.token_hex(3)}",
        )
        user = broker.user or (unquote(address.username) if address.username else None)
        if user:
            client.username_pw_set(user, broker.password or unquote(address.password or ""))
        if address.scheme == "mqtts":
            client.tls_set_context(context_for_mqtt(broker.ca_file))
        client.will_set(self._topic(self._gateway_id, "status"), _OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(1, 60)
        client.on_connect_fail = self._on_connect_fail
        client.on_connect = self._heard(self._on_connect)
        client.on_disconnect = self._heard(self._on_disconnect)
        client.on_subscribe = self._heard(self._on_subscribe)
        client.on_message = self._heard(self._on_message)
        client.on_publish = self._heard(self._on_publish)
        return client

    def _heard(self, handle: Callable[..., None]) -> Callable[..., None]:
        """Return a callback for paho's thread that hands over to the event loop."""

        def hand_over(_client: paho.Client, _userdata: Any, *args: Any) -> None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(handle, *args)

        return hand_over

    def _on_connect_fail(self, _client: paho.Client, _userdata: Any) -> None:
        """Note why there is no connection; paho calls this while it handles the exception."""
        error = sys.exception()
        host = urlsplit(self._broker.url).hostname or ""
        fault = words_of(error, host) if error is not None else f"{host} does not answer"
        if fault != self.fault:
            log.warning("mqtt.out_of_reach", extra={"cause": fault})
        self.fault = fault

    def _on_connect(self, _flags: Any, reason: Any, *_more: Any) -> None:
        if reason.is_failure:
            self.fault = f"the broker refuses: {reason}"
            log.error("mqtt.refused", extra={"cause": str(reason)})
            return
        self._subscribed.clear()
        self.fault = None
        self._up.set()
        log.info("mqtt.connected")

    def _on_disconnect(self, _flags: Any, reason: Any, *_more: Any) -> None:
        self._up.clear()
        self.fault = self.fault or f"disconnected: {reason}"
        log.warning("mqtt.disconnected", extra={"cause": str(reason)})
        waiting: list[asyncio.Future[Any]] = [
            *self._waiting.values(), *self._subscribing.values(), *self._publishing.values(),
        ]  # fmt: skip
        for future in waiting:
            if not future.done():
                future.set_exception(UnreachableError("the connection to the broker broke"))

    def _on_subscribe(self, mid: int, reasons: Any, *_more: Any) -> None:
        waiting = self._subscribing.pop(mid, None)
        if waiting is None or waiting.done():
            return
        if any(r.is_failure for r in reasons):
            waiting.set_exception(
                UnreachableError(
                    "the broker does not let this gateway hear its confirmations: "
                    "allow it to subscribe to tagtrail/v1/#"
                )
            )
        else:
            waiting.set_result(None)

    def _on_message(self, message: paho.MQTTMessage) -> None:
        levels = message.topic.split("/")
        if len(levels) != 5:
            return
        if levels[4] == "config":
            if self._on_config is not None:
                self._on_config(bytes(message.payload))
            return
        try:
            members = json.loads(message.payload)
            waiting = self._waiting.get((levels[3], str(members["batch_id"])))
            if waiting is not None and not waiting.done():
                waiting.set_result(answer_of(members))
        except (ValueError, TypeError, KeyError, UnreachableError) as error:
            log.warning("mqtt.unreadable_answer", extra={"cause": str(error)})

    async def _subscribe(self, gateway_id: str) -> None:
        topics = [self._topic(gateway_id, "confirmed")]
        if gateway_id == self._gateway_id:
            topics.append(self._topic(gateway_id, "config"))
        assert self._client is not None  # noqa: S101 - open() comes first
        result, mid = self._client.subscribe([(t, 1) for t in topics])
        if result != paho.MQTT_ERR_SUCCESS or mid is None:
            raise UnreachableError("the connection to the broker broke")
        assert self._loop is not None  # noqa: S101
        waiting = self._subscribing[mid] = self._loop.create_future()
        await (
            waiting
        )  # within the caller's time; wait_for of Python 3.11 can swallow a cancellation
        self._subscribed.add(gateway_id)

    async def deliver(self, gateway_id: str, batch_id: str, body: bytes) -> Answer:
        """See `Link.deliver`."""
        if len(body) > MOST_BYTES:
            raise RefusedError("too_large", f"a batch of {len(body)} bytes; lower batch.max_items")
        assert self._client is not None  # noqa: S101 - open() comes first
        assert self._loop is not None  # noqa: S101
        waiting: asyncio.Future[Answer] = self._loop.create_future()
        key = (gateway_id, batch_id)
        try:
            async with asyncio.timeout(self._within_s):
                await self._up.wait()
                if gateway_id not in self._subscribed:
                    await self._subscribe(gateway_id)
                self._waiting[key] = waiting
                self._client.publish(self._topic(gateway_id, "sightings"), body, qos=1)
                self.sent_bytes += len(body)
                answer = await waiting
        except TimeoutError:
            cause = self.fault or "ingest has not confirmed the batch in time"
            raise UnreachableError(cause) from None
        finally:
            self._waiting.pop(key, None)
        if answer.quarantined is not None:
            raise RefusedError(answer.quarantined, "the server put the batch into quarantine")
        return answer

    async def forward(self, messages: Sequence[Message]) -> None:
        """See `Link.forward`."""
        assert self._loop is not None  # noqa: S101 - open() comes first
        assert self._client is not None  # noqa: S101
        mids: list[int] = []
        try:
            async with asyncio.timeout(self._within_s):
                await self._up.wait()
                for topic, payload, retained in messages:
                    info = self._client.publish(topic, payload, qos=1, retain=retained)
                    if info.rc != paho.MQTT_ERR_SUCCESS:
                        raise UnreachableError("the connection to the broker broke")
                    self._publishing[info.mid] = self._loop.create_future()
                    mids.append(info.mid)
                    self.sent_bytes += len(payload)
                await asyncio.gather(*(self._publishing[mid] for mid in mids))
        except TimeoutError:
            cause = self.fault or "the broker has not acknowledged messages in time"
            raise UnreachableError(cause) from None
        finally:
            for mid in mids:
                self._publishing.pop(mid, None)

    def _on_publish(self, mid: int, *_more: Any) -> None:
        waiting = self._publishing.get(mid)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def report(self, figures: Mapping[str, Any]) -> None:
        """See `Link.report`: the retained status of the gateway."""
        if self._client is None or not self.connected:
            raise UnreachableError(self.fault or "not connected")
        body = json.dumps({"online": True, **figures}, separators=(",", ":")).encode()
        self._client.publish(self._topic(self._gateway_id, "status"), body, qos=1, retain=True)
        self.sent_bytes += len(body)

    async def close(self) -> None:
        """Say that the gateway goes, and end the connection."""
        client, self._client = self._client, None
        if client is None or self._loop is None:
            return
        if self.connected:
            info = client.publish(
                self._topic(self._gateway_id, "status"), _OFFLINE, qos=1, retain=True
            )
            await self._loop.run_in_executor(None, _wait, info)
        client.disconnect()
        await self._loop.run_in_executor(None, client.loop_stop)
        self._up.clear()


_OFFLINE: Final = b'{"online":false}'


def _wait(info: paho.MQTTMessageInfo) -> None:
    """Wait a little for the broker's acknowledgement of the last word."""
    try:
        info.wait_for_publish(2)
    except (RuntimeError, ValueError) as error:
        log.warning("mqtt.left_without_farewell", extra={"cause": str(error)})

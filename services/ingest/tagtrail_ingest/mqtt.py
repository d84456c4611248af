"""MQTT in: a persistent QoS 1 session whose messages are acknowledged after their commit.

Measured elsewhere (reference notes): a subscriber with a persistent session and manual
acknowledgement loses nothing over kill -9 of broker or subscriber. One process at a time holds
the session, under a PostgreSQL advisory lock; another replica takes over the same client id.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tagtrail_kernel.clock import Clock
from tagtrail_kernel.errors import UnavailableError
from tagtrail_kernel.settings import SettingsError

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 500
"""Messages handed over together: enough for one full batch of single readings."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message from the broker.

    Attributes:
        topic: Its topic.
        payload: Its bytes.
        retained: Whether the broker replayed it from its store.
        dup: The broker says that it may have delivered it before.
        since_connect_s: Time from the connect until it came, seconds.
        outage_s: Time that the broker was away before that connect, seconds; None = unknown, it is
            the first connection of this process.
        received_at: When it came.
        mid: Packet id, for the acknowledgement.
        qos: Its quality of service.
        connection: Number of the connection it came over, from 1 for each session.
    """

    topic: str
    payload: bytes
    retained: bool
    dup: bool
    since_connect_s: float
    outage_s: float | None
    received_at: datetime
    mid: int
    qos: int
    connection: int


def is_level(name: str) -> bool:
    """Return whether a name can be one level of a topic that is published on."""
    return bool(name) and name.isprintable() and not set(name) & set("+#/ ")


Handle = Callable[[Sequence[Delivery]], Awaitable[None]]


class MqttSession:
    """Runs the session; hands deliveries to `handle` in order, acknowledges when it returns.

    Args:
        url: mqtt://user:password@host:port.
        client_id: Name of the persistent session.
        filters: Topic filters to subscribe to.
        handle: Called with 1 to `MOST_AT_ONCE` deliveries of one connection; when it raises
            UnavailableError the same objects are handed over again, perhaps with more.
        clock: For `received_at`.
        queue_bytes: Bytes waiting before reading from the broker pauses.
        ca_file: Certificates (PEM) by which an mqtts:// broker is trusted; empty = the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        filters: Sequence[str],
        handle: Handle,
        clock: Clock,
        queue_bytes: int,
        ca_file: str = "",
    ) -> None:
        self._url, self._ca_file = url, ca_file
        self._client_id = client_id
        self._filters = filters
        self._handle = handle
        self._clock = clock
        self._queue_bytes = queue_bytes
        self._queue: deque[Delivery] = deque()
        self._queued = 0
        self._room = threading.Condition()
        self._wake = asyncio.Event()
        self._connection = 0
        self._connected_s = 0.0
        self._broken_s: float | None = None
        self._stopped = False
        self._client_now: paho.Client | None = None
        self.connected = False

    @property
    def connections(self) -> int:
        """How often the broker has taken the session."""
        return self._connection

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 0 over the session; nothing happens while it is not connected."""
        if self._client_now is not None and self.connected:
            self._client_now.publish(topic, payload, qos=0, retain=retain)

    async def run(self, still_mine: Callable[[], bool]) -> None:
        """Hold the session until `still_mine` says no, or the task is cancelled."""
        loop = asyncio.get_running_loop()
        self._wake, self._stopped = asyncio.Event(), False
        client = self._client_now = self._client(loop)
        address = urlsplit(self._url)
        client.connect_async(address.hostname or "127.0.0.1", address.port or 1883, keepalive=30)
        client.loop_start()
        try:
            while still_mine():
                await self._work(client)
        finally:
            self._stopped, self._client_now = True, None
            with self._room:
                self._room.notify_all()
            client.disconnect()
            await loop.run_in_executor(None, client.loop_stop)
            self.connected = False
            self._queue.clear()
            self._queued = 0

    async def _work(self, client: paho.Client) -> None:
        try:
            async with asyncio.timeout(1):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
        while self._queue:
            group = self._next_group()
            try:
                await self._handle(group)
            except UnavailableError as error:
                log.warning("mqtt.waiting", extra={"cause": error.detail})
                await asyncio.sleep(1)
                self._wake.set()
                return
            self._settle(client, group)

    def _next_group(self) -> list[Delivery]:
        """Return the first deliveries of one connection.

        What was waiting when a connection broke comes again over the next one: the first copies
        must be committed, and so have receipts, before the second ones are looked at.
        """
        waiting = (self._queue[i] for i in range(min(MOST_AT_ONCE, len(self._queue))))
        connection = self._queue[0].connection
        return list(itertools.takewhile(lambda d: d.connection == connection, waiting))

    def _settle(self, client: paho.Client, group: Sequence[Delivery]) -> None:
        for delivery in group:
            self._queue.popleft()
            if delivery.qos and delivery.connection == self._connection:
                client.ack(delivery.mid, delivery.qos)
        with self._room:
            self._queued -= sum(len(d.payload) for d in group)
            self._room.notify_all()

    def _client(self, loop: asyncio.AbstractEventLoop) -> paho.Client:
        client = client_of(
            self._url, self._client_id, clean=False, manual_ack=True, ca_file=self._ca_file
        )
        client.on_connect = self._on_connect(loop)
        client.on_disconnect = self._on_disconnect(loop)
        client.on_connect_fail = self._on_connect_fail
        client.on_message = self._on_message(loop)
        client.on_subscribe = self._on_subscribe
        return client

    def _on_connect(self, loop: asyncio.AbstractEventLoop) -> Any:
        def connected(client: paho.Client, *args: Any) -> None:
            reason = args[2]
            if reason.is_failure:
                log.error("mqtt.refused", extra={"cause": str(reason)})
                return
            self._connection += 1
            self._connected_s = loop.time()
            self.connected = True
            client.subscribe([(f, 1) for f in self._filters])
            log.info("mqtt.connected", extra={"client_id": self._client_id})

        return connected

    def _on_connect_fail(self, _client: paho.Client, _userdata: object) -> None:
        """No broker there, or one that is not trusted; paho tries again, and does not say why."""
        log.warning("mqtt.unreachable", extra={"client_id": self._client_id})

    def _on_disconnect(self, loop: asyncio.AbstractEventLoop) -> Any:
        def disconnected(_client: paho.Client, *args: Any) -> None:
            if self.connected:
                self._broken_s = loop.time()
            self.connected = False
            log.warning("mqtt.disconnected", extra={"cause": str(args[2])})

        return disconnected

    def _on_subscribe(self, client: paho.Client, *args: Any) -> None:
        refused = [f for f, code in zip(self._filters, args[2], strict=False) if code.is_failure]
        if refused:
            log.error("mqtt.subscription_refused", extra={"filters": refused})
            client.disconnect()

    def _on_message(self, loop: asyncio.AbstractEventLoop) -> Any:
        def received(_client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
            """Runs in paho's thread; blocking here stops reading from the socket."""
            with self._room:
                while self._queued > self._queue_bytes and not self._stopped:
                    self._room.wait(1)
                self._queued += len(message.payload)
            connected_s, broken_s = self._connected_s, self._broken_s
            self._queue.append(
                Delivery(
                    topic=message.topic,
                    payload=bytes(message.payload),
                    retained=message.retain,
                    dup=message.dup,
                    since_connect_s=loop.time() - connected_s,
                    outage_s=None if broken_s is None else connected_s - broken_s,
                    received_at=self._clock.now(),
                    mid=message.mid,
                    qos=message.qos,
                    connection=self._connection,
                )
            )
            if not self._stopped:
                loop.call_soon_threadsafe(self._wake.set)

        return received


def client_of(
    url: str,
    client_id: str,
    *,
    clean: bool = True,
    manual_ack: bool = False,
    ca_file: str = "",
) -> paho.Client:
    """Return a paho client (MQTT 3.1.1) with the address's credentials.

    Args:
        url: mqtt:// or mqtts://user:password@host:port.
        client_id: Name of the session.
        clean: Whether the broker forgets the session when the connection ends.
        manual_ack: Whether the caller acknowledges what it received.
        ca_file: Certificates (PEM) by which an mqtts:// broker is trusted; empty = the system's.

    Raises:
        SettingsError: the address is not mqtt:// or mqtts://, or the file cannot be used.
    """
    address = urlsplit(url)
    if address.scheme not in ("mqtt", "mqtts"):
        raise SettingsError("TAGTRAIL_MQTT_URL must read mqtt://user:password@host:port")
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=clean,
        manual_ack=manual_ack,
    )
    if address.username:
        client.username_pw_set(unquote(address.username), unquote(address.password or ""))
    if address.scheme == "mqtts":
        _trust(client, ca_file)
    client.reconnect_delay_set(1, 10)
    return client


def _trust(client: paho.Client, ca_file: str) -> None:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise SettingsError(
            f"TAGTRAIL_INGEST_MQTT_CA_FILE: {ca_file}: {error}; name a file of PEM certificates that "
            "the service may read"
        ) from error
    context.sslsocket_class = _ClosingSocket
    client.tls_set_context(context)


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the broker is not trusted; paho would leave it open, one for each try."""

    def do_handshake(self, block: bool = False) -> None:
        """See `ssl.SSLSocket.do_handshake`."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise

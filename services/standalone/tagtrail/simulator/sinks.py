"""Where transmissions go: a file, an MQTT broker, the HTTP API."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import httpx2
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tagtrail.simulator.lanes import Lanes
from tagtrail.simulator.transmission import Transmission
from tagtrail.simulator.wire import Request, line_of, request_of
from tagtrail_kernel.envelope import Envelope, seal
from tagtrail_kernel.errors import RejectedError, UnavailableError

log = logging.getLogger(__name__)

CHUNK: Final = 200
"""Registrations of one POST."""
LANES: Final = 8
"""Requests under way at once: ingest commits requests together that come together."""
MOST_UNACKNOWLEDGED: Final = 2000
"""Messages waiting for the broker before the simulator waits too."""
SETTLE_S: Final = 2.0
"""Pause after registering: every replica of ingest reads the log at least once a second, and
drops sightings of tags that it does not know yet."""
PATIENCE_S: Final = 60.0
"""How long a broker or an API may be away before a run gives up."""


class Sink(Protocol):
    """Takes transmissions in order of arrival."""

    def send(self, transmission: Transmission) -> None:
        """Hand over one transmission; may wait.

        Raises:
            UnavailableError: the other side stayed away too long.
            RejectedError: the other side refuses it, or this sink cannot carry it.
        """
        ...

    def close(self) -> None:
        """Wait until everything has arrived, then let go. Raises as `send`."""
        ...


class FileSink:
    """Writes one JSON line per transmission.

    Args:
        path: File, replaced if it exists.
        start: Simulated start.
    """

    def __init__(self, path: Path, start: datetime) -> None:
        self._file, self._start = path.open("wb"), start

    def send(self, transmission: Transmission) -> None:
        """Write one line."""
        self._file.write(line_of(transmission, self._start))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MqttSink:
    """Publishes what gateways send; facts pass it by.

    Gateways share a few connections, always the same one for the same gateway, so that the order
    of a gateway's messages is kept. The sessions are persistent: what the broker did not confirm
    is sent again after a reconnect.

    Args:
        url: mqtt://user:password@host:port.
        client_id: Start of the client ids.
        connections: Number of connections, >= 1.

    Raises:
        UnavailableError: the broker cannot be reached.
    """

    def __init__(self, url: str, *, client_id: str = "tagtrail-sim", connections: int = 4) -> None:
        self._waiting = threading.Semaphore(MOST_UNACKNOWLEDGED)
        self._clients: list[paho.Client] = []
        for n in range(connections):
            try:
                self._clients.append(self._connected(url, f"{client_id}-{n}"))
            except OSError as error:
                self._stop()
                raise UnavailableError(
                    f"the MQTT broker at {urlsplit(url).hostname} does not answer ({error}); is it "
                    "running, and is --mqtt-url right?"
                ) from error

    def _connected(self, url: str, client_id: str) -> paho.Client:
        parts = urlsplit(url)
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id, clean_session=False, protocol=paho.MQTTv311
        )
        if parts.username:
            password = unquote(parts.password) if parts.password else None
            client.username_pw_set(unquote(parts.username), password)
        client.max_queued_messages_set(0)
        client.max_inflight_messages_set(200)
        client.reconnect_delay_set(1, 5)
        client.on_publish = self._published
        client.connect(parts.hostname or "127.0.0.1", parts.port or 1883, keepalive=13)
        client.loop_start()
        return client

    def _published(self, *_: object) -> None:
        self._waiting.release()

    def send(self, transmission: Transmission) -> None:
        """Publish one message; waits while too many are not confirmed."""
        if not transmission.topic:
            return
        if not self._waiting.acquire(timeout=PATIENCE_S):
            raise UnavailableError(
                f"the MQTT broker confirmed nothing for {PATIENCE_S:.0f} s; start it and run again"
            )
        number = sum(transmission.gateway_id.encode()) % len(self._clients)
        self._clients[number].publish(
            transmission.topic, transmission.payload, transmission.qos, transmission.retained
        )

    def close(self) -> None:
        """Wait for the broker to confirm everything, then disconnect."""
        try:
            for _ in range(MOST_UNACKNOWLEDGED):
                if not self._waiting.acquire(timeout=PATIENCE_S):
                    raise UnavailableError(
                        "the MQTT broker did not confirm the last messages; they may be lost"
                    )
        finally:
            self._stop()

    def _stop(self) -> None:
        for client in self._clients:
            client.disconnect()
            client.loop_stop()


class HttpSink:
    """Posts to the API, with the key of an integration.

    Args:
        url: Address of the API, for example http://127.0.0.1:8080.
        key: API key with the scopes to write sightings and events.
        facts_only: Leave the gateways' messages to another sink.
        transport: For tests, for example the application itself.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        facts_only: bool = False,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=30, transport=transport)
        self._facts_only = facts_only
        self._lanes: Lanes[Request] = Lanes(lambda r: self._post(r.path, r.body), LANES)

    def register(self, facts: Sequence[Envelope], *, settle_s: float = SETTLE_S) -> None:
        """Have registrations appended before the run, and give them time to be known.

        Args:
            facts: Registrations.
            settle_s: Pause afterwards, seconds.

        Raises:
            UnavailableError, RejectedError: as `send`.
        """
        for n in range(0, len(facts), CHUNK):
            bodies = b",".join(seal(fact).body for fact in facts[n : n + CHUNK])
            self._post("/v1/events", b'{"events":[' + bodies + b"]}")
        time.sleep(settle_s)

    def send(self, transmission: Transmission) -> None:
        """Post one transmission, after the earlier ones of its gateway; facts after facts."""
        if self._facts_only and transmission.kind != "fact":
            return
        request = request_of(transmission)
        if request is not None:
            self._lanes.put(transmission.gateway_id, request)

    def close(self) -> None:
        """Wait until everything is posted, then close the connections. Raises as `send`."""
        try:
            self._lanes.close()
        finally:
            self._http.close()

    def _post(self, path: str, body: bytes) -> None:
        """Post until it is taken: what is sent carries its identity, so repeating is harmless."""
        give_up_s = time.monotonic() + PATIENCE_S
        pause_s = 0.2
        while True:
            problem = self._try(path, body)
            if problem is None:
                return
            if time.monotonic() + pause_s > give_up_s:
                raise UnavailableError(f"{path}: {problem}; is the server running?")
            log.warning("simulator.retrying", extra={"path": path, "problem": problem})
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)

    def _try(self, path: str, body: bytes) -> str | None:
        """Post once; returns what stands in the way, None if nothing does."""
        try:
            reply = self._http.post(path, content=body)
        except httpx2.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        if reply.status_code in {429, 500, 502, 503, 504}:
            return f"status {reply.status_code}"
        if reply.status_code >= 400:
            raise RejectedError(f"{path} answers {reply.status_code}: {reply.text[:400]}")
        return None


class ManySinks:
    """Sends everything to several sinks."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def send(self, transmission: Transmission) -> None:
        """Hand over one transmission to each."""
        for sink in self._sinks:
            sink.send(transmission)

    def close(self) -> None:
        """Close all of them, the last one first."""
        for sink in reversed(self._sinks):
            sink.close()

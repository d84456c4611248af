"""Gateways that publish on a local broker: their adverts are filtered, the rest goes on unchanged.

A retained message is state, not news: no tag is heard by one. What is understood only by the server
is handed to a `Courier`. Unknown addresses stay in memory: of formats that carry every address heard
and are not read here, nothing goes on unless `pass_strangers` says so.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tagtrail_agent.binding import Range
from tagtrail_agent.clock import Clock
from tagtrail_agent.courier import Courier
from tagtrail_agent.delivery.trust import context_for_mqtt, words_of
from tagtrail_agent.errors import AgentError, ConfigError
from tagtrail_agent.inputs.common import heard_at
from tagtrail_agent.inputs.formats.routing import PASSED, READERS, STRANGERS, Router, Rule
from tagtrail_agent.inputs.formats.told import Sound, Told
from tagtrail_agent.inputs.formats.values import UnreadableError
from tagtrail_agent.readings import Advert, Ear, Reading

MOST_WAITING: Final = 2_000
"""Messages between the network's thread and ours; more are dropped and counted, so a flood costs
about 2 MB and not all memory."""
MOST_BYTES: Final = 262_144
"""Larger messages are no gateway's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Passing:
    """A message for the server as it came.

    Attributes:
        topic: Where it was published.
        payload: Its bytes, unchanged.
        at: When it came, UTC.
        elapsed_s: The same by the monotonic clock, seconds.
        retained: Whether the broker sent it from its store.
    """

    topic: str
    payload: bytes
    at: datetime
    elapsed_s: float
    retained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicOptions:
    """Topics of the operator's own.

    Attributes:
        filter: Topic filter; `+` is one level, a last `#` the rest.
        format: native, espresense, openmqttgateway, ruuvi, minew, shelly, raddec; or passed, for
            what goes on unchanged.
    """

    filter: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """kind = "mqtt": gateways on a local broker.

    Attributes:
        host: Of the broker.
        port: TCP port.
        username: User, if the broker asks for one.
        password_file: File with the password.
        ca_file: PEM file of the authority that signed the broker's certificate; None = no TLS.
        client_id: Name of the session, unlike every other client's.
        subscribe: Topic filters. One for all is best: some brokers hold back messages of a session
            with several busy ones.
        topics: Formats of topics that are not a system's own default.
        pass_strangers: Whether messages of gateways that send every address they hear, in a form
            that the agent cannot filter, go on to the server.
        retry_most_s: Longest wait before connecting again, seconds.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Range(1, 65_535)] = 1883
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    client_id: str = "tagtrail-agent-inputs"
    subscribe: tuple[str, ...] = ("#",)
    topics: tuple[TopicOptions, ...] = ()
    pass_strangers: bool = False
    retry_most_s: Annotated[int, Range(1, 3_600)] = 60


class _Arrived(NamedTuple):
    topic: str
    payload: bytes
    retained: bool
    mid: int
    qos: int


def _everyone(_identity: str) -> bool:
    return True


class MqttGateways:
    """Hears the gateways on a broker; see `Input`.

    Attributes:
        name: Name for figures.
        counts: `messages`, `sounds`, `passed`, and what was left out by reason.
        connected: Whether the broker is there.
        subscribed: Whether it has confirmed the subscriptions.

    Args:
        options: Which broker, and what of it.
        clock: Both clocks.
        name: Name for figures.
        courier: Takes what goes on unchanged; without one it is counted as `not_passed`.
        enrolled: Says whether an identity is an enrolled tag's. Of several identities in one
            message the first such is taken. Without it the best one is, and facts about tags that
            were not heard (absences, places) do not go on.
        guest: Whether it only listens beside a running agent: in a session of its own, which the
            broker forgets.

    Raises:
        AgentError: a topic has an unknown format, or a file cannot be read.
    """

    def __init__(
        self,
        options: MqttOptions,
        clock: Clock,
        name: str = "mqtt",
        *,
        courier: Courier | None = None,
        enrolled: Callable[[str], bool] | None = None,
        guest: bool = False,
    ) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.connected = self.subscribed = False
        self._options, self._clock = options, clock
        self._courier, self._enrolled, self._guest = courier, enrolled, guest
        try:
            self._router = Router([Rule(t.filter, t.format) for t in options.topics])
        except ValueError as error:
            raise AgentError(f"input {name}: {error}") from error
        self._waiting: deque[_Arrived] = deque()
        self._news = asyncio.Event()
        self._client = self._made()

    def _made(self) -> paho.Client:
        options = self._options
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id + (f"-{secrets.token_hex(4)}" if self._guest else ""),
            clean_session=self._guest,
            manual_ack=True,
        )
        try:
            if options.username is not None:
                file = options.password_file
                password = file.read_text("utf-8").strip() if file is not None else None
                client.username_pw_set(options.username, password)
            if options.ca_file is not None:
                client.tls_set_context(context_for_mqtt(options.ca_file))
        except (OSError, ValueError, ConfigError) as error:
            raise AgentError(
                f"input {self.name}: the password or CA file cannot be read: {error}"
            ) from error
        client.reconnect_delay_set(1, options.retry_most_s)
        return client

    async def run(self, ear: Ear) -> None:
        """Hear until cancelled; the network has a thread of its own.

        Raises:
            AgentError: the address of the broker cannot be used.
        """
        loop, client = asyncio.get_running_loop(), self._client
        client.on_connect_fail = self._on_connect_fail
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe

        def arrived(_client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
            self._arrive(loop, message)

        client.on_message = arrived
        try:
            client.connect_async(self._options.host, self._options.port, keepalive=30)
        except ValueError as error:
            raise AgentError(f"input {self.name}: {error}; correct host and port") from error
        client.loop_start()
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._waiting:
                    self._hand_on(self._waiting.popleft(), ear)
                    await asyncio.sleep(0)
        finally:
            client.disconnect()
            await loop.run_in_executor(None, client.loop_stop)

    def _on_connect_fail(self, _client: paho.Client, _userdata: Any) -> None:
        """Tell why there is no connection; paho calls this while it handles the exception."""
        error = sys.exception()
        if error is not None:
            cause = words_of(error, self._options.host, "ca_file of this input")
            log.warning("mqtt.out_of_reach", extra={"input": self.name, "cause": cause})

    def _on_connect(
        self, client: paho.Client, _userdata: Any, _flags: Any, reason: Any, *_: Any
    ) -> None:
        if reason.is_failure:
            self.counts["refused"] += 1
            log.error("mqtt.refused", extra={"input": self.name, "reason": str(reason)})
            return
        self.connected = True
        client.subscribe([(topic, 1) for topic in self._options.subscribe])
        log.info("mqtt.connected", extra={"input": self.name})

    def _on_disconnect(
        self, _client: paho.Client, _userdata: Any, _flags: Any, reason: Any, *_: Any
    ) -> None:
        self.connected = self.subscribed = False
        log.warning("mqtt.disconnected", extra={"input": self.name, "reason": str(reason)})

    def _on_subscribe(
        self, _client: paho.Client, _userdata: Any, _mid: int, reasons: Sequence[Any], *_: Any
    ) -> None:
        refused = sum(bool(reason.is_failure) for reason in reasons)
        self.subscribed = not refused
        if refused:
            self.counts["topic_refused"] += refused
            log.error("mqtt.topic_refused", extra={"input": self.name, "refused": refused})

    def _arrive(self, loop: asyncio.AbstractEventLoop, message: paho.MQTTMessage) -> None:
        """Take a message in the network's thread. What finds no room is not acknowledged."""
        if len(self._waiting) >= MOST_WAITING:
            self.counts["flooded"] += 1
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._client.ack(message.mid, message.qos)
            return
        one = _Arrived(topic, bytes(message.payload), message.retain, message.mid, message.qos)
        self._waiting.append(one)
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    def _hand_on(self, arrived: _Arrived, ear: Ear) -> None:
        self.counts["messages"] += 1
        heard = self.take(arrived.topic, arrived.payload, retained=arrived.retained)
        if heard:
            self.counts["sounds"] += len(heard)
            ear.hear(heard)
        if arrived.qos:
            self._client.ack(arrived.mid, arrived.qos)

    def take(
        self, topic: str, payload: bytes, *, retained: bool = False
    ) -> Sequence[Advert | Reading]:
        """Read one message, and hand it to the courier if it goes on unchanged.

        Args:
            topic: Where it was published.
            payload: Any bytes.
            retained: Whether the broker sent it from its store.

        Returns:
            What was heard.
        """
        levels = topic.split("/")
        if len(payload) > MOST_BYTES:
            self.counts["too_large"] += 1
            return []
        told = self._told(self._router.format_of(levels), levels, payload)
        self.counts.update(told.faults)
        if told.state or (told.about and not retained and self._any_enrolled(told.about)):
            self._pass_on(topic, payload, retained)
        elif told.about:
            self.counts["retained" if retained else "not_enrolled"] += 1
        if retained:
            self.counts["retained"] += len(told.sounds)
            return []
        return [heard for sound in told.sounds if (heard := self._heard(sound)) is not None]

    def _told(self, form: str | None, levels: Sequence[str], payload: bytes) -> Told:
        reader = READERS.get(form or "")
        if reader is not None:
            try:
                return reader(levels, payload)
            except UnreadableError as error:
                return Told(faults=Counter([error.reason]))
        if form == PASSED or (form == STRANGERS and self._options.pass_strangers):
            return Told(state=True)
        return Told(faults=Counter(["strangers" if form == STRANGERS else "unknown_topic"]))

    def _any_enrolled(self, identities: Sequence[str]) -> bool:
        return self._enrolled is not None and any(map(self._enrolled, identities))

    def _pass_on(self, topic: str, payload: bytes, retained: bool) -> None:
        if self._courier is None:
            self.counts["not_passed"] += 1
            return
        self.counts["passed"] += 1
        now, elapsed_s = self._clock.now(), self._clock.elapsed_s()
        self._courier.forward(Passing(topic, payload, now, elapsed_s, retained))

    def _heard(self, sound: Sound) -> Advert | Reading | None:
        candidates = sound.candidates
        if not candidates:
            self.counts["no_identity"] += 1
            return None
        at, elapsed_s = heard_at(sound.own, self._clock)
        tag = next(filter(self._enrolled or _everyone, candidates), candidates[-1])
        return sound.heard(at, elapsed_s, tag)

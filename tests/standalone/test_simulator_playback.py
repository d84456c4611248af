"""Playback: pacing, files, the API, a real broker, and the command."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

from tagtrail.embedded import Embedded
from tagtrail.simulator.cli import Targets, app, run
from tagtrail.simulator.options import formats_of, seconds, speed_of, start_of
from tagtrail.simulator.playback import FASTEST, play, start_for
from tagtrail.simulator.scenario import Scenario, f1, small
from tagtrail.simulator.sinks import FileSink, HttpSink, MqttSink
from tagtrail.simulator.transmission import Transmission
from tagtrail.simulator.wire import request_of
from tagtrail.simulator.world import World
from tagtrail_kernel.envelope import open_body
from tagtrail_kernel.errors import RejectedError, UnavailableError
from tagtrail_kernel.events.registry import REGISTRY

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Kept:
    """A sink that keeps everything, and a clock that moves only by waiting."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, Transmission]] = []
        self.now_s = 100.0
        self.stop_after_s = float("inf")

    def send(self, transmission: Transmission) -> None:
        self.taken.append((self.now_s, transmission))

    def close(self) -> None:
        """Nothing to let go."""

    def monotonic(self) -> float:
        return self.now_s


class Waiter(threading.Event):
    """A stop event whose waiting moves the clock instead of time."""

    def __init__(self, clock: Kept) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.now_s += timeout or 0.0
        if self._clock.now_s - 100.0 >= self._clock.stop_after_s:
            self.set()
        return self.is_set()


def brief(seconds_: float = 20.0) -> Scenario:
    return replace(small(), duration_s=seconds_)


@pytest.mark.parametrize("speed", [0.5, 1.0, 20.0])
def test_each_transmission_leaves_at_its_time_divided_by_the_speed(speed: float) -> None:
    sink = Kept()
    played = play(
        World(brief()).stream(), sink, speed=speed, stop=Waiter(sink), monotonic=sink.monotonic
    )

    assert played.transmissions == len(sink.taken) > 50
    assert all(at - 100.0 == pytest.approx(t.deliver_s / speed) for at, t in sink.taken)
    assert played.behind_s == pytest.approx(0.0, abs=1e-6)
    assert not played.stopped


def test_as_fast_as_possible_never_waits() -> None:
    sink = Kept()
    played = play(World(brief()).stream(), sink, speed=FASTEST, stop=Waiter(sink),
                  monotonic=sink.monotonic)  # fmt: skip

    assert sink.now_s == 100.0
    assert played.simulated_s >= 20.0


def test_a_stop_ends_the_playback_in_the_middle() -> None:
    sink = Kept()
    sink.stop_after_s = 5.0
    played = play(World(brief()).stream(), sink, stop=Waiter(sink), monotonic=sink.monotonic)

    assert played.stopped
    assert 4.0 < played.simulated_s <= 5.1


@pytest.mark.parametrize("speed", [1.0, 4.0, 60.0, FASTEST])
def test_an_automatic_start_never_puts_a_sighting_into_the_future(speed: float) -> None:
    start = start_for(NOW, 600.0, speed)
    for share in (0.0, 0.5, 1.0):
        simulated = start + timedelta(seconds=600.0 * share)
        wall = NOW + timedelta(seconds=600.0 * share / speed)
        assert simulated <= wall
    assert start_for(NOW, 600.0, 1.0) == NOW


def test_a_file_holds_every_transmission_with_topic_and_payload(tmp_path: Path) -> None:
    world = World(replace(brief(60.0), formats=("native", "espresense")))
    played = run(world, Targets(out=tmp_path / "out.jsonl"), speed=FASTEST)
    lines = [json.loads(x) for x in (tmp_path / "out.jsonl").read_bytes().splitlines()]

    assert len(lines) == played.transmissions
    kinds = {line["kind"] for line in lines}
    assert kinds == {"sightings", "status", "fact"}
    assert [x["deliver_at"] for x in lines] == sorted(x["deliver_at"] for x in lines)
    assert all(x["event"]["type"] in REGISTRY for x in lines if x["kind"] == "fact")
    assert {"online"} < {str(x.get("payload")) for x in lines if x["kind"] == "status"}


class Api:
    """An API that keeps what it is sent and fails as told."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.taken: list[tuple[str, bytes, str]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        status = self.answers.pop(0) if self.answers else 200
        if status < 400:
            key = request.headers["authorization"]
            self.taken.append((request.url.path, request.content, key))
        return httpx2.Response(status, json={"detail": "because"})


def test_registrations_and_facts_reach_the_api_as_events_with_the_key() -> None:
    api, world = Api(), World(brief(200.0))
    sink = HttpSink("http://api", "secret", facts_only=True, transport=httpx2.MockTransport(api))
    sink.register(world.registrations(), settle_s=0)
    for t in world.stream():
        sink.send(t)
    sink.close()

    events = [e for path, body, _ in api.taken for e in json.loads(body)["events"]]
    assert {path for path, _, _ in api.taken} == {"/v1/events"}
    assert {key for _, _, key in api.taken} == {"Bearer secret"}
    assert len(events) == len(world.registrations()) + len(world.facts())
    assert all(open_body(json.dumps(e).encode()) for e in events)


def test_sightings_reach_the_api_with_the_name_of_their_gateway() -> None:
    api, world = Api(), World(replace(brief(10.0), formats=("native", "minew", "ruuvi")))
    sink = HttpSink("http://api", "k", transport=httpx2.MockTransport(api))
    for t in world.stream():
        sink.send(t)
    sink.close()

    paths = {path for path, _, _ in api.taken}
    native = [json.loads(body) for path, body, _ in api.taken if path == "/v1/sightings"]
    assert {"/v1/sightings", "/v1/messages/minew", "/v1/messages/ruuvi"} <= paths
    assert {b["gateway_id"] for b in native} <= {g.wire_id for g in world.sites[0].gateways}
    assert all(b["sightings"] for b in native)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_api_may_be_away_for_a_moment(status: int) -> None:
    api, world = Api(status, status), World(brief(5.0))
    sink = HttpSink("http://api", "k", transport=httpx2.MockTransport(api))
    sink.register(world.registrations()[:10], settle_s=0)

    assert len(api.taken) == 1


def test_a_refusal_of_the_api_ends_the_run_with_its_reason() -> None:
    sink = HttpSink("http://api", "k", transport=httpx2.MockTransport(Api(403)))

    with pytest.raises(RejectedError, match=r"403.*because"):
        sink.register(World(brief(5.0)).registrations()[:1])


def test_messages_of_one_gateway_are_posted_in_their_order() -> None:
    api, world = Api(), World(brief(20.0))
    sink = HttpSink("http://api", "k", transport=httpx2.MockTransport(api))
    for t in world.stream():
        sink.send(t)
    sink.close()

    posted: dict[str, list[bytes]] = {}
    for path, body, _ in api.taken:
        if path == "/v1/sightings":
            posted.setdefault(json.loads(body)["gateway_id"], []).append(body)
    sent: dict[str, list[bytes]] = {}
    for t in World(brief(20.0)).stream():
        if t.kind == "sightings":
            request = request_of(t)
            assert request is not None
            sent.setdefault(t.gateway_id, []).append(request.body)
    assert posted == sent
    assert len(sent) == 12


def test_a_refusal_in_the_middle_of_a_run_ends_it() -> None:
    sink = HttpSink("http://api", "k", transport=httpx2.MockTransport(Api(200, 200, 422)))
    for t in World(brief(20.0)).stream():
        with contextlib.suppress(RejectedError):
            sink.send(t)

    with pytest.raises(RejectedError, match="422"):
        sink.close()


@pytest.mark.parametrize("form", ["espresense", "openmqttgateway"])
def test_formats_that_speak_only_mqtt_are_refused_over_http(form: str) -> None:
    world = World(replace(brief(5.0), formats=(form,)))  # type: ignore[arg-type]
    first = next(t for t in world.stream() if t.kind == "sightings")

    with pytest.raises(RejectedError, match="mqtt-url"):
        request_of(first)


@pytest.fixture
def subscriber(infra: Embedded) -> Iterator[list[tuple[str, bytes]]]:
    """What a subscriber to the native topics of the demo site receives."""
    parts = urlsplit(infra.mqtt_url)
    got: list[tuple[str, bytes]] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, "sim-test-subscriber")
    client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
    ready = threading.Event()
    client.on_message = lambda _c, _u, m: got.append((m.topic, bytes(m.payload)))
    client.on_subscribe = lambda *_: ready.set()
    client.connect(parts.hostname or "", parts.port or 0)
    client.subscribe("tagtrail/v1/demo/#", qos=1)
    client.loop_start()
    assert ready.wait(10)
    yield got
    client.disconnect()
    client.loop_stop()


def test_everything_that_gateways_send_arrives_at_a_real_broker(
    infra: Embedded, subscriber: list[tuple[str, bytes]]
) -> None:
    world = World(brief(30.0))
    sent = [t for t in world.stream() if t.topic]
    sink = MqttSink(infra.mqtt_url, client_id="sim-test")
    play(sent, sink, speed=FASTEST)
    sink.close()
    arrived = threading.Event()
    for _ in range(100):
        if len(subscriber) >= len(sent):
            break
        arrived.wait(0.1)

    assert sorted(subscriber) == sorted((t.topic, t.payload) for t in sent)


def test_a_broker_that_is_not_there_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
        MqttSink("mqtt://127.0.0.1:1")


def test_the_command_writes_messages_truth_and_a_summary(tmp_path: Path) -> None:
    arguments = [
        "--world", "f1", "--duration", "2m", "--start", "2026-03-02T07:00:00Z", "--json",
        "--format", "mixed", "--out", str(tmp_path / "out.jsonl"),
        "--truth", str(tmp_path / "truth.jsonl"), "--positions", "30",
        "--registrations", str(tmp_path / "registrations.jsonl"),
    ]  # fmt: skip
    result = CliRunner().invoke(
        app, arguments, env={"TAGTRAIL_MQTT_URL": "", "TAGTRAIL_API_URL": ""}
    )
    said = json.loads(result.stdout)
    truth = [json.loads(x) for x in (tmp_path / "truth.jsonl").read_bytes().splitlines()]

    assert result.exit_code == 0
    assert said["tags"] == 200
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == said["transmissions"]
    assert {"run", "gateway", "outage", "tag", "place", "position", "stock", "counts"} <= {
        line["kind"] for line in truth
    }
    assert truth[-1]["formats"] == said["sightings"]
    assert len((tmp_path / "registrations.jsonl").read_bytes().splitlines()) > 800


def test_the_truth_of_the_command_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        path = tmp_path / name
        CliRunner().invoke(
            app, ["--duration", "60s", "--start", "2026-03-02T07:00:00Z", "--truth", str(path)]
        )
        texts.append(path.read_bytes())

    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--world", "nonsense"], "f1"),
        (["--duration", "soon"], "30m"),
        (["--format", "smoke"], "espresense"),
        (["--start", "yesterday"], "2026-03-02T07:00:00Z"),
        (["--start", "2026-03-02T07:00:00"], "time zone"),
        (["--api-url", "http://127.0.0.1:1"], "TAGTRAIL_API_KEY"),
        (["--tags", "5000", "--duration", "10s"], "fewer tags"),
        (["--duration", "5s", "--out", "/nonexistent/x"], "/nonexistent/x"),
    ],
)
def test_wrong_input_ends_with_one_line_that_says_what_to_do(
    arguments: list[str], hint: str
) -> None:
    result = CliRunner().invoke(app, arguments, env={"TAGTRAIL_API_KEY": ""})

    assert result.exit_code == 2
    assert hint in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_lengths_speeds_starts_and_formats_are_read() -> None:
    assert [seconds(t) for t in ("90", "1.5s", "30m", "8h", "1d")] == [90, 1.5, 1800, 28800, 86400]
    assert speed_of("max") == FASTEST
    assert speed_of("60") == 60.0
    assert formats_of("ruuvi, native") == ("ruuvi", "native")
    assert start_of("now", 100.0, 10.0, NOW) == NOW
    assert start_of("auto", 100.0, 10.0, NOW) == NOW - timedelta(seconds=90)
    assert start_of("2026-03-02T08:00:00+01:00", 1, 1, NOW) == f1().start_at
    for bad in ("0", "-1", "fast", "nan", "inf"):
        with pytest.raises(RejectedError):
            speed_of(bad)


def test_a_file_sink_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    FileSink(path, NOW).close()

    assert path.read_text() == ""

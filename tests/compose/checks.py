"""What must hold of the composed containers. A check's name is the sentence that is printed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from tests.compose.running import CommandError, say
from tests.compose.stack import Cards, Container, Stack
from tests.support.e2e_scenario import SITE, eventually, mac_of, run_scenario, whole_log
from tests.support.publishing import Publisher

from tagtrail_kernel.clock import SystemClock, TimeOrderedIds

SECRETS: Final = (
    "postgres_password", "database_password", "broker_password", "gateway_password",
    "service_key", "channel_secret",
)  # fmt: skip
PAUSE_S: Final = 0.02
ARRIVAL_S: Final = 60.0
TAG: Final = mac_of("crate-store")


@dataclass(slots=True)
class Case:
    """What the checks share.

    Attributes:
        stack: The containers.
        key: An administrator's key.
    """

    stack: Stack
    key: str

    @contextlib.asynccontextmanager
    async def api(self) -> AsyncIterator[httpx2.AsyncClient]:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as client:
            yield client


@dataclass(slots=True)
class Traffic:
    """Gateways that keep sending while something is done to the containers.

    Attributes:
        mqtt: Ids of sightings that the broker acknowledged.
        http: Ids of sightings that a replica of ingest acknowledged.
        refused: Number of HTTP requests that had to be sent again.
    """

    case: Case
    mqtt: set[str] = field(default_factory=set)
    http: set[str] = field(default_factory=set)
    refused: int = 0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _ids: TimeOrderedIds = field(default_factory=lambda: TimeOrderedIds(SystemClock()))

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Send over MQTT and HTTP; afterwards wait until everything sent was acknowledged."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._over_mqtt())
            group.create_task(self._over_http())
            try:
                yield
            finally:
                self._stop.set()

    def _item(self) -> dict[str, Any]:
        now = SystemClock().now().isoformat()
        return {"id": str(self._ids.new()), "tag": f"mac:{TAG}", "at": now, "rssi_dbm": -60.0}

    async def _over_mqtt(self) -> None:
        topic = f"tagtrail/v1/{SITE}/gw-store/sightings"
        async with Publisher(self.case.stack.mqtt_url(), "compose-gateway").connected() as broker:
            while not self._stop.is_set():
                item = self._item()
                await broker.publish(topic, json.dumps({"sightings": [item]}).encode(), ARRIVAL_S)
                self.mqtt.add(item["id"])
                await asyncio.sleep(PAUSE_S)

    async def _over_http(self) -> None:
        urls = await asyncio.to_thread(lambda: self.case.stack.urls().ingest)
        turn = 0
        async with self.case.api() as api:
            while not self._stop.is_set():
                item, acknowledged = self._item(), False
                while not acknowledged:
                    turn += 1
                    acknowledged = await self._post(api, urls[turn % len(urls)], item)
                    self.refused += not acknowledged
                self.http.add(item["id"])
                await asyncio.sleep(PAUSE_S)

    async def _post(self, api: httpx2.AsyncClient, url: str, item: dict[str, Any]) -> bool:
        body = {"gateway_id": "gw-store", "sightings": [item]}
        try:
            reply = await api.post(f"{url}/v1/sightings", json=body, timeout=5)
        except httpx2.HTTPError:
            await asyncio.sleep(0.2)
            return False
        if not reply.is_success:
            await asyncio.sleep(0.2)
            return False
        return bool(reply.json()["accepted"] + reply.json()["duplicates"])

    async def judge(self) -> None:
        """Every acknowledged sighting is in the log exactly once; positions are dense."""
        url = self.case.stack.urls().ingest[0]
        sent = self.mqtt | self.http
        assert len(self.mqtt) > 20, "too few messages to prove anything"
        assert len(self.http) > 20, "too few requests to prove anything"
        async with self.case.api() as api:

            async def arrived() -> bool:
                events = await whole_log(api, url, "tag.sighted")
                return sent <= {event["id"] for event in events}

            await eventually(arrived, "all acknowledged sightings are in the log", ARRIVAL_S)
            events = await whole_log(api, url)
        assert [e["position"] for e in events] == list(range(1, len(events) + 1))
        assert max(Counter(e["id"] for e in events).values()) == 1
        say(f"  {len(self.mqtt)} by MQTT, {len(self.http)} by HTTP, {self.refused} sent again")


def status_of(container: Container) -> dict[str, str]:
    """Return what the kernel says of a container's main process."""
    lines = Path(f"/proc/{container.pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


async def no_process_of_a_container_runs_as_root(case: Case) -> None:
    for container in case.stack.containers():
        rows = case.stack.docker("top", container.name, "-eo", "uid,pid").splitlines()[1:]
        assert rows, container.name
        assert all(int(row.split()[0]) > 0 for row in rows), (container.name, rows)


async def containers_have_no_capabilities_and_cannot_gain_any(case: Case) -> None:
    for container in case.stack.containers():
        status = status_of(container)
        for kind in ("CapEff", "CapPrm", "CapBnd"):
            assert int(status[kind], 16) == 0, (container.name, kind, status[kind])
        assert status["NoNewPrivs"] == "1", container.name
        assert int(status["Seccomp"]) > 0, container.name


async def root_file_systems_are_read_only_and_resources_are_limited(case: Case) -> None:
    for container in case.stack.containers():
        host = container.host
        assert host["ReadonlyRootfs"], container.name
        assert not host["Privileged"], container.name
        for limit in ("Memory", "NanoCpus", "PidsLimit"):
            assert host[limit] > 0, (container.name, limit)


async def postgres_is_reached_from_the_inner_network_only(case: Case) -> None:
    (postgres,) = case.stack.containers("postgres")
    networks = list(postgres.detail["NetworkSettings"]["Networks"])
    (detail,) = json.loads(case.stack.docker("network", "inspect", *networks))

    assert detail["Internal"]
    assert not postgres.ports


async def the_services_role_is_no_superuser_and_writes_are_durable(case: Case) -> None:
    (postgres,) = case.stack.containers("postgres")

    def value(query: str) -> str:
        words = ["psql", "--username=postgres", "--dbname=tagtrail", "--tuples-only", "--no-align"]
        return case.stack.docker("exec", postgres.name, *words, f"--command={query}").strip()

    assert value("select rolsuper from pg_roles where rolname = 'tagtrail'") == "f"
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert value(f"show {setting}") == "on", setting
    assert value("show server_version").startswith("18.")


async def no_secret_is_in_the_environment_or_in_the_logs(case: Case) -> None:
    secrets = {name: case.stack.secret(name) for name in SECRETS} | {"key": case.key}
    ids = [container.detail["Id"] for container in case.stack.containers(ended=True)]
    shown = case.stack.docker("inspect", *ids) + case.stack.compose("logs", "--no-color")

    assert [name for name, value in secrets.items() if value in shown] == []


async def the_broker_refuses_who_does_not_sign_in(case: Case) -> None:
    (broker,) = case.stack.containers("nats")
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.ports[0])
    body = b"\x00\x04MQTT\x04\x02\x00\x0a\x00\x05guest"
    writer.write(b"\x10" + bytes([len(body)]) + body)
    answer = await asyncio.wait_for(reader.read(4), 10)
    writer.close()

    assert answer in (b"", b"\x20\x02\x00\x05"), answer


async def a_day_passes_from_a_gateways_message_to_stock_by_zone_and_an_alert(case: Case) -> None:
    urls = case.stack.urls()
    await run_scenario(urls, case.key, case.stack.mqtt_url(), Cards(case.stack))


async def the_console_signs_in_and_shows_the_services(case: Case) -> None:
    url = case.stack.urls().console
    link = case.stack.tagtrail("keys", "sign-in-link", "--url", url).strip()
    address, _, code = link.partition("?code=")
    async with httpx2.AsyncClient(timeout=20) as browser:
        assert (await browser.get(link)).status_code == 200
        entered = await browser.post(address, data={"code": code})
        assert entered.status_code == 303, entered.text
        for path in ("places", "stock", "alerts", "events?limit=1"):
            reply = await browser.get(f"{url}/console/api/v1/{path}")
            assert reply.status_code == 200, (path, reply.text)
            assert reply.json()["items"], path


async def every_projection_equals_its_rebuild(case: Case) -> None:
    results = json.loads(case.stack.tagtrail("rebuild", "--json"))

    assert {r["projection"] for r in results} >= {"locate.places", "inventory.books"}
    assert all(r["equal"] for r in results), results


async def set_up_again_changes_nothing(case: Case) -> None:
    printed = case.stack.compose("run", "--rm", "-T", "setup")

    assert "the key is stored already" in printed


async def a_killed_replica_of_ingest_loses_nothing_and_comes_back(case: Case) -> None:
    """Kills each of the two, so one of them held the broker's session."""
    traffic = Traffic(case)
    victims = [c.name for c in case.stack.containers("ingest")]
    assert len(victims) == 2
    async with traffic.flowing():
        for name in victims:
            await asyncio.sleep(2)
            (victim,) = [c for c in case.stack.containers("ingest") if c.name == name]
            os.kill(victim.pid, signal.SIGKILL)
            await asyncio.sleep(8)
            await case.stack.healthy()

    assert all(c.detail["RestartCount"] == 1 for c in case.stack.containers("ingest"))
    await traffic.judge()


async def the_data_outlive_new_containers_of_postgres_and_nats(case: Case) -> None:
    """As an upgrade does it: new containers on the same volumes, while gateways send."""
    before = {c.name: c.detail["Id"] for c in case.stack.containers("postgres", "nats")}
    traffic = Traffic(case)
    async with traffic.flowing():
        await asyncio.sleep(2)
        words = [
            "up",
            "--detach",
            "--no-build",
            "--no-deps",
            "--force-recreate",
            "postgres",
            "nats",
        ]
        await asyncio.to_thread(case.stack.compose, *words)
        await case.stack.healthy()

    after = {c.name: c.detail["Id"] for c in case.stack.containers("postgres", "nats")}
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    await traffic.judge()


async def a_backup_restores_into_an_empty_volume(case: Case) -> None:
    """With the commands of docs/deployment.md; the second server has no network at all."""
    stack, (postgres,) = case.stack, case.stack.containers("postgres")
    dump = stack.stage / "backup.sql"
    dump.write_text(stack.docker("exec", postgres.name, "pg_dumpall", "--username=postgres"))
    dump.chmod(0o444)
    env = [word for text in postgres.detail["Config"]["Env"] for word in ("--env", text)]
    files = {f"{stack.stage}/infra/secrets/{name}": f"/run/secrets/{name}"
             for name in ("postgres_password", "database_password")}  # fmt: skip
    files[str(dump)] = "/backup.sql"
    mounts = [word for pair in files.items() for word in ("--volume", ":".join((*pair, "ro")))]
    image = postgres.detail["Config"]["Image"]
    name = stack.docker("run", "--detach", "--rm", "--network=none", *env, *mounts, image).strip()
    try:
        ready = ("exec", name, "pg_isready", "--quiet", "--host=127.0.0.1")
        await eventually(lambda: succeeds(stack, *ready), "the second server answers", 60)
        psql = ("psql", "--username=postgres", "--quiet", "--tuples-only", "--no-align")
        stack.docker("exec", name, *psql, "--dbname=postgres", "--file=/backup.sql")
        query = "--command=select count(*), max(position), md5(string_agg(body::text, '' order by position)) from log.event"
        there = stack.docker("exec", name, *psql, "--dbname=tagtrail", query)
        here = stack.docker("exec", postgres.name, *psql, "--dbname=tagtrail", query)
    finally:
        stack.docker("rm", "--force", "--volumes", name)

    assert int(here.split("|")[0]) > 100
    assert there == here


async def succeeds(stack: Stack, *words: str) -> bool:
    try:
        await asyncio.to_thread(stack.docker, *words)
    except CommandError:
        return False
    return True


CHECKS: Final[tuple[Callable[[Case], Awaitable[None]], ...]] = (
    no_process_of_a_container_runs_as_root,
    containers_have_no_capabilities_and_cannot_gain_any,
    root_file_systems_are_read_only_and_resources_are_limited,
    postgres_is_reached_from_the_inner_network_only,
    the_services_role_is_no_superuser_and_writes_are_durable,
    the_broker_refuses_who_does_not_sign_in,
    a_day_passes_from_a_gateways_message_to_stock_by_zone_and_an_alert,
    the_console_signs_in_and_shows_the_services,
    a_killed_replica_of_ingest_loses_nothing_and_comes_back,
    the_data_outlive_new_containers_of_postgres_and_nats,
    every_projection_equals_its_rebuild,
    set_up_again_changes_nothing,
    a_backup_restores_into_an_empty_volume,
    no_secret_is_in_the_environment_or_in_the_logs,
)
"""In this order: the day wants an empty log, and the later ones look at what it left."""

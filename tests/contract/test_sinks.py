"""Services reach ingest in the same process or over HTTP, and cannot tell the difference."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
import pytest_asyncio
from tests.support.all_in_one import Running
from tests.support.serving import settings_for

from tagtrail_kernel.access_stores import PostgresAccess
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import seal
from tagtrail_kernel.errors import RejectedError, UnavailableError
from tagtrail_kernel.sinks import REQUEST_BYTES, REQUEST_FACTS, DirectSink, HttpSink, _requests
from tagtrail_kernel.testing.sink_contract import EventSinkContract, moved

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return itertools.count()


@pytest_asyncio.fixture(loop_scope="module")
async def logs(running: Running, numbers: Iterator[int]) -> tuple[int, int]:
    """Logs of two tenants that were just made."""
    database = Database(running.database_url, schema="access", max_size=1)
    await database.open()
    access = PostgresAccess(database)
    made = [await access.add_tenant(f"sink-{next(numbers)}", "Sink") for _ in range(2)]
    await database.close()
    return made[0].log_id, made[1].log_id


@pytest_asyncio.fixture(loop_scope="module")
async def event_log(running: Running) -> AsyncIterator[PostgresLog]:
    pool = LogPool(running.database_url, max_size=1)
    await pool.open()
    yield PostgresLog(pool)
    await pool.close()


class TestDirectSink(EventSinkContract):
    @pytest.fixture
    def sink(self, running: Running) -> DirectSink:
        assert isinstance(running.deps.sink, DirectSink)
        return running.deps.sink


class TestHttpSink(EventSinkContract):
    @pytest_asyncio.fixture(loop_scope="module")
    async def sink(self, running: Running) -> AsyncIterator[HttpSink]:
        async with httpx2.AsyncClient() as http:
            yield HttpSink(http, running.url + "/", running.service)


async def test_before_ingest_has_started_nothing_is_taken() -> None:
    with pytest.raises(UnavailableError, match="not started"):
        await DirectSink().publish(1, [moved(1)])


async def test_an_ingest_that_is_out_of_reach_is_an_outage(unused_url: str) -> None:
    async with httpx2.AsyncClient() as http:
        with pytest.raises(UnavailableError, match="out of reach: ConnectError"):
            await HttpSink(http, unused_url, "tt_x").publish(1, [moved(1)])


@pytest.fixture
def unused_url() -> str:
    return "http://127.0.0.1:9"


@pytest.mark.parametrize("key", ["gateway", "wrong"])
async def test_a_key_that_ingest_does_not_accept_blames_the_setting_and_no_fact(
    running: Running, key: str
) -> None:
    text = running.gateway if key == "gateway" else "tt_wrong"
    async with httpx2.AsyncClient() as http:
        with pytest.raises(UnavailableError, match="TAGTRAIL_SERVICE_KEY"):
            await HttpSink(http, running.url, text).publish(1, [moved(1)])


@pytest.mark.parametrize("log_id", [0, 99_999])
async def test_a_tenant_that_does_not_exist_gets_no_facts(running: Running, log_id: int) -> None:
    async with httpx2.AsyncClient() as http:
        with pytest.raises(UnavailableError):
            await HttpSink(http, running.url, running.service).publish(log_id, [moved(1)])


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RejectedError), (413, RejectedError), (422, RejectedError), (401, UnavailableError),
     (403, UnavailableError), (404, UnavailableError), (409, UnavailableError),
     (429, UnavailableError), (500, UnavailableError), (503, UnavailableError)],
)  # fmt: skip
async def test_only_an_answer_about_the_facts_is_a_refusal(
    status: int, error: type[Exception]
) -> None:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, text="no"))
    async with httpx2.AsyncClient(transport=transport) as http:
        with pytest.raises(error):
            await HttpSink(http, "http://ingest", "tt_x").publish(1, [moved(1)])


async def test_facts_are_cut_into_requests_by_number_and_by_size() -> None:
    small = [b"x"] * (2 * REQUEST_FACTS + 1)
    large = [b"x" * 60_000] * 100

    assert [len(r) for r in _requests(small)] == [REQUEST_FACTS, REQUEST_FACTS, 1]
    assert [r for part in _requests(large) for r in part] == large
    assert all(sum(map(len, part)) <= REQUEST_BYTES for part in _requests(large))
    assert len(list(_requests(large))) == 2
    assert [list(r) for r in _requests([b"x" * (REQUEST_BYTES + 1), b"y"])] == [
        [b"x" * (REQUEST_BYTES + 1)], [b"y"],
    ]  # fmt: skip


async def test_a_request_fits_what_ingest_accepts() -> None:
    body = len(seal(moved(1)).body) * REQUEST_FACTS

    assert max(body, REQUEST_BYTES + 65_535) < settings_for("x").max_body_bytes

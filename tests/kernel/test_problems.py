"""Problems: every error is one, says where and what to do, and is found again by its trace id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import asyncpg
import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect
from tests.support.modules import import_all
from tests.support.problems_doc import ADVICE, DOC, OTHERS, page
from tests.support.serving import served

from tagtrail_kernel import errors
from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.errors import DomainError
from tagtrail_kernel.logs import JsonFormatter, trace_id
from tagtrail_kernel.middleware import WINDOW_S
from tagtrail_kernel.openapi import problem_codes
from tagtrail_kernel.settings import KernelSettings
from tagtrail_kernel.testing.deps import service_deps
from tagtrail_kernel.wiring import Deps, Service, app_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Item(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    count: int
    names: list[str] = []


def router_of(deps: Deps) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.post("/items")
    async def make_item(body: Item) -> Item:
        return body

    @router.get("/items")
    async def list_items(limit: Annotated[int, Query(le=10)] = 5) -> dict[str, int]:
        return {"limit": limit}

    @router.get("/fault")
    async def fault() -> None:
        raise ZeroDivisionError("a bug")

    @router.get("/unstorable")
    async def unstorable(text: str) -> None:
        raise asyncpg.CharacterNotInRepertoireError("invalid byte sequence")

    @router.post("/gone")
    async def gone() -> None:
        raise ClientDisconnect

    @router.get("/errors/{name}")
    async def fail(name: str) -> None:
        raise vars(errors)[name]("a sentence", answer=42, retry_after_s=7)

    @router.get("/trace")
    async def trace(who: Annotated[Principal, Depends(requires("events:read"))]) -> dict[str, str]:
        logging.getLogger("probe").info("probe.asked", extra={"key_id": who.key_id})
        return {"trace": trace_id.get() or ""}

    return router


@contextlib.asynccontextmanager
async def app(probe_url: str, **settings: Any) -> AsyncIterator[tuple[FastAPI, str]]:
    async with service_deps(probe_url) as (deps, key):
        own = KernelSettings(database_url=probe_url, **({"requests_per_s": 1000.0} | settings))
        object.__setattr__(deps, "settings", own)
        yield app_of(deps, Service("probe", router_of(deps))), key


@pytest.fixture
async def http(probe_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with app(probe_url) as (made, key), client(made, key) as lent:
        yield lent


def client(app: FastAPI, key: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url="http://t",
        headers={"Authorization": f"Bearer {key}"},
    )


def checked(reply: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check what all problems share; returns the members."""
    body: dict[str, Any] = reply.json()
    assert reply.status_code == status, body
    assert reply.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"/problems/{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == reply.request.url.raw_path.decode().partition("?")[0]
    return body


def test_the_page_of_problems_is_what_the_errors_say() -> None:
    assert DOC.read_text(encoding="utf-8") == page(), "run `python -m tests.support.problems_doc`"


def test_every_error_has_advice_and_no_advice_is_left_over() -> None:
    import_all()

    assert set(ADVICE) == set(problem_codes())
    assert set(ADVICE).isdisjoint(code for code, *_ in OTHERS)


def test_a_code_belongs_to_one_class() -> None:
    import_all()
    owners: dict[str, list[str]] = {}
    waiting: list[type[DomainError]] = [DomainError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if "code" in vars(error):
            owners.setdefault(error.code, []).append(error.__name__)

    assert {code: names for code, names in owners.items() if len(names) > 1} == {}


@pytest.mark.parametrize(
    "cls", [c for c in vars(errors).values() if isinstance(c, type) and "code" in vars(c)]
)
async def test_every_expected_error_becomes_its_problem(
    http: httpx2.AsyncClient, cls: type[DomainError]
) -> None:
    reply = await http.get(f"/v1/errors/{cls.__name__}")

    body = checked(reply, cls.status, cls.code)
    assert (body["title"], body["detail"], body["answer"]) == (cls.title, "a sentence", 42)
    assert reply.headers.get("retry-after") == ("7" if cls.status == 429 else None)
    assert ("www-authenticate" in reply.headers) == (cls.status == 401)


async def test_a_body_that_does_not_fit_names_every_place(http: httpx2.AsyncClient) -> None:
    reply = await http.post("/v1/items", json={"count": "3", "names": ["a", 2], "a/b~c": 1})

    body = checked(reply, 422, "invalid-request")
    assert {(e["pointer"], e["in"]) for e in body["errors"]} == {
        ("#/count", "body"), ("#/names/1", "body"), ("#/a~1b~0c", "body"),
    }  # fmt: skip
    assert "#/count" in body["detail"]


async def test_a_parameter_that_does_not_fit_says_that_it_is_one(http: httpx2.AsyncClient) -> None:
    reply = await http.get("/v1/items", params={"limit": 11})

    [error] = checked(reply, 422, "invalid-request")["errors"]
    assert (error["pointer"], error["in"]) == ("#/limit", "query")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"[]", b'"\\ud800"'])
async def test_a_body_that_is_no_object_is_a_problem(http: httpx2.AsyncClient, body: bytes) -> None:
    reply = await http.post("/v1/items", content=body, headers={"Content-Type": "application/json"})

    assert reply.status_code in (400, 422)
    checked(reply, reply.status_code, reply.json()["type"].rpartition("/")[2])


async def test_a_name_with_a_lone_surrogate_is_a_problem_and_no_fault(
    http: httpx2.AsyncClient,
) -> None:
    reply = await http.post(
        "/v1/items",
        content=b'{"count":1,"\\ud800":1}',
        headers={"Content-Type": "application/json"},
    )

    checked(reply, 422, "invalid-request")


async def test_a_body_nested_without_end_is_a_problem_and_no_fault(
    http: httpx2.AsyncClient,
) -> None:
    reply = await http.post(
        "/v1/items", content=b"[" * 100_000, headers={"Content-Type": "application/json"}
    )

    assert reply.status_code in (400, 422)


async def test_an_unknown_path_and_an_unknown_method_are_problems(http: httpx2.AsyncClient) -> None:
    checked(await http.get("/v1/nowhere"), 404, "not-found")
    reply = await http.delete("/v1/items")
    checked(reply, 405, "method-not-allowed")

    assert "GET" in reply.headers["allow"] or "POST" in reply.headers["allow"]


async def test_a_value_that_no_column_holds_is_the_requests_fault(http: httpx2.AsyncClient) -> None:
    checked(await http.get("/v1/unstorable", params={"text": "\x00"}), 422, "rejected")


async def test_a_fault_answers_with_its_trace_id_and_logs_it_once(
    http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await http.get("/v1/fault", headers={"X-Request-Id": "fault-0001"})

    body = checked(reply, 500, "internal")
    assert reply.headers["x-request-id"] == "fault-0001"
    assert "ZeroDivision" not in str(body)
    faults = [r for r in caplog.records if r.getMessage() == "request.failed"]
    assert len(faults) == 1
    assert faults[0].exc_info is not None


async def test_a_sender_who_goes_away_is_no_fault(
    http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with contextlib.suppress(
        AssertionError
    ):  # the transport wants an answer; there is nobody to get one
        await http.post("/v1/gone")

    assert [r.getMessage() for r in caplog.records if r.name.startswith("tagtrail")] == [
        "request.abandoned"
    ]
    metrics = (await http.get("/metrics")).text
    assert (
        'tagtrail_http_requests_total{method="POST",route="/v1/gone",status="499"} 1.0' in metrics
    )


async def test_a_body_at_the_limit_is_read_and_one_above_it_is_413(probe_url: str) -> None:
    async with app(probe_url, max_body_bytes=2048) as (made, key), client(made, key) as http:
        head = {"Content-Type": "application/json"}
        fits = json.dumps({"count": 1}).ljust(2048).encode()

        at_the_limit = await http.post("/v1/items", content=fits, headers=head)
        above = await http.post("/v1/items", content=fits + b" ", headers=head)

    assert at_the_limit.status_code == 200
    checked(above, 413, "too-large")


async def test_a_body_without_a_length_is_cut_off_at_the_limit(probe_url: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 1024
            yield b" " * 1024

    async with app(probe_url, max_body_bytes=65_536) as (made, key), served(made) as url:
        async with httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {key}"}
        ) as http:
            reply = await http.post("/v1/items", content=endless())

    checked(reply, 413, "too-large")


async def test_too_many_requests_of_one_key_are_429_until_the_window_has_passed(
    probe_url: str,
) -> None:
    async with app(probe_url, requests_per_s=1.0) as (made, key), client(made, key) as http:
        replies = [await http.get("/v1/items") for _ in range(WINDOW_S + 3)]
        another = await http.get("/v1/items", headers={"Authorization": "Bearer tt_other"})
        health = await http.get("/healthz")

    assert [r.status_code for r in replies] == [200] * WINDOW_S + [429] * 3
    assert 1 <= int(replies[-1].headers["retry-after"]) <= WINDOW_S
    checked(replies[-1], 429, "rate-limited")
    assert (another.status_code, health.status_code) == (200, 200)


@pytest.mark.parametrize(
    ("headers", "trace"),
    [({"traceparent": PARENT}, TRACE), ({"X-Request-Id": "order-4711"}, "order-4711"),
     ({"traceparent": PARENT, "X-Request-Id": "order-4711"}, TRACE)],
)  # fmt: skip
async def test_the_senders_trace_id_is_kept(
    http: httpx2.AsyncClient, headers: dict[str, str], trace: str
) -> None:
    reply = await http.get("/v1/trace", headers=headers)

    assert reply.headers["x-request-id"] == trace
    assert reply.json() == {"trace": trace}


@pytest.mark.parametrize(
    "given", ["", "short", "x" * 65, "white space", "brace{}brace", "uml\xe4ut-uml\xe4ut"]
)
async def test_a_trace_id_that_could_do_harm_is_replaced(
    http: httpx2.AsyncClient, given: str
) -> None:
    reply = await http.get("/v1/trace", headers={b"X-Request-Id": given.encode("latin-1")})

    assert reply.headers["x-request-id"] != given
    assert len(reply.headers["x-request-id"]) == 32


async def test_requests_do_not_mix_their_trace_ids(http: httpx2.AsyncClient) -> None:
    replies = await asyncio.gather(
        *(http.get("/v1/trace", headers={"X-Request-Id": f"request-{n}"}) for n in range(20))
    )

    assert [r.json()["trace"] for r in replies] == [f"request-{n}" for n in range(20)]
    assert trace_id.get() is None


async def test_metrics_name_the_route_and_not_the_path(http: httpx2.AsyncClient) -> None:
    await http.get("/v1/errors/NotFoundError")
    await http.get("/v1/nowhere/at/all")

    metrics = (await http.get("/metrics")).text
    assert 'route="/v1/errors/{name}",status="404"} 1.0' in metrics
    assert 'route="unmatched",status="404"} 1.0' in metrics
    assert "nowhere" not in metrics


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Collect everything that is logged, from DEBUG on, as the lines that a process would write."""
    written: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Collector()
    handler.setFormatter(JsonFormatter("probe"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in written]
    root.removeHandler(handler)
    root.setLevel(level)


async def test_log_lines_are_json_with_the_requests_trace_id_and_never_hold_a_key(
    probe_url: str, lines: Lines
) -> None:
    async with app(probe_url) as (made, key), served(made) as url:
        async with httpx2.AsyncClient(base_url=url) as http:
            head = {"Authorization": f"Bearer {key}", "X-Request-Id": "request-42"}
            await http.get("/v1/trace", headers=head)
            await http.get("/v1/fault", headers=head)
            await http.get("/v1/errors/ConflictError", headers=head)
            await http.get("/v1/trace", headers=head | {"Authorization": f"Bearer {key[:-2]}xx"})

    written = lines()
    by_event = {line["event"]: line for line in written}
    assert by_event["probe.asked"] == by_event["probe.asked"] | {
        "level": "info", "service": "probe", "trace_id": "request-42", "key_id": key.split("_")[1],
    }  # fmt: skip
    assert by_event["request.failed"]["trace_id"] == "request-42"
    assert "ZeroDivisionError" in by_event["request.failed"]["exc"]
    assert by_event["request.rejected"]["trace_id"] == "request-42"
    assert all(line["ts"].endswith("+00:00") for line in written)
    secret = key.split("_", 2)[2][:-2]
    assert not [line for line in written if secret in json.dumps(line)]
    assert not [line for line in written if "authorization" in json.dumps(line).lower()]


@pytest.mark.parametrize(
    "odd",
    [2**70, "\ud800", {1: 2}, {"a": object()}, b"\xff", float("nan"), {3, 4}, {(1, 2): 2**70}],
)
def test_a_log_line_is_json_whatever_is_put_into_it(odd: object) -> None:
    record = logging.makeLogRecord({"msg": "odd.found", "levelname": "INFO", "odd": odd})

    line = JsonFormatter("probe").format(record)

    assert "\n" not in line
    assert json.loads(line)["event"] == "odd.found"
    line.encode()


def test_extra_members_cannot_hide_the_lines_own() -> None:
    record = logging.makeLogRecord({"msg": "odd.found", "levelname": "INFO", "level": "x", "ts": 1})

    line = json.loads(JsonFormatter("probe").format(record))

    assert (line["level"], line["event"]) == ("info", "odd.found")
    assert str(line["ts"]).startswith("1970") or "T" in str(line["ts"])

"""Requests that the description allows, and some that it does not: never a fault (REQUIREMENTS S21)."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import FailedHealthCheck, Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from tests.support.all_in_one import Running
from tests.support.api_docs import openapi

from tagtrail_kernel.openapi import PROBLEM

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
EXAMPLES: Final = 3
"""Requests of each kind for each operation."""

IGNORED_CHECKS: Final = [h for h in HealthCheck if h is not HealthCheck.filter_too_much]
"""The one that is left ends the search of a request after 50 vain attempts, not after 459: nothing
can be wrong about some operations, and looking for it took most of the time."""

SEED: Final = 20_261_124
_problem = Draft202012Validator(PROBLEM)


@dataclass
class Findings:
    """What was found.

    Attributes:
        asked: Requests by status.
        wrong: Answers that break a promise, with the request that gave them.
    """

    asked: Counter[int] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)


def judged(name: str, case: Any, reply: Any, declared: dict[str, Any], findings: Findings) -> None:
    """Note what is wrong with an answer: a fault, no problem document, or an undeclared status."""
    status, kind = reply.status_code, reply.headers.get("content-type", [""])[0]
    findings.asked[status] += 1
    complaint = None
    if status >= 500:
        complaint = "a fault"
    elif status >= 400:
        try:
            body = json.loads(reply.content)
        except ValueError:
            body = None
        if kind != "application/problem+json" or not _problem.is_valid(body):
            complaint = "no problem document"
        elif body["status"] != status:
            complaint = "another status in the body"
    if complaint is None and str(status) not in declared and status not in (400, 404, 405, 415):
        complaint = "a status that is not declared"
    if complaint is not None:
        request = f"{case.as_curl_command()}\n  -> {status} {reply.content[:400]!r}"
        findings.wrong.setdefault(f"{name}: {complaint} ({status})", request)


def fuzzed(url: str, key: str, findings: Findings) -> None:
    """Ask every operation; runs in a thread of its own."""
    document = openapi()
    schema = schemathesis.openapi.from_dict(without_keys(document))
    headers = {"Authorization": f"Bearer {key}"}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        name = f"{operation.method.upper()} {operation.path}"
        if operation.path.endswith("/stream"):
            continue
        declared = document["paths"][operation.path][operation.method]["responses"]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            ask(operation, mode, name, url, headers, declared, findings)


def without_keys(document: dict[str, Any]) -> dict[str, Any]:
    """Return the description without keys: else some requests come with an invented one."""
    bare = copy.deepcopy(document)
    del bare["components"]["securitySchemes"]
    for item in bare["paths"].values():
        for operation in item.values():
            operation.pop("security", None)
    return bare


def ask(
    operation: Any, mode: GenerationMode, name: str, url: str, headers: dict[str, str],
    declared: dict[str, Any], findings: Findings,
) -> None:  # fmt: skip
    """Ask one operation several times."""

    @seeded(SEED)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        verbosity=Verbosity.quiet, suppress_health_check=IGNORED_CHECKS,
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        reply = case.call(base_url=url, headers=headers, timeout=20)
        judged(name, case, reply, declared, findings)

    with contextlib.suppress(Unsatisfiable, FailedHealthCheck):
        one()


async def test_s21_no_request_makes_a_fault_and_every_error_is_a_problem(running: Running) -> None:
    findings = Findings()

    await asyncio.to_thread(fuzzed, running.url, running.blue, findings)

    total = sum(findings.asked.values())
    report = "\n".join(f"{name}\n  {request}" for name, request in findings.wrong.items())
    print(f"{total} requests, by status {dict(sorted(findings.asked.items()))}")  # noqa: T201 - figures of the run
    assert not report, f"\n{report}"
    assert total > 800
    assert findings.asked[200] + findings.asked[201] > 30

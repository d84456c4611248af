"""HTTP: rules, their parameters, and what they would have done."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from tagtrail_alerts import views
from tagtrail_alerts.acting import Acting
from tagtrail_alerts.core.backtest import Backtest, WouldFire
from tagtrail_alerts.core.parameters import RULES, parameters_of, values_of
from tagtrail_alerts.models import BacktestBody, RuleBody
from tagtrail_alerts.projection import NAME, Alerts
from tagtrail_alerts.replies import (
    NOT_FOUND,
    PROBLEMS,
    Key,
    Reading,
    RuleId,
    Writing,
    answer,
    tagged_answer,
)
from tagtrail_kernel.errors import NotFoundError, RateLimitedError, RejectedError
from tagtrail_kernel.wiring import Deps

CHUNK: Final = 100
"""Events folded before others get their turn: below 20 ms of work."""

PAGE: Final = 1000
"""Events per read of a back-test."""

SHOWN: Final = 1000
"""Alerts that a back-test lists; all are counted."""


class RulesApi:
    """Endpoints of rules."""

    def __init__(self, deps: Deps, acting: Acting) -> None:
        self._deps = deps
        self._database = deps.database_of(NAME)
        self._acting = acting
        self._running: set[int] = set()

    async def list_rules(self, who: Reading) -> Response:
        """All rules with the parameters in force."""
        async with self._database.connection() as connection:
            position = await views.as_of(connection, who.log_id)
            found = await views.rules(connection, who.log_id)
        return answer({"items": found, "next": None, "as_of_position": position})

    async def get_rule(self, request: Request, rule_id: RuleId, who: Reading) -> Response:
        """One rule, its parameters in force, and the JSON schema of its parameters."""
        async with self._database.connection() as connection:
            position = await views.as_of(connection, who.log_id)
            found = await views.rules(connection, who.log_id)
        for rule in found:
            if rule["rule_id"] == rule_id:
                schema = msgspec.json.schema(RULES[rule_id])
                body = rule | {"schema": schema, "as_of_position": position}
                counts = "-".join(str(n) for n in rule["alerts"].values())
                return tagged_answer(request, body, f"{rule['version']}-{counts}")
        raise _no_rule(rule_id)

    async def put_rule(
        self, rule_id: RuleId, who: Writing, body: RuleBody, key: Key = None
    ) -> Response:
        """Set a rule's parameters from the event's position on; earlier alerts stay as they are.

        Try them with `backtest` first.
        """
        return Response(
            await self._acting.set_rule(who, rule_id, body, key), media_type="application/json"
        )

    async def backtest(self, rule_id: RuleId, who: Reading, body: BacktestBody) -> Response:
        """Run the rule with other parameters over the log; nothing is fired.

        With the parameters that were in force, the count equals that of the live rule on the same
        events. `live` says what the live rule raised in the window.
        """
        parameters = parameters_of(rule_id, body.parameters)
        head = (await self._deps.log.head(who.log_id)).position
        last = min(body.to_position or head, head)
        if body.from_position > max(last, 1):
            raise RejectedError(f"from_position is after the end of the window, {last}")
        if who.log_id in self._running:
            raise RateLimitedError(
                "a back-test of this tenant is running; wait for its answer", retry_after_s=5
            )
        self._running.add(who.log_id)
        try:
            run = Backtest(rule_id, parameters, from_position=body.from_position)
            await self._fold(who.log_id, run, last)
        finally:
            self._running.discard(who.log_id)
        async with self._database.connection() as connection:
            live = await views.live_alerts_in(
                connection, who.log_id, rule_id, body.from_position, last
            )
        fired = run.fired()
        return answer(
            {
                "rule_id": rule_id,
                "parameters": values_of(parameters),
                "from_position": body.from_position,
                "to_position": last,
                "would_have_fired": len(fired),
                "retracted": sum(w.retracted for w in fired),
                "pending": len(run.pending()),
                "live": live,
                "items": [_would_json(w) for w in fired[:SHOWN]],
            }
        )

    async def _fold(self, log_id: int, run: Backtest, last: int) -> None:
        at = 0
        while at < last:
            page = await self._deps.log.read(log_id, after=at, limit=PAGE, families=Alerts.families)
            if page is None:
                return
            events = [e for e in page.events if e.position <= last]
            for start in range(0, len(events), CHUNK):
                run.feed(events[start : start + CHUNK])
                await asyncio.sleep(0)
            at = page.last


def _would_json(would: WouldFire) -> dict[str, Any]:
    card = would.expectation.card
    return {
        "alert_id": would.expectation.alert_id,
        "position": would.position,
        "fired_at": would.fired_at,
        "retracted": would.retracted,
        "cause": would.expectation.cause,
        "title": card.title,
        "asset_id": card.asset_id,
        "tag_id": card.tag_id,
        "since_at": card.since_at,
        "anchor_event_id": card.anchor_event_id,
    }


def _no_rule(rule_id: str) -> NotFoundError:
    return NotFoundError(
        f"no rule {rule_id!r}; rules are {', '.join(sorted(RULES))}", rule_id=rule_id
    )


def router_of(deps: Deps, acting: Acting) -> APIRouter:
    """Return the routes of rules."""
    api = RulesApi(deps, acting)
    router = APIRouter(prefix="/rules", tags=["rules"], responses=PROBLEMS)
    add = router.add_api_route
    add("", api.list_rules, methods=["GET"], summary="List rules")
    add("/{rule_id}", api.get_rule, methods=["GET"], summary="One rule", responses=NOT_FOUND)
    add(
        "/{rule_id}",
        api.put_rule,
        methods=["PUT"],
        summary="Set a rule's parameters",
        responses=NOT_FOUND,
    )
    add(
        "/{rule_id}/backtest",
        api.backtest,
        methods=["POST"],
        summary="What a rule would have raised on the log so far",
        responses=NOT_FOUND | {429: {"description": "One is running already"}},
    )
    return router

"""What people do to alerts and rules: each act is an event in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from tagtrail_alerts.core.parameters import SECTION, parameters_of, values_of
from tagtrail_alerts.core.transitions import SOURCE
from tagtrail_alerts.models import AcknowledgeBody, ResolveBody, RuleBody
from tagtrail_alerts.projection import NAME
from tagtrail_kernel.access import Principal
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import ConflictError, NotFoundError
from tagtrail_kernel.events.alerts import AlertAcknowledged, AlertResolved
from tagtrail_kernel.events.registrations import ConfigChanged
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.logs import trace_id
from tagtrail_kernel.wiring import Deps

Act = Callable[[datetime], Awaitable[tuple[int, bytes]]]


class Acting:
    """Checks an act against the present state and has its event appended.

    An `Idempotency-Key` makes the event's id, so a repeated request is the same event.
    """

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._database = deps.database_of(NAME)

    async def acknowledge(
        self, who: Principal, alert_id: str, body: AcknowledgeBody, key: str | None
    ) -> bytes:
        """Take an alert on; twice is once.

        Raises:
            NotFoundError: there is no such alert.
            ConflictError: it is resolved.
        """
        route = f"/v1/alerts/{alert_id}/acknowledge"

        async def act(at: datetime) -> tuple[int, bytes]:
            row = await self._alert(who, alert_id)
            if row["state"] == "resolved":
                raise ConflictError("the alert is resolved already", alert_id=alert_id)
            if row["state"] == "acknowledged":
                return 200, _reply(alert_id, "acknowledged", row["changed_position"])
            data = AlertAcknowledged(alert_id=alert_id, by=who.key_id, note=body.note)
            position = await self._publish(who, row["subject"], data, at, route, key)
            return 200, _reply(alert_id, "acknowledged", position)

        return await self._once(who, route, key, body.model_dump_json().encode(), act)

    async def resolve(
        self, who: Principal, alert_id: str, body: ResolveBody, key: str | None
    ) -> bytes:
        """Close an alert with its cause.

        Raises:
            NotFoundError: there is no such alert.
            ConflictError: it is resolved already.
        """
        route = f"/v1/alerts/{alert_id}/resolve"

        async def act(at: datetime) -> tuple[int, bytes]:
            row = await self._alert(who, alert_id)
            if row["state"] == "resolved":
                raise ConflictError(
                    f"the alert is resolved already: {row['cause']}", alert_id=alert_id
                )
            data = AlertResolved(
                alert_id=alert_id, rule_id=row["rule_id"], cause=body.cause, by=who.key_id
            )
            position = await self._publish(who, row["subject"], data, at, route, key)
            return 200, _reply(alert_id, "resolved", position)

        return await self._once(who, route, key, body.model_dump_json().encode(), act)

    async def set_rule(
        self, who: Principal, rule_id: str, body: RuleBody, key: str | None
    ) -> bytes:
        """Set a rule's parameters from now on.

        Raises:
            NotFoundError: there is no such rule.
            RejectedError: a parameter does not fit.
        """
        values = values_of(parameters_of(rule_id, body.parameters))
        route = f"/v1/rules/{rule_id}"

        async def act(at: datetime) -> tuple[int, bytes]:
            section = SECTION + rule_id
            data = ConfigChanged(section=section, values=values)
            position = await self._publish(who, section, data, at, route, key)
            return 200, orjson.dumps(
                {"rule_id": rule_id, "parameters": values, "position": position}
            )

        return await self._once(who, route, key, body.model_dump_json().encode(), act)

    async def _once(
        self, who: Principal, route: str, key: str | None, body: bytes, act: Act
    ) -> bytes:
        now = self._deps.clock.now()
        _, answer = await self._deps.idempotency.once(who.log_id, route, key, body, now, act)
        return answer

    async def _alert(self, who: Principal, alert_id: str) -> Mapping[str, Any]:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "select state, rule_id, cause, changed_position, "
                "coalesce(asset_id, tag_id, alert_id) as subject "
                "from alert where log_id = $1 and alert_id = $2",
                who.log_id, alert_id,
            )  # fmt: skip
        if row is None:
            raise NotFoundError(f"no alert {alert_id}; see GET /v1/alerts", alert_id=alert_id)
        return dict(row)

    async def _publish(
        self,
        who: Principal,
        subject: object,
        data: Event,
        at: datetime,
        route: str,
        key: str | None,
    ) -> int:
        content = f"{who.log_id}\x00{route}\x00{key}".encode()
        envelope = Envelope(
            id=uuid8(at, content) if key is not None else self._deps.ids.new(),
            subject=str(subject),
            source=SOURCE,
            occurred_at=at,
            data=data,
            correlation_id=trace_id.get(),
        )
        appended = await self._deps.sink.publish(who.log_id, [envelope])
        return appended.positions[0]


def _reply(alert_id: str, state: str, position: object) -> bytes:
    return orjson.dumps({"alert_id": alert_id, "state": state, "position": position})

"""Collecting what one message says: validated drafts, facts about gateways, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec
from msgspec import structs

from tagtrail_ingest.adapters.contract import (
    UNRESOLVED,
    Decoded,
    GatewayFact,
    Message,
    Reading,
    Refusal,
    UnreadableError,
)
from tagtrail_ingest.adapters.members import ItemRefusedError
from tagtrail_ingest.adapters.times import NO_TIMES, Times, choose, plausible
from tagtrail_kernel.events.gateways import GatewayReported
from tagtrail_kernel.events.sightings import Radio, SourceClass, Technology

MAX_EXTRA_BYTES: Final = 16_384
"""Most JSON bytes of unnamed members in one event: a body of the log holds 65,535 in all."""

_encode = msgspec.json.Encoder(order="deterministic").encode

GatewayKind = Literal["status", "telemetry", "setting", "sync"]


class Outcome:
    """What one message says, while it is being read.

    Args:
        message: The message.
        adapter: Name of the format.
        technology: Of the tags that this format speaks of.
        source_class: Who heard them.
        repeat_window_s: See `Reading.repeat_window_s`.
    """

    def __init__(
        self,
        message: Message,
        adapter: str,
        *,
        technology: Technology = "ble",
        source_class: SourceClass = "own_gateway",
        repeat_window_s: float = 0.0,
    ) -> None:
        self.message = message
        self.adapter = adapter
        self.technology: Technology = technology
        self.source_class: SourceClass = source_class
        self._repeat_window_s = repeat_window_s
        self._readings: list[Reading] = []
        self._facts: list[GatewayFact] = []
        self._refused: list[Refusal] = []
        self._index = 0

    def item(self, index: int, *, among: int = 1) -> _Item:
        """Begin an item: an `ItemRefusedError` inside the `with` block becomes a refusal of it.

        Args:
            index: Its position in the message, from 0.
            among: How many items the message has. An `UnreadableError` inside the block ends
                the message if there is one, else only the item.
        """
        self._index = index
        return _Item(self, alone=among == 1)

    def refuse(self, reason: str, detail: str = "") -> None:
        """Refuse the present item."""
        self._refused.append(Refusal(reason, self._index, detail))

    def tag(
        self,
        kind: type[Radio],
        *,
        identities: tuple[str, ...],
        gateway_id: str | None,
        times: Times = NO_TIMES,
        fields: Mapping[str, Any] | None = None,
        rest: Mapping[str, Any] | None = None,
        content: bytes = b"",
        needs_known_gateway: bool = False,
    ) -> None:
        """Add an observation of a tag.

        Args:
            kind: Event class.
            identities: Candidates, best first.
            gateway_id: Normalised receiver.
            times: Clocks of the message.
            fields: Members of the event class; None values are left out.
            rest: Unnamed members, already fit for the log.
            content: More bytes that tell this observation from others.
            needs_known_gateway: See `Reading`.

        Raises:
            ItemRefusedError: no identity, no gateway, replayed state, or a value out of range.
        """
        self._check(identities)
        members = {k: v for k, v in (fields or {}).items() if v is not None}
        extra = _without(rest or {}, identities)
        draft = self._draft(kind, gateway_id, times, members, extra)
        told = [kind.TYPE, gateway_id, sorted(identities), times, members, extra, content]
        reading = self._reading(draft, identities, times, told)
        self._readings.append(
            structs.replace(reading, needs_known_gateway=True) if needs_known_gateway else reading
        )

    def gateway(
        self,
        kind: GatewayKind,
        gateway_id: str | None,
        *,
        online: bool | None = None,
        figures: Mapping[str, Any] | None = None,
        sent_at: datetime | None = None,
    ) -> None:
        """Add a fact about a gateway.

        Raises:
            ItemRefusedError: it names no gateway, or is too large.
        """
        received_at = self.message.received_at
        event = GatewayReported(
            gateway_id=_required(gateway_id or self.message.gateway_id),
            kind=kind,
            adapter=self.adapter,
            online=online,
            retained=self.message.retained,
            values=dict(figures) if figures else None,
            site_id=self.message.site_id,
            gateway_sent_at=sent_at,
            received_at=received_at,
        )
        _measure(event.values)
        own = sent_at is not None and plausible(sent_at, received_at)
        self._facts.append(
            GatewayFact(
                event=event,
                occurred_at=sent_at if own and sent_at is not None else received_at,
                time_quality="gateway_send" if own else "server_receive",
                has_own_time=own,
                dedupe=_encode([kind, event.gateway_id, online, event.values, sent_at]),
                index=self._index,
            )
        )

    def done(self) -> Decoded:
        """Return everything that was collected."""
        return Decoded(tuple(self._readings), tuple(self._facts), tuple(self._refused))

    def _check(self, identities: tuple[str, ...]) -> None:
        if self.message.retained:
            raise ItemRefusedError("retained", "a retained message is state, not a sighting")
        if not identities:
            raise ItemRefusedError("no_identity", "nothing in the item names a tag")

    def _reading(
        self, draft: Radio, identities: tuple[str, ...], times: Times, told: list[Any]
    ) -> Reading:
        chosen = choose(times, self.message.received_at)
        place = None if chosen.own or self._repeat_window_s else self._index
        return Reading(
            draft=draft,
            identities=identities,
            occurred_at=chosen.at,
            time_quality=chosen.quality,
            has_own_time=chosen.own,
            dedupe=_encode((*told, place)),
            index=self._index,
            repeat_window_s=self._repeat_window_s,
        )

    def _draft(
        self,
        kind: type[Radio],
        gateway_id: str | None,
        times: Times,
        members: Mapping[str, Any],
        extra: Mapping[str, Any],
    ) -> Radio:
        _measure(extra)
        try:
            return msgspec.convert(
                {
                    "tag_id": UNRESOLVED,
                    "gateway_id": _required(gateway_id or self.message.gateway_id),
                    "site_id": self.message.site_id,
                    "technology": self.technology,
                    "source_class": self.source_class,
                    "adapter": self.adapter,
                    **times._asdict(),
                    "received_at": self.message.received_at,
                    "extra": extra or None,
                    **members,
                },
                kind,
            )
        except msgspec.ValidationError as error:
            raise ItemRefusedError("out_of_range", str(error)) from error


class _Item:
    """Turns the refusal of one item into an entry of the outcome."""

    def __init__(self, outcome: Outcome, *, alone: bool) -> None:
        self._outcome = outcome
        self._alone = alone

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _where: TracebackType | None,
    ) -> bool:
        if isinstance(error, ItemRefusedError):
            self._outcome.refuse(error.reason, error.detail)
            return True
        if isinstance(error, UnreadableError) and not self._alone:
            self._outcome.refuse("unreadable", error.detail)
            return True
        return False


def _required(gateway_id: str | None) -> str:
    if gateway_id is None:
        raise ItemRefusedError("no_gateway", "neither the message nor the key names the gateway")
    return gateway_id


def _measure(members: Mapping[str, Any] | None) -> None:
    if members and len(_encode(members)) > MAX_EXTRA_BYTES:
        raise ItemRefusedError(
            "too_large", f"unnamed members may have {MAX_EXTRA_BYTES} bytes of JSON together"
        )


def _without(rest: Mapping[str, Any], identities: tuple[str, ...]) -> dict[str, Any]:
    """Leave out the members whose text repeats the tag's address, in either byte order."""
    addresses = [i.removeprefix("mac:") for i in identities if i.startswith("mac:")]
    if not addresses or not rest:
        return dict(rest)
    secrets = [s for a in addresses for s in (a, bytes.fromhex(a)[::-1].hex())]
    return {k: v for k, v in rest.items() if not _repeats(v, secrets)}


def _repeats(value: object, secrets: list[str]) -> bool:
    written = value if isinstance(value, str) else _encode(value).decode()
    plain = written.replace(":", "").replace("-", "").lower()
    return any(s in plain for s in secrets)

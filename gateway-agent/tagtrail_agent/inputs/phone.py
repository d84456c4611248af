"""Phones as gateways: a small HTTP endpoint for taps, codes and scans from a phone's browser.

The queue for times without network is on the phone. It sends items again until they were answered, so
an item is taken once however often it comes: by its id, and by the event id made of it.

A position is taken only if it was measured within an open session of the phone, and never together
with a person: it leaves as a reading of its own, without actor, from the gateway `phones`. Outside of
a session it is left out, and the verdict says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import ssl
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from tagtrail_agent.binding import Range
from tagtrail_agent.clock import Clock
from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.common import EARLIEST, TOLERANCE, heard_at
from tagtrail_agent.inputs.formats import values
from tagtrail_agent.inputs.formats.values import UnreadableError
from tagtrail_agent.inputs.http import REQUEST_S, Answer, ProblemError, Request, SmallServer
from tagtrail_agent.inputs.phone_items import ItemError, Scan, event_id, read_item
from tagtrail_agent.readings import Advert, Ear, Reading

MOST_ITEMS: Final = 500
"""Items of one request: as many as make a good batch."""
REMEMBERED: Final = 20_000
"""Item ids kept to know repeats at once, about 3 MB; older ones the server knows by their event id."""
SESSIONS_KEPT: Final = 200
"""Sessions kept to judge positions that come late."""
POSITIONS: Final = "phones"
"""Receiver of positions: no phone, hence no person."""
_FAILURES_PER_MIN: Final = 30
_BASE: Final = "/v1/phone"

_SHA256: Final = re.compile("[0-9a-f]{64}")
_SESSION: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneOptions:
    """One phone.

    Attributes:
        phone_id: Its name; its readings come from the gateway `phone-<phone_id>`.
        token_sha256: SHA-256 of its token, 64 hex digits; a token has at least 128 random bits.
        actor_id: Pseudonym of the person who taps and scans; None = nobody's.
    """

    phone_id: str
    token_sha256: str
    actor_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhonesOptions:
    """kind = "phones": a local HTTP endpoint.

    Attributes:
        host: Address to listen on. Beyond loopback, give certificate and key.
        port: TCP port; 0 = any free one.
        cert_file: PEM file of the certificate; None = no TLS.
        key_file: PEM file of its key.
        phones: Who may send.
        origins: Web pages that may send, such as https://console.example.
        items_per_min: Items that one phone may send each minute, on average.
        session_max_s: A session ends by itself after this time, seconds.
    """

    phones: tuple[PhoneOptions, ...]
    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65_535)] = 8_750
    cert_file: Path | None = None
    key_file: Path | None = None
    origins: tuple[str, ...] = ()
    items_per_min: Annotated[int, Range(1, 100_000)] = 1_200
    session_max_s: Annotated[float, Range(1, 86_400)] = 43_200.0


@dataclass(slots=True)
class _Session:
    phone_id: str
    opened_s: float
    ends_s: float


class Allowance:
    """A bucket of tokens: so many at once, refilled within a minute.

    Args:
        per_min: How many a minute, > 0.
        elapsed_s: Gives the monotonic clock, seconds.
    """

    def __init__(self, per_min: float, elapsed_s: Callable[[], float]) -> None:
        self._per_min, self._elapsed_s = per_min, elapsed_s
        self._left, self._since_s = per_min, elapsed_s()

    def take(self, count: int) -> float:
        """Take some; return 0, or the seconds to wait if there are too few, and take none."""
        now_s = self._elapsed_s()
        refill = (now_s - self._since_s) * self._per_min / 60
        self._left, self._since_s = min(self._left + refill, self._per_min), now_s
        count = min(count, int(self._per_min)) if count else 0
        if count <= self._left:
            self._left -= count
            return 0.0
        return (count - self._left) * 60 / self._per_min


class Phones:
    """Hears phones; see `Input`.

    Attributes:
        name: Name for figures.
        counts: Items by verdict, positions left out, requests by status.
        port: Where it listens, once it does.

    Args:
        options: Who may send, and where.
        clock: Both clocks.
        name: Name for figures.
        enrolled: Says whether an identity is an enrolled tag's: of several of a label the first such
            is taken, without it the best.
        request_s: Time for one request, seconds.

    Raises:
        AgentError: a phone's token is no SHA-256, two phones share one, or the address is open to
            others without TLS.
    """

    def __init__(
        self,
        options: PhonesOptions,
        clock: Clock,
        name: str = "phones",
        *,
        enrolled: Callable[[str], bool] | None = None,
        request_s: float = REQUEST_S,
    ) -> None:
        self.name = name
        self._options, self._clock = options, clock
        self._enrolled = enrolled or (lambda _identity: True)
        _check(options, name)
        self._server = SmallServer(self._handle, request_s)
        self.counts: Counter[str] = self._server.counts
        self._ear: Ear | None = None
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._allowances = {
            p.phone_id: Allowance(options.items_per_min, clock.elapsed_s) for p in options.phones
        }
        self._failures = Allowance(_FAILURES_PER_MIN, clock.elapsed_s)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    async def run(self, ear: Ear) -> None:
        """Hear until cancelled.

        Raises:
            AgentError: the address is taken, or certificate or key cannot be read.
        """
        self._ear = ear
        options = self._options
        try:
            async with self._server.listening(options.host, options.port, _tls(options)):
                await asyncio.get_running_loop().create_future()
        except OSError as error:
            raise AgentError(
                f"input {self.name}: cannot serve {options.host}:{options.port} ({error}); choose "
                "another port, or correct certificate and key"
            ) from error

    def _handle(self, request: Request) -> Answer:
        cors = self._cors(request)
        try:
            answer = self._answer(request)
        except ProblemError as problem:
            answer = problem.answer()
        return Answer(answer.status, answer.members, {**answer.headers, **cors})

    def _cors(self, request: Request) -> dict[str, str]:
        origin = request.headers.get("origin")
        if origin is None or origin not in self._options.origins:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "POST, DELETE",
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Max-Age": "600",
            "Vary": "Origin",
        }

    def _answer(self, request: Request) -> Answer:
        if request.method == "OPTIONS":
            return Answer(204)
        match request.method, request.path.removeprefix(_BASE).split("/"):
            case "POST", ["", "items"]:
                return self._take_items(self._phone_of(request), request)
            case "POST", ["", "sessions"]:
                return self._open_session(self._phone_of(request), request)
            case "DELETE", ["", "sessions", session_id]:
                return self._close_session(self._phone_of(request), session_id)
            case _, ["", "items" | "sessions"] | ["", "sessions", _]:
                raise ProblemError(405, "method-not-allowed", "POST items and sessions.")
            case _:
                raise ProblemError(404, "not-found", f"There are {_BASE}/items and /sessions.")

    def _phone_of(self, request: Request) -> PhoneOptions:
        """Find whose token it is; every phone is compared, in constant time.

        Raises:
            ProblemError: nobody's.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(token.strip().encode()).hexdigest()
        found: PhoneOptions | None = None
        for phone in self._options.phones:
            if hmac.compare_digest(given, phone.token_sha256):
                found = phone
        if found is not None and scheme.lower() == "bearer":
            return found
        wait_s = self._failures.take(1)
        if wait_s:
            raise _too_many(wait_s)
        raise ProblemError(
            401, "unauthorized", "Send the phone's token as `Authorization: Bearer <token>`.",
            {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip

    def _open_session(self, phone: PhoneOptions, request: Request) -> Answer:
        wanted = _object(request.body).get("session_id") if request.body else None
        session_id = wanted if wanted is not None else secrets.token_urlsafe(12)
        if not isinstance(session_id, str) or not _SESSION.fullmatch(session_id):
            raise ProblemError(
                422, "bad-session", "session_id has 8 to 64 letters, digits, _ or -."
            )
        now_s = self._clock.elapsed_s()
        known = self._sessions.get(session_id)
        if known is None:
            known = _Session(phone.phone_id, now_s, now_s + self._options.session_max_s)
            self._sessions[session_id] = known
            if len(self._sessions) > SESSIONS_KEPT:
                self._sessions.popitem(last=False)
        elif known.phone_id != phone.phone_id or known.ends_s <= now_s:
            raise ProblemError(422, "bad-session", "This session has ended; open another.")
        return Answer(201, {"session_id": session_id, "ends_in_s": round(known.ends_s - now_s)})

    def _close_session(self, phone: PhoneOptions, session_id: str) -> Answer:
        known = self._sessions.get(session_id)
        if known is None or known.phone_id != phone.phone_id:
            raise ProblemError(404, "not-found", "There is no such session of this phone.")
        known.ends_s = min(known.ends_s, self._clock.elapsed_s())
        return Answer(204)

    def _take_items(self, phone: PhoneOptions, request: Request) -> Answer:
        body = _object(request.body)
        items = body.get("items")
        if not isinstance(items, list) or len(items) > MOST_ITEMS:
            raise ProblemError(422, "bad-items", f"`items` must be a list of at most {MOST_ITEMS}.")
        wait_s = self._allowances[phone.phone_id].take(len(items))
        if wait_s:
            raise _too_many(wait_s)
        session = self._sessions.get(str(body.get("session_id")))
        if session is not None and session.phone_id != phone.phone_id:
            session = None
        heard: list[Advert | Reading] = []
        taken: list[tuple[str, str]] = []
        verdicts = [self._judge(phone, session, item, heard, taken) for item in items]
        if self._ear is not None and heard:
            self._ear.hear(heard)
        for key in taken:
            self._remember(key)
        return Answer(200, {"verdicts": verdicts})

    def _judge(
        self,
        phone: PhoneOptions,
        session: _Session | None,
        item: object,
        heard: list[Advert | Reading],
        taken: list[tuple[str, str]],
    ) -> dict[str, Any]:
        name = item.get("id") if isinstance(item, dict) else None
        try:
            scan = read_item(item)
            if not EARLIEST <= scan.at <= self._clock.now() + TOLERANCE:
                raise ItemError("implausible_time")
        except ItemError as error:
            self.counts[error.reason] += 1
            return {"id": name, "verdict": "refused", "reason": error.reason}
        key = (phone.phone_id, scan.id)
        if key in self._known or key in taken:
            self.counts["repeated"] += 1
            return {"id": scan.id, "verdict": "repeated"}
        taken.append(key)
        self.counts["taken"] += 1
        verdict = {"id": scan.id, "verdict": "taken"}
        heard.append(self._heard(phone, scan))
        if scan.position and self._within(session, scan.at) and scan.tags:
            heard.append(self._positioned(phone, scan))
        elif scan.position:
            self.counts["position_left_out"] += 1
            verdict["position"] = "left_out"
        return verdict

    def _within(self, session: _Session | None, at: datetime) -> bool:
        """Say whether something was within a session of the phone, by the gateway's clocks."""
        if session is None:
            return False
        _, elapsed_s = heard_at(at, self._clock)
        return session.opened_s <= elapsed_s <= session.ends_s

    def _heard(self, phone: PhoneOptions, scan: Scan) -> Advert | Reading:
        at, elapsed_s = heard_at(scan.at, self._clock)
        gateway_id = f"phone-{phone.phone_id}"
        if scan.ad is not None:
            return Advert(scan.address, scan.ad, scan.rssi_dbm, at, elapsed_s, None, gateway_id)
        members = {
            **scan.members,
            "id": event_id(phone.phone_id, scan.id, scan.at),
            "source_class": "own_phone",
            **values.named(actor_id=phone.actor_id),
        }
        return Reading(self._tag(scan.tags), at, elapsed_s, members, gateway_id)

    def _positioned(self, phone: PhoneOptions, scan: Scan) -> Reading:
        at, elapsed_s = heard_at(scan.at, self._clock)
        members = {
            **scan.position,
            "id": event_id(phone.phone_id, scan.id, scan.at, "position"),
            "source_class": "own_phone",
        }
        return Reading(self._tag(scan.tags), at, elapsed_s, members, POSITIONS)

    def _tag(self, tags: Sequence[str]) -> str:
        return next(filter(self._enrolled, tags), tags[0])

    def _remember(self, key: tuple[str, str]) -> None:
        self._known[key] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _too_many(wait_s: float) -> ProblemError:
    headers = {"Retry-After": str(int(wait_s) + 1)}
    return ProblemError(429, "too-many-requests", "Send the rest later; see Retry-After.", headers)


def _object(body: bytes) -> dict[str, Any]:
    try:
        return values.parse_object(body)
    except UnreadableError as error:
        raise ProblemError(400, "bad-json", "The body must be a JSON object.") from error


def _check(options: PhonesOptions, name: str) -> None:
    digests = [p.token_sha256 for p in options.phones]
    if not all(_SHA256.fullmatch(d) for d in digests) or len(set(digests)) < len(digests):
        raise AgentError(
            f"input {name}: each phone needs a token of its own; put its SHA-256 in hex digits into "
            "token_sha256"
        )
    if len({p.phone_id for p in options.phones}) < len(options.phones):
        raise AgentError(f"input {name}: two phones have one phone_id; give each its own")
    if options.host not in ("127.0.0.1", "::1", "localhost") and options.cert_file is None:
        raise AgentError(
            f"input {name}: {options.host} can be reached by others; give cert_file and key_file"
        )


def _tls(options: PhonesOptions) -> ssl.SSLContext | None:
    if options.cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert_file, options.key_file)
    return context

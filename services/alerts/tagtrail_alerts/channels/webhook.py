"""Webhooks: alerts as JSON for programs, signed as Standard Webhooks 1.0.0 says.

A receiver proves with `verify` (or any library of that standard) that a request is ours, fresh and
unchanged, and takes `webhook-id` for its effect: a repeated request has the same one. That is why
a try without an answer is simply repeated here, where a chat would show the card twice.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets as random_secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from tagtrail_alerts.channels.answers import retry_after_s
from tagtrail_alerts.channels.contract import Letter, Outcome, Reply
from tagtrail_kernel.errors import RejectedError

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
LEAST_SECRET_BYTES: Final = 24
MOST_SECRET_BYTES: Final = 64
TOLERANCE_S: Final = 300.0
"""Furthest that a request's timestamp may be from the receiver's clock, seconds."""

WAITS_S: Final = (5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Waits before the second and later tries, seconds: those that Standard Webhooks proposes, and one
more at 30 s, because most outages of a receiver are its restart and an alert is urgent."""

MAX_ATTEMPTS: Final = len(WAITS_S) + 1
_VERSION: Final = "v1"


class SignatureRefusedError(RejectedError):
    """A request is not signed with the secret, was changed, or is too old."""

    code, title = "signature-refused", "Signature refused"


def new_secret() -> str:
    """Return a fresh signing secret."""
    return PREFIX + base64.b64encode(random_secrets.token_bytes(SECRET_BYTES)).decode()


def sign(secret: str, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """Return one signature, as it stands in `webhook-signature`.

    Args:
        secret: `whsec_` and base64 of 24 to 64 bytes; the prefix may be missing.
        webhook_id: Value of `webhook-id`.
        timestamp_s: Value of `webhook-timestamp`: seconds since 1970.
        body: The body as it is sent.

    Raises:
        RejectedError: the secret is none. It is not repeated.

    Example:
        >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek",
        ...      1614265330, b'{"test": 2432232314}')
        'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp_s, body)
    digest = hmac.digest(_key_of(secret), signed, "sha256")
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def headers_of(secrets: Sequence[str], letter: Letter, now: datetime) -> dict[str, str]:
    """Return the headers of a request: one signature for each valid secret, newest first.

    Args:
        secrets: At least one.
        letter: What is sent.
        now: Wall clock.
    """
    timestamp_s = int(now.timestamp())
    signatures = [sign(secret, letter.webhook_id, timestamp_s, letter.body) for secret in secrets]
    return {
        "webhook-id": letter.webhook_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signatures),
    }


def verify(
    secrets: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Prove a request, for receivers. Do this before the body is parsed.

    Args:
        secrets: The secret, or several while a receiver changes it.
        headers: The request's headers; case does not matter.
        body: The body as it came, not parsed and written again.
        now: The receiver's clock.
        tolerance_s: Furthest that the timestamp may be from `now`, seconds, either way.

    Returns:
        The `webhook-id`: the same one again is the same message.

    Raises:
        SignatureRefusedError: no signature fits, or the timestamp is too far away.
        RejectedError: a secret is none.
    """
    given = {name.lower(): value for name, value in headers.items()}
    webhook_id, stamp, signatures = (
        given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not (webhook_id and stamp and signatures):
        raise SignatureRefusedError(
            "the request lacks webhook-id, webhook-timestamp or webhook-signature"
        )
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):
        raise SignatureRefusedError("webhook-timestamp must be seconds since 1970")
    sent_at = datetime.fromtimestamp(int(stamp), UTC)
    if abs((now - sent_at).total_seconds()) > tolerance_s:
        raise SignatureRefusedError(
            f"the timestamp is more than {tolerance_s:.0f} s away; check the clock, or it is a replay"
        )
    known = [secrets] if isinstance(secrets, str) else secrets
    expected = [sign(secret, webhook_id, int(stamp), body).encode() for secret in known]
    offered = [text.encode() for text in signatures.split(" ")]
    if not any(hmac.compare_digest(a, b) for a in expected for b in offered):
        raise SignatureRefusedError(
            "no signature fits: another secret, or the body was changed on the way"
        )
    return webhook_id


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not LEAST_SECRET_BYTES <= len(key) <= MOST_SECRET_BYTES:
        raise RejectedError(
            f"a signing secret is {PREFIX} and base64 of {LEAST_SECRET_BYTES} to "
            f"{MOST_SECRET_BYTES} bytes"
        )
    return key


def classify(reply: Reply, now: datetime) -> Outcome:
    """Return what an answer means; its body says nothing.

    Args:
        reply: The answer.
        now: Wall clock, for a Retry-After that is a date.
    """
    status = reply.status
    says = f"the receiver answers {status}"
    if 200 <= status < 300:
        return Outcome("delivered", "ok")
    if status == 429:
        after_s = retry_after_s(reply.retry_after, now)
        return Outcome("rate_limited", f"the receiver asks to wait {after_s:.0f} s", after_s)
    if status == 410:
        return Outcome("permanent", f"{says}: it wants no more", disables=True)
    if status in (408, 425) or status >= 500:
        asked = None if reply.retry_after is None else retry_after_s(reply.retry_after, now)
        return Outcome("retry", says, asked)
    return Outcome("permanent", says)


def repeatable(outcome: Outcome) -> Outcome:
    """Return an outcome with doubt taken out: what may have arrived is sent again under its id."""
    return replace(outcome, result="retry") if outcome.result == "ambiguous" else outcome


def wait_s(attempts: int) -> float:
    """Return the wait after so many failed tries, seconds."""
    return float(WAITS_S[min(max(attempts, 1), len(WAITS_S)) - 1])

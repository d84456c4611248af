"""S23: the signature of webhooks, and what a receiver's answers mean."""

from __future__ import annotations

import base64
import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.alert_history import T0

from tagtrail_alerts.channels.contract import Letter, Reply
from tagtrail_alerts.channels.webhook import (
    SignatureRefusedError,
    classify,
    headers_of,
    new_secret,
    sign,
    verify,
)
from tagtrail_kernel.errors import RejectedError

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("TAGTRAIL_SHARED", ROOT.parent / "shared"))
VECTORS = json.loads(
    (SHARED / "data/exchange/dev/standard-webhooks-vectors.json").read_text(encoding="utf-8")
)["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=[v["name"] for v in VECTORS])
def test_s23_published_vectors_are_judged_as_published(vector: dict[str, Any]) -> None:
    headers = {
        "Webhook-Id": vector["id"],
        "Webhook-Timestamp": str(vector["timestamp"]),
        "Webhook-Signature": vector["signature"],
    }
    now = datetime.fromtimestamp(vector["now"], UTC)
    body = vector["payload"].encode()

    if vector["valid"]:
        assert verify(vector["secret"], headers, body, now=now) == vector["id"]
    else:
        with pytest.raises(SignatureRefusedError):
            verify(vector["secret"], headers, body, now=now)


def test_s23_the_published_signature_is_made() -> None:
    vector = VECTORS[0]
    made = sign(vector["secret"], vector["id"], vector["timestamp"], vector["payload"].encode())

    assert made == vector["signature"]


@pytest.mark.parametrize("seconds", [-301, -300, 300, 301])
def test_s23_a_request_of_more_than_five_minutes_ago_or_ahead_is_refused(seconds: int) -> None:
    secret = new_secret()
    headers = headers_of([secret], Letter("m1", b"{}"), T0)
    now = T0 + timedelta(seconds=seconds)

    if abs(seconds) <= 300:
        assert verify(secret, headers, b"{}", now=now) == "m1"
    else:
        with pytest.raises(SignatureRefusedError, match="300 s away"):
            verify(secret, headers, b"{}", now=now)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "m2"},
        {"webhook-timestamp": "1772438401"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "\u0661"},
        {"webhook-timestamp": "9" * 20},
        {"webhook-timestamp": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,\u00fc"},
        {"webhook-signature": "v1,"},
    ],
)
def test_s23_a_request_that_was_changed_is_refused(change: dict[str, str]) -> None:
    secret = new_secret()
    headers = headers_of([secret], Letter("m1", b"{}"), T0)

    with pytest.raises(SignatureRefusedError):
        verify(secret, headers | change, b"{}", now=T0)


def test_s23_a_receiver_may_accept_two_secrets_while_it_changes_them() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    headers = headers_of([old], Letter("m1", b"{}"), T0)

    assert verify([new, old], headers, b"{}", now=T0) == "m1"
    with pytest.raises(SignatureRefusedError):
        verify([new, other], headers, b"{}", now=T0)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_" + "A" * 88, "whsec_%%%%"])
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(RejectedError) as caught:
        sign(secret, "m1", 1, b"{}")

    assert "24 to 64 bytes" in caught.value.detail
    assert "AAAA" not in caught.value.detail


def test_secrets_are_long_and_different() -> None:
    secrets = {new_secret() for _ in range(100)}

    assert len(secrets) == 100
    assert all(len(base64.b64decode(s.removeprefix("whsec_"))) == 32 for s in secrets)


@pytest.mark.parametrize(
    ("status", "retry_after", "result", "after_s"),
    [
        (200, None, "delivered", None), (204, None, "delivered", None),
        (429, "7", "rate_limited", 7), (429, None, "rate_limited", 30),
        (500, None, "retry", None), (503, "90", "retry", 90), (408, None, "retry", None),
        (301, None, "permanent", None), (400, None, "permanent", None),
        (404, None, "permanent", None), (410, None, "permanent", None),
    ],
)  # fmt: skip
def test_s23_answers_mean_what_the_scheme_says(
    status: int, retry_after: str | None, result: str, after_s: float | None
) -> None:
    outcome = classify(Reply(status, b"anything", retry_after), T0)

    assert (outcome.result, outcome.after_s) == (result, after_s)
    assert outcome.disables == (status == 410)


def test_the_verifier_of_the_docs_works_by_itself() -> None:
    page = (ROOT / "docs/alerting.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the example of our own page
    secret = new_secret()
    headers = headers_of([new_secret(), secret], Letter("m1", b"{}"), T0)
    now_s = T0.timestamp()

    assert names["is_from_tagtrail"](secret, headers, b"{}", now_s) is True
    assert names["is_from_tagtrail"](secret, headers, b"{ }", now_s) is False
    assert names["is_from_tagtrail"](new_secret(), headers, b"{}", now_s) is False
    assert names["is_from_tagtrail"](secret, headers, b"{}", now_s + 301) is False

"""Writes docs/problems.md from the error tree; a test compares.

Run `python -m tests.support.problems_doc` after a change of an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.modules import import_all

from tagtrail_kernel.openapi import problem_codes

DOC: Final = Path(__file__).parents[2] / "docs" / "problems.md"

HEAD: Final = """# Problems

Every error answers with `application/problem+json` as RFC 9457 says. Branch on `type`, which ends with one of the codes below and never changes;
`title` and `detail` are for people, and `detail` says what to do next. `instance` is the path of the request. Every answer carries the header
`X-Request-Id`: the same id stands in the server's log lines as `trace_id` and in the events of the request as `correlation_id`.

```json
{
  "type": "/problems/forbidden",
  "title": "Not allowed",
  "status": 403,
  "instance": "/v1/keys",
  "detail": "this key (role operator) lacks the scope keys",
  "scope": "keys"
}
```

An answer with status 503, or no answer at all, leaves open whether something was appended: send the request again with the same ids or the same
`Idempotency-Key`; nothing is counted twice.

This page is written by `python -m tests.support.problems_doc` from the code; a test compares.
"""

ADVICE: Final = {
    "address-refused": "Give a public https address of a chat service; addresses of private networks and of this machine are refused "
    "(`TAGTRAIL_ALERTS_ALLOW_LOOPBACK` is for tests).",
    "conflict": "Read the present state, decide again. With `Idempotency-Key`: the key was used with another body; use a new one. "
    "`reason: retention-missing`: set a retention rule first, `POST /v1/retention`.",
    "degenerate-geometry": "Move an anchor, or add one that does not stand on the line of the others.",
    "forbidden": "Use a key whose role has the scope that `scope` names; `tagtrail keys create` makes one. A service's key names an existing tenant "
    "in the header `Tagtrail-Log`. A gateway's key may send only as its gateway.",
    "not-found": "Check the id and the path. What belongs to another tenant does not exist for you.",
    "rate-limited": "Wait for the seconds in the header `Retry-After`, then send fewer and larger requests: one request may carry thousands of items.",
    "rejected": "Change the request as `detail` says; `errors` names the places. Sending the same again gives the same answer.",
    "signature-refused": "Check that both sides have the same secret, that nothing on the way changes the body, and that the sender's clock is right.",
    "too-few-ranges": "Wait for ranges of more anchors: two for a line, three for a plane.",
    "refused-calibration": "Do what `detail` says: mostly more places spread over the site, or the right coordinates of gateways and marks.",
    "too-few-marks": "Mark more places, and stay at each for half a minute.",
    "unusable-blink": "Send arrival times as finite numbers of one clock; a synchronisation fault makes them impossible.",
    "unusable-range": "Send ranges and times as finite numbers, ranges not negative.",
    "too-large": "Split the request; the largest body is `TAGTRAIL_MAX_BODY_BYTES`, the largest event 65,535 bytes.",
    "unauthenticated": "Send `Authorization: Bearer tt_…` with a key that is neither expired nor revoked; `tagtrail keys list` shows yours.",
    "unavailable": "Send the same request again after some seconds; `/readyz` says what does not work.",
    "unknown-event-type": "Use a type and version of docs/events.md; a newer producer needs a newer server.",
    "unreadable-message": "Compare with docs/gateways.md. The bytes are kept: `GET /v1/quarantine` lists them, and they can be read again after a fix.",
}  # fmt: skip

OTHERS: Final = (
    ("invalid-request", 422, "Parameters or body do not have the declared shape.",
     "`errors` names each place by a JSON pointer and by `in` (body, query, path, header)."),
    ("method-not-allowed", 405, "The path exists, but not with this method.",
     "Use a method of the header `Allow`."),
    ("unsupported-media-type", 415, "The body is of another kind than accepted.",
     "Send `Content-Type: application/json`, or what the operation declares."),
    ("http-error", 400, "The request is not HTTP that the server understands, or its body is not JSON.",
     "See `detail`; the status may be another one from 400 to 499."),
    ("internal", 500, "A fault of the server.",
     "Report it with the `X-Request-Id` of the answer; sending it again is harmless, but will hardly help."),
)  # fmt: skip
"""Problems that no error class of ours stands for."""


def page() -> str:
    """Return docs/problems.md."""
    import_all()
    entries = [
        (code, cls.status, (cls.__doc__ or "").partition("\n")[0], ADVICE.get(code, ""))
        for code, cls in problem_codes().items()
    ]
    entries = sorted([*entries, *OTHERS])
    table = ["| code | status |", "|---|---|"]
    table += [f"| [{code}](#{code}) | {status} |" for code, status, _, _ in entries]
    pages = [
        f"## {code}\n\nStatus {status}. {meaning}\n\n**What to do:** {advice}\n"
        for code, status, meaning, advice in entries
    ]
    return "\n".join([HEAD, "\n".join(table) + "\n", *pages])


def main() -> None:
    """Write the page."""
    DOC.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

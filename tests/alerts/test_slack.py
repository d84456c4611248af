"""Slack's cards and answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block
from tests.support.fake_slack import fault_of

from tagtrail_alerts.channels.contract import Reply
from tagtrail_alerts.channels.slack import BLOCKS_BUDGET, classify, escape, render
from tagtrail_alerts.core.card import AlertCard, GroupCard

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def card(number: int = 1, **changes: Any) -> AlertCard:
    values: dict[str, Any] = {
        "alert_id": f"a{number}",
        "rule_id": "left_outbound_without_pod",
        "severity": "critical",
        "title": f"Pallet p{number} left Out, Hall North without proof of delivery",
        "what": f"Pallet p{number}",
        "where": "Out, Hall North",
        "since_at": NOW,
        "why": "Left Out at 09:00. No POD covers it.",
        "next_step": "Ask the driver.",
        "link": f"http://127.0.0.1:8080/console/?alert=a{number}",
    }
    return AlertCard(**(values | changes))


def texts(payload: dict[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False)


def check(payload: dict[str, Any]) -> None:
    """Judge a payload by Slack's own library and by the limits it does not know."""
    blocks = Block.parse_all(payload["blocks"])
    assert len(blocks) == len(payload["blocks"])
    for block in blocks:
        block.validate_json()
    assert payload["text"]
    assert fault_of(payload) == ""
    assert len(json.dumps(payload["blocks"], ensure_ascii=False)) <= BLOCKS_BUDGET


def test_s30_a_card_says_what_where_since_why_next_step_and_links_to_the_alert() -> None:
    payload = render(GroupCard(cards=[card()]))

    check(payload)
    assert payload == {
        "text": "🔴 Pallet p1 left Out, Hall North without proof of delivery",
        "blocks": [
            {
                "type": "header",
                "text": {
                    "type": "plain_text",
                    "text": "🔴 Pallet p1 left Out, Hall North without proof of delivery",
                    "emoji": True,
                },
            },
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "text": "Left Out at 09:00. No POD covers it.",
                    "verbatim": True,
                },
            },
            {
                "type": "section",
                "fields": [
                    {"type": "mrkdwn", "text": "*What*\nPallet p1", "verbatim": True},
                    {"type": "mrkdwn", "text": "*Where*\nOut, Hall North", "verbatim": True},
                    {
                        "type": "mrkdwn",
                        "text": "*Since*\n<!date^1772442000^{date_short_pretty} {time}"
                        "|2026-03-02 09:00 UTC>",
                        "verbatim": True,
                    },
                    {"type": "mrkdwn", "text": "*Next step*\nAsk the driver.", "verbatim": True},
                ],
            },
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "text": "<http://127.0.0.1:8080/console/?alert=a1|Open in Tagtrail>",
                    "verbatim": True,
                },
            },
            {
                "type": "context",
                "elements": [
                    {
                        "type": "mrkdwn",
                        "text": "Rule left_outbound_without_pod · alert a1",
                        "verbatim": True,
                    }
                ],
            },
        ],
    }


def test_a_card_of_an_alert_that_is_over_says_why() -> None:
    payload = render(GroupCard(cards=[card(phase="resolved", cause="retracted: POD 7 covers it")]))

    check(payload)
    assert "✅ Over: Pallet p1" in texts(payload)
    assert "retracted: POD 7 covers it" in texts(payload)
    assert "Next step" not in texts(payload)


def test_s30_a_hundred_alerts_of_one_cause_are_one_card_with_their_number() -> None:
    payload = render(GroupCard(cards=[card(n) for n in range(100)]))

    check(payload)
    assert "100× left the outbound zone without proof of delivery" in str(payload["text"])
    assert "… and 90 more" in texts(payload)
    assert "<http://127.0.0.1:8080/console/|Open all in Tagtrail>" in texts(payload)


def test_a_card_that_may_be_a_repeat_says_so() -> None:
    payload = render(GroupCard(cards=[card()], maybe_duplicate=True))

    check(payload)
    assert "May be a repeat" in texts(payload)


def test_names_cannot_call_people_or_forge_links() -> None:
    payload = render(GroupCard(cards=[card(title="<!channel> & <https://evil|x>", what="<@U1>")]))

    check(payload)
    assert "<!channel>" not in texts(payload)
    assert "&lt;!channel&gt; &amp; &lt;https://evil|x&gt;" in texts(payload)
    assert "<@U1>" not in texts(payload)


@given(
    st.lists(
        st.builds(
            card,
            st.integers(0, 9),
            title=st.text(max_size=150, min_size=1),
            what=st.none() | st.text(max_size=512),
            where=st.none() | st.text(max_size=512),
            why=st.none() | st.text(alphabet="&<>x\n", max_size=512),
            next_step=st.none() | st.text(max_size=512),
            since_at=st.none() | st.just(NOW),
            phase=st.sampled_from(["fired", "resolved"]),
            cause=st.none() | st.text(max_size=512),
        ),
        min_size=1,
        max_size=30,
    ),
    st.booleans(),
)
def test_whatever_things_are_called_the_card_keeps_slacks_limits(
    cards: list[AlertCard], maybe: bool
) -> None:
    check(render(GroupCard(cards=cards, maybe_duplicate=maybe)))


def test_the_worst_names_keep_the_budget() -> None:
    worst = "&" * 512
    cards = [
        card(n, title=worst[:150], what=worst, where=worst, why=worst, next_step=worst)
        for n in range(5000)
    ]

    check(render(GroupCard(cards=cards)))
    check(render(GroupCard(cards=cards[:1])))


@given(st.text(alphabet="a&<>\n é", max_size=40), st.integers(1, 30))
def test_escaped_text_is_never_longer_nor_cut_inside_an_escape(text: str, most: int) -> None:
    escaped = escape(text, most)
    plain = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")

    assert len(escaped) <= most
    assert plain.removesuffix("…") == text.replace("\n", " ")[: len(plain.removesuffix("…"))]
    assert "<" not in escaped


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, "ok", "delivered"),
        (200, "invalid_payload", "permanent"),
        (200, "something went wrong", "retry"),
        (200, "", "retry"),
        (302, "", "permanent"),
        (400, "invalid_blocks", "permanent"),
        (400, "posting_to_general_channel_denied", "permanent"),
        (403, "invalid_token", "permanent"),
        (404, "no_service", "permanent"),
        (410, "channel_is_archived", "permanent"),
        (404, "<html>not here</html>", "permanent"),
        (408, "", "retry"),
        (429, '{"retry_after":1,"ok":false,"error":"rate_limited"}', "rate_limited"),
        (200, '{"ok":false,"error":"rate_limited"}', "rate_limited"),
        (500, "oops", "retry"),
        (503, "", "retry"),
        (500, "no_service", "permanent"),
    ],
)
def test_answers_are_judged_by_status_and_body(status: int, body: str, result: str) -> None:
    assert classify(Reply(status, body.encode()), NOW).result == result


def test_an_outcome_repeats_no_text_of_strangers() -> None:
    outcome = classify(Reply(200, b"root:x:0:0:/etc/passwd"), NOW)

    assert "root" not in outcome.reason


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3),
        ("0", 1),
        ("-5", 1),
        ("999999", 3600),
        ("nan", 30),
        ("soon", 30),
        (None, 30),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
    ],
)
def test_retry_after_is_obeyed_within_bounds(header: str | None, seconds: float) -> None:
    outcome = classify(Reply(429, b"", header), NOW)

    assert outcome.after_s == seconds

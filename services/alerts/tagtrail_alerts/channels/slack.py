"""Slack: incoming webhooks, Block Kit.

Facts that shape this module: a webhook answers 200 with the text `ok`; failures are a word in the
body, sometimes with status 200, so the body is looked at first. It returns no message id: cards
cannot be edited. Documented limits are those of Block Kit; about 13,000 characters of blocks are
refused before them, so a card keeps within 10,000.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from tagtrail_alerts.channels.answers import retry_after_s
from tagtrail_alerts.channels.contract import Outcome, Reply
from tagtrail_alerts.core.card import LISTED, AlertCard, GroupCard

HEADER_MAX: Final = 150
SECTION_MAX: Final = 3000
FIELD_MAX: Final = 2000
BLOCKS_BUDGET: Final = 10_000
"""Characters of all blocks as JSON; above about 13,200 Slack answers `msg_blocks_too_long`."""
TEXT_MAX: Final = 400

PERMANENT: Final = frozenset(
    {
        "action_prohibited", "channel_is_archived", "channel_not_found", "invalid_blocks",
        "invalid_payload", "invalid_token", "msg_blocks_too_long", "no_active_hooks", "no_service",
        "no_service_id", "no_team", "no_text", "posting_to_general_channel_denied",
        "team_disabled", "token_revoked", "too_many_attachments", "user_not_found",
    }
)  # fmt: skip
"""Words that mean: it will never work like this."""

_WORD: Final = re.compile(r"[a-z][a-z_]{1,63}")
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SIGNS: Final = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
_SEVERITIES: Final = ("critical", "warning", "info")
_RULES: Final = {
    "missing_tag": "tags are missing",
    "left_outbound_without_pod": "left the outbound zone without proof of delivery",
    "clone_suspected": "labels were probably copied",
}
Block = dict[str, Any]


def escape(text: str, most: int) -> str:
    """Return text with Slack's three signs escaped and control characters as spaces.

    Never longer than `most` characters, and never cut inside an escape.
    """
    parts: list[str] = []
    size = 0
    for sign in text:
        part = _ESCAPES.get(sign, max(sign, " "))
        if size + len(part) > most:
            while parts and size >= most:
                size -= len(parts.pop())
            return "".join(parts) + "…"
        parts.append(part)
        size += len(part)
    return "".join(parts)


def render(group: GroupCard) -> dict[str, object]:
    """Return the payload of a webhook call."""
    if len(group.cards) == 1:
        headline, blocks = _one(group.cards[0])
    else:
        headline, blocks = _many(group.cards)
    if group.maybe_duplicate:
        note = "May be a repeat: an earlier try to send this got no answer."
        blocks.append(_context(note))
    return {"text": escape(headline, TEXT_MAX), "blocks": blocks}


def _one(card: AlertCard) -> tuple[str, list[Block]]:
    over = card.phase == "resolved"
    headline = f"✅ Over: {card.title}" if over else f"{_SIGNS[card.severity]} {card.title}"
    blocks = [_header(headline)]
    told = card.cause if over else card.why
    if told:
        blocks.append(_section(escape(told, 1500)))
    fields = [_field("What", card.what), _field("Where", card.where)]
    if card.since_at is not None:
        fields.append(_mrkdwn(f"*Since*\n{_time(card.since_at)}"))
    if not over:
        fields.append(_field("Next step", card.next_step))
    shown = [f for f in fields if f is not None]
    if shown:
        blocks.append({"type": "section", "fields": shown})
    if card.link:
        blocks.append(_section(_link(card.link, "Open in Tagtrail")))
    blocks.append(_context(f"Rule {card.rule_id} · alert {card.alert_id}"))
    return headline, blocks


def _many(cards: Sequence[AlertCard]) -> tuple[str, list[Block]]:
    first, count = cards[0], len(cards)
    worst = min((c.severity for c in cards), key=_SEVERITIES.index)
    over = first.phase == "resolved"
    what = _RULES.get(first.rule_id, f"alerts of rule {first.rule_id}")
    headline = f"✅ Over: {count}× {what}" if over else f"{_SIGNS[worst]} {count}× {what}"
    listed = LISTED
    while True:
        blocks = _many_blocks(cards, headline, listed)
        if listed == 1 or _size(blocks) <= BLOCKS_BUDGET - 500:
            return headline, blocks
        listed -= 1


def _many_blocks(cards: Sequence[AlertCard], headline: str, listed: int) -> list[Block]:
    lines = [_line(card) for card in cards[:listed]]
    more = len(cards) - len(lines)
    link = cards[0].link
    if more:
        lines.append(f"… and {more} more")
    blocks = [_header(headline), _section(*lines)]
    next_step = cards[0].next_step
    if next_step and cards[0].phase == "fired":
        blocks.append(_section("*Next step*\n" + escape(next_step, 600)))
    if link:
        blocks.append(_section(_link(link.partition("?")[0], "Open all in Tagtrail")))
    blocks.append(_context(f"Rule {cards[0].rule_id} · {len(cards)} alerts in one message"))
    return blocks


def _line(card: AlertCard) -> str:
    parts = [f"*{escape(card.what or card.title, 100)}*"]
    if card.where:
        parts.append(escape(card.where, 80))
    if card.phase == "resolved" and card.cause:
        parts.append(escape(card.cause, 80))
    elif card.since_at is not None:
        parts.append(f"since {_time(card.since_at)}")
    return "• " + ", ".join(parts)


def _size(blocks: list[Block]) -> int:
    return len(msgspec.json.encode(blocks).decode())


def _time(at: datetime) -> str:
    fallback = at.strftime("%Y-%m-%d %H:%M UTC")
    return f"<!date^{int(at.timestamp())}^{{date_short_pretty}} {{time}}|{fallback}>"


def _link(url: str, words: str) -> str:
    clean = url.replace("|", "%7C").replace(">", "%3E").replace("<", "%3C")
    return f"<{clean}|{words}>"


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _field(name: str, value: str | None) -> Block | None:
    return _mrkdwn(f"*{name}*\n{escape(value, 600)}") if value else None


def _section(*lines: str) -> Block:
    return {"type": "section", "text": _mrkdwn("\n".join(lines)[:SECTION_MAX])}


def _header(text: str) -> Block:
    plain = {"type": "plain_text", "text": escape(text, HEADER_MAX), "emoji": True}
    return {"type": "header", "text": plain}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_mrkdwn(escape(text, 600))]}


def classify(reply: Reply, now: datetime) -> Outcome:
    """Return what an answer means.

    Args:
        reply: The answer.
        now: Wall clock, for a Retry-After that is a date.
    """
    text = reply.body.decode("utf-8", "replace").strip()
    if 200 <= reply.status < 300 and text in ("ok", '{"ok":true}'):
        return Outcome("delivered", "ok")
    word = _word(text)
    if reply.status == 429 or word in ("rate_limited", "ratelimited"):
        after_s = retry_after_s(reply.retry_after, now)
        return Outcome("rate_limited", f"the channel asks to wait {after_s:.0f} s", after_s)
    if word in PERMANENT:
        return Outcome("permanent", f"the channel answers {reply.status} {word}")
    if reply.status in (408, 425) or reply.status >= 500:
        return Outcome("retry", f"the channel answers {reply.status}")
    if 200 <= reply.status < 300:
        return Outcome("retry", f"the channel answers {reply.status} without saying ok")
    return Outcome("permanent", f"the channel answers {reply.status}")


def _word(text: str) -> str:
    """Return the word of an error answer: bare text, or the member `error` of a JSON object."""
    if text.startswith("{"):
        try:
            text = str(msgspec.json.decode(text, type=dict[str, Any]).get("error", ""))
        except msgspec.DecodeError:
            return ""
    return text if _WORD.fullmatch(text) else ""

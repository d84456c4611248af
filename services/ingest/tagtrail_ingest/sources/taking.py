"""Decodes messages and leaves out what is of a class that is switched off. Pure."""

from __future__ import annotations

import msgspec

from tagtrail_ingest.adapters import Adapter, Decoded, Message, UnreadableError
from tagtrail_ingest.sources.policy import FOREIGN, Refused, SourceRules


def taken(
    adapter: Adapter, message: Message, rules: SourceRules
) -> tuple[Decoded, list[tuple[int, Refused]]]:
    """Decode a message; nothing of a class that is switched off is in the result.

    Args:
        adapter: What reads it.
        message: The message.
        rules: What the tenant decided.

    Returns:
        What is taken, and (index, why) of the items that are not. A message that cannot be read is
        one such item if its format carries only such a class: it is not kept either.

    Raises:
        UnreadableError: the message belongs in quarantine.
    """
    try:
        decoded = adapter.decode(message)
    except UnreadableError:
        refused = rules.refused_class(adapter.source_class)
        if refused is None:
            raise
        return Decoded(), [(0, refused)]
    if all(r.draft.source_class not in FOREIGN for r in decoded.readings):
        return decoded, []
    off: list[tuple[int, Refused]] = []
    readings = []
    for reading in decoded.readings:
        refused = rules.refused_class(reading.draft.source_class)
        if refused is None:
            readings.append(reading)
        else:
            off.append((reading.index, refused))
    return msgspec.structs.replace(decoded, readings=tuple(readings)), off

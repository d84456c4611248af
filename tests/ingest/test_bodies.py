"""Which facts `POST /v1/events` takes from whom."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import msgspec
import pytest

from tagtrail_ingest.bodies import EventsBody, envelope_of
from tagtrail_kernel.errors import RejectedError
from tagtrail_kernel.events.sightings import TagSighted

AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
BODY = b'{"events":[{"type":"tag.sighted","data":{"tag_id":"t","gateway_id":"g"}}]}'


def test_radio_facts_come_as_sightings_except_from_a_service_that_knows_the_tag() -> None:
    [new] = msgspec.json.decode(BODY, type=EventsBody).events

    with pytest.raises(RejectedError, match="POST /v1/sightings"):
        envelope_of(new, 0, event_id=uuid.uuid5(uuid.NAMESPACE_OID, "1"), at=AT, trace=None)
    fact = envelope_of(
        new, 0, event_id=uuid.uuid5(uuid.NAMESPACE_OID, "1"), at=AT, trace=None, radio=True
    )

    assert isinstance(fact.data, TagSighted)

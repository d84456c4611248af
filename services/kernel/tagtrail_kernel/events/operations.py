"""Acts of operators that a replay must know. `subject` of the envelope is the consumer or thing."""

from __future__ import annotations

from tagtrail_kernel.events.registry import Event, Family, event
from tagtrail_kernel.events.sightings import Id, SourceClass, Text


@event("consumer.event_parked", version=1, family=Family.OPERATION)
class ConsumerEventParked(Event, frozen=True, kw_only=True):
    """An operator let a paused consumer pass over one event.

    Attributes:
        consumer: Name of the consumer, `service.name`.
        position: Position of the event that is passed over, >= 1.
        error: What the consumer said about it.
        reason: Why the operator passed it over.
        by: Key that did it.
    """

    consumer: Id
    position: int
    error: Text | None = None
    reason: Text
    by: Id | None = None


@event("message.redriven", version=1, family=Family.OPERATION)
class MessageRedriven(Event, frozen=True, kw_only=True):
    """A quarantined message was read after all.

    Attributes:
        quarantine_id: The message.
        events: How many events it gave.
        by: Key that did it.
    """

    quarantine_id: Id
    events: int
    by: Id | None = None


@event("sightings.erased", version=1, family=Family.OPERATION)
class SightingsErased(Event, frozen=True, kw_only=True):
    """All sightings of a class of sources up to here are to be erased, with what followed from them.

    Their bodies go, their hashes stay; the same with zone changes, presence and alerts that would
    not be there without them. What still holds is derived and recorded anew.

    Attributes:
        source_class: The class.
        reason: Why, for people.
        by: Key that ordered it.
    """

    source_class: SourceClass
    reason: Text | None = None
    by: Id | None = None


@event("conclusions.renewed", version=1, family=Family.OPERATION)
class ConclusionsRenewed(Event, frozen=True, kw_only=True):
    """Places that orders of erasure withdrew were derived anew, as far as they still hold.

    Attributes:
        up_to: Position of the last of those orders, >= 1.
    """

    up_to: int


@event("subject.erased", version=1, family=Family.OPERATION)
class SubjectErased(Event, frozen=True, kw_only=True):
    """The key that sealed a subject's personal fields was destroyed. Holds no personal data.

    Attributes:
        subject_id: The subject's random id.
        reason: Ground of the erasure.
    """

    subject_id: Id
    reason: Text | None = None

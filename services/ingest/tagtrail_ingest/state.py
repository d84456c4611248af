"""What ingest's routes and tasks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tagtrail_ingest.adapters import Router
from tagtrail_ingest.enrolment import Enrolments
from tagtrail_ingest.intake import Intake
from tagtrail_ingest.quarantine import Quarantine
from tagtrail_ingest.settings import IngestSettings
from tagtrail_ingest.sources.asking import Partners
from tagtrail_ingest.tallies import Tallies
from tagtrail_ingest.updates.store import UpdateStore
from tagtrail_kernel.access import AccessStore
from tagtrail_kernel.clock import Clock, Ids
from tagtrail_kernel.idempotency import Idempotency
from tagtrail_kernel.log import EventLog, Tail


@dataclass(frozen=True, slots=True)
class State:
    """The parts of one ingest process.

    Attributes:
        settings: Settings.
        log: The log.
        tail: Wakes readers.
        clock: Current time.
        ids: New ids.
        idempotency: Answers by `Idempotency-Key`.
        intake: From messages to facts.
        quarantine: Messages that could not be read.
        tallies: Counts.
        router: Topic rules.
        enrolments: One-time codes and signing keys.
        updates: Updates of the agent.
        partners: Partners' clouds.
        access: Tenants and keys.
        mqtt_connected: Whether this process holds a connected MQTT session.
    """

    settings: IngestSettings
    log: EventLog
    tail: Tail
    clock: Clock
    ids: Ids
    idempotency: Idempotency
    intake: Intake
    quarantine: Quarantine
    tallies: Tallies
    router: Router
    enrolments: Enrolments
    updates: UpdateStore
    partners: Partners
    access: AccessStore
    mqtt_connected: Callable[[], bool]

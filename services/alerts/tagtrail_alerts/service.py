"""The alerts service."""

from __future__ import annotations

from fastapi import APIRouter

from tagtrail_alerts import api_alerts, api_delivery, api_rules
from tagtrail_alerts.acting import Acting
from tagtrail_alerts.channels.directory import Channels
from tagtrail_alerts.notices import OutboxNotices
from tagtrail_alerts.projection import NAME, Alerts
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_alerts.ticker import Ticker
from tagtrail_alerts.worker import Sender, Worker
from tagtrail_kernel.wiring import Deps, Service


def build(deps: Deps, settings: AlertsSettings) -> Service:
    """Build the service on the given ports."""
    channels = Channels(deps.database_of(NAME), settings)
    sender = Sender(deps.http, settings)
    worker = Worker(deps, settings, channels, sender)
    ticker = Ticker(deps, every_s=settings.tick_s)
    notices = OutboxNotices(channels, settings, deps.clock)
    acting = Acting(deps)
    router = APIRouter(prefix="/v1")
    router.include_router(api_alerts.router_of(deps, settings, acting))
    router.include_router(api_rules.router_of(deps, acting))
    router.include_router(api_delivery.router_of(deps, settings, channels, sender))
    return Service(
        name=NAME,
        router=router,
        projections=(lambda: Alerts(notices),),
        tasks=(ticker.run, worker.run),
    )

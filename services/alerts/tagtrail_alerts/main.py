"""This service alone: `uvicorn tagtrail_alerts.main:create_app --factory`."""

from __future__ import annotations

from fastapi import FastAPI

from tagtrail_alerts.service import build
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.bootstrap import deps_from_env
from tagtrail_kernel.settings import load
from tagtrail_kernel.wiring import app_of


def create_app() -> FastAPI:
    """Return the ASGI app."""
    deps = deps_from_env()
    return app_of(deps, build(deps, load(AlertsSettings)))

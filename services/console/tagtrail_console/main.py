"""The console alone: `uvicorn tagtrail_console.main:create_app --factory`."""

from __future__ import annotations

from fastapi import FastAPI

from tagtrail_console.service import build
from tagtrail_console.settings import ConsoleSettings
from tagtrail_kernel.bootstrap import deps_from_env
from tagtrail_kernel.settings import load
from tagtrail_kernel.wiring import app_of


def create_app() -> FastAPI:
    """Return the app as the environment says."""
    deps = deps_from_env()
    return app_of(deps, build(deps, load(ConsoleSettings)))

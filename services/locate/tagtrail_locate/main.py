"""This service alone: `uvicorn tagtrail_locate.main:create_app --factory`."""

from __future__ import annotations

from fastapi import FastAPI

from tagtrail_kernel.bootstrap import deps_from_env
from tagtrail_kernel.settings import load
from tagtrail_kernel.wiring import app_of
from tagtrail_locate.service import build
from tagtrail_locate.settings import LocateSettings


def create_app() -> FastAPI:
    """Return the ASGI app."""
    deps = deps_from_env()
    return app_of(deps, build(deps, load(LocateSettings)))

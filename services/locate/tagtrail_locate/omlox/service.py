"""Puts the omlox face together."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from tagtrail_kernel.database import Database
from tagtrail_kernel.wiring import Deps
from tagtrail_locate.omlox.api import router_of
from tagtrail_locate.omlox.socket import Session
from tagtrail_locate.omlox.views import Views
from tagtrail_locate.omlox.writer import Writer
from tagtrail_locate.reading import Reading


def omlox_router(
    deps: Deps, database: Database, reading: Reading, *, interval_s: float
) -> APIRouter:
    """Return the routes under /omlox/v2, the WebSocket among them.

    Args:
        deps: Ports.
        database: Locate's tables.
        reading: Places.
        interval_s: Time between two looks of a WebSocket at the tables, seconds.
    """
    views = Views(database, reading, deps.clock)
    writer = Writer(database, deps.sink, deps.clock, deps.ids)
    router = router_of(views, writer)

    @router.websocket("/ws/socket")
    async def omlox_socket(socket: WebSocket) -> None:
        await socket.accept()
        await Session(socket, views, writer, interval_s=interval_s).run()

    return router

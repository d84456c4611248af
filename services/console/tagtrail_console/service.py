"""The console as a service."""

from __future__ import annotations

from tagtrail_console.api import router_of
from tagtrail_console.assets import Assets
from tagtrail_console.pages import Pages
from tagtrail_console.proxy import Proxy, Upstream
from tagtrail_console.session import Sessions
from tagtrail_console.settings import ConsoleSettings
from tagtrail_kernel.wiring import Deps, Service


def build(deps: Deps, settings: ConsoleSettings) -> Service:
    """Return the console.

    It reads the services' APIs at the addresses in `deps.settings`; where one is empty it asks the
    process it runs in.
    """
    assets = Assets()
    upstream = Upstream(settings.upstream_timeout_s)
    deps.resources.append(upstream)
    router = router_of(
        assets, Pages(assets), Sessions(deps, settings), Proxy(deps.settings, upstream)
    )
    return Service(name="console", router=router)

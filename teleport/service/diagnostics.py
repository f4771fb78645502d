"""The diagnostic port: /healthz, /readyz and /metrics, without TLS and without secrets, for those who watch."""

import logging
from typing import Final

from aiohttp import web

from teleport.service.address import DEFAULT_DIAG_PORT, Address
from teleport.service.connections import bind, run_application
from teleport.service.metrics import Metrics
from teleport.service.site import Site

__all__ = ["application", "start_diagnostics"]

log = logging.getLogger(__name__)

_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


async def start_diagnostics(site: Site, address: str) -> Address:
    """Answer there from now on; where that really is. Raises Unavailable."""
    sock, bound = bind(Address.parse(address, DEFAULT_DIAG_PORT))
    runner = await run_application(application(site), site.life)
    await web.SockSite(runner, sock).start()
    log.info("diagnostics at http://%s", bound)
    if not bound.loopback:
        log.warning("diagnostics are open to the network at http://%s, without TLS", bound)
    return bound


def application(site: Site) -> web.Application:
    """What the port serves."""
    metrics = Metrics(site)

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        reasons = site.health.reasons
        body = {
            "status": "unavailable" if reasons else "ok",
            "reasons": list(reasons),
            "remarks": list(site.health.remarks),
        }
        return web.json_response(body, status=503 if reasons else 200)

    async def prometheus(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": _PROMETHEUS})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", prometheus)
    return app

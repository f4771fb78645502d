"""What the proxy serves to browsers, and to clients that have no certificate yet.

Routes of the API that need no certificate are passed on to the auth service, with the client's address. The page
behind an invitation lives here too, and what servers of repositories tell.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.api.server import answer_error, read_request
from teleport.core.errors import TeleportError
from teleport.net.addresses import ClientAddresses
from teleport.proxy.pages import Pages
from teleport.proxy.webhooks import Webhooks

__all__ = ["web_application"]

log = logging.getLogger(__name__)

_PASSED_ON = tuple(route for route in r.ROUTES if isinstance(route.permission, r.Anybody))


def web_application(auth: ApiClient, *, cluster: str, addresses: ClientAddresses) -> web.Application:
    """The application of the proxy's HTTPS side."""
    app = web.Application(client_max_size=64 * 1024, middlewares=[_careful])
    for route in _PASSED_ON:
        app.router.add_route(route.method, route.path, _passing_on(route, auth, addresses))
    Webhooks(auth, addresses=addresses).add_routes(app)
    Pages(auth, cluster=cluster, addresses=addresses).add_routes(app)
    return app


def _passing_on(
    route: r.Route[Any, Any], auth: ApiClient, addresses: ClientAddresses
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        try:
            question, _ = await read_request(route, request)
            if "client_address" in route.request.model_fields:
                question = question.model_copy(update={"client_address": addresses.of(request.transport)[0]})
            answer = await auth.call(route, question)
            return web.json_response(text=answer.model_dump_json())
        except TeleportError as error:
            return answer_error(error)

    return endpoint


@web.middleware
async def _careful(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Headers that every answer carries, and no traces in any."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = web.json_response({"error": {"code": "not_found", "message": error.reason}}, status=error.status)
    except (ConnectionError, TimeoutError):
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        response = answer_error(TeleportError("an internal error"))
    response.headers.update(
        {
            "Strict-Transport-Security": "max-age=31536000",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Server": "Teleport",
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
                " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
            ),
        }
    )
    return response

"""Takes what servers of repositories send and passes it on to the auth service, which alone knows the secrets.

Nobody has proved anything here: sizes, times and how many are listened to at once are bounded.
"""

import asyncio
import base64
from typing import Final

from aiohttp import web

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.api.server import answer_error, read_body
from teleport.core.errors import AccessDenied, BadInput, TeleportError, Throttled
from teleport.net.addresses import ClientAddresses

__all__ = ["Webhooks"]

_LARGEST_BODY: Final = 1 << 20
_LONGEST_HEADER: Final = 1024
_SECONDS: Final = 10.0
"""How long a message may take to arrive."""
_AT_ONCE: Final = 16
_HEADERS: Final = (
    "content-type", "x-hub-signature-256", "x-gitea-signature", "x-forgejo-signature", "x-gogs-signature",
    "x-gitlab-token", "webhook-id", "webhook-timestamp", "webhook-signature", "x-github-event", "x-gitlab-event",
    "x-gitea-event", "x-forgejo-event", "x-gogs-event",
)  # fmt: skip
_LONGEST_NAME: Final = 64


class Webhooks:
    def __init__(self, auth: ApiClient, *, addresses: ClientAddresses) -> None:
        self._auth, self._addresses = auth, addresses
        self._listening = 0

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/webhooks/policy/{source}", self._receive)

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        if self._listening >= _AT_ONCE:
            return answer_error(Throttled("too many messages at once; try again"))
        self._listening += 1
        try:
            answer = await self._auth.call(r.WEBHOOK, await self._delivery(request))
        except TimeoutError:
            return answer_error(BadInput("the message took too long"))
        except TeleportError as error:
            return answer_error(error)
        finally:
            self._listening -= 1
        return web.json_response({"message": answer.message}, status=202 if answer.fetches else 200)

    async def _delivery(self, request: web.Request) -> m.WebhookDelivery:
        headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
        source = request.match_info["source"]
        if len(source) > _LONGEST_NAME or not all(one.isascii() and one.isprintable() for one in headers.values()):
            raise AccessDenied("this is not signed with the secret of a source")
        if any(len(one) > _LONGEST_HEADER for one in headers.values()):
            raise AccessDenied("this is not signed with the secret of a source")
        async with asyncio.timeout(_SECONDS):
            body = await read_body(request, _LARGEST_BODY)
        return m.WebhookDelivery(
            source=source, headers=headers, body=base64.b64encode(body).decode(),
            client_address=self._addresses.of(request.transport)[0],
        )  # fmt: skip

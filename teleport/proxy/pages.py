"""The page behind an invitation: set a password, scan a code, confirm it. Plain forms; nothing needs a script.

The token stays out of logs and referrers; each form carries a token of its own against cross-site posts, bound to
a `__Host-` cookie.
"""

import hmac
import secrets
from importlib.resources import files
from typing import Any, Final, TypeVar

import jinja2
import segno
from aiohttp import web
from pydantic import ValidationError

from teleport.api import models as m
from teleport.api import routes as r
from teleport.api.client import ApiClient
from teleport.core.errors import BadInput, TeleportError
from teleport.net.addresses import ClientAddresses
from teleport.pki.authority import TrustedAuthority

__all__ = ["Pages"]

_Q = TypeVar("_Q", bound=m.Message)

_COOKIE: Final = "__Host-teleport-form"
_MAX_URI: Final = 512
"""Characters of an `otpauth://` URI that fit a QR code whatever they are."""
_ASSETS: Final = {"style.css": "text/css"}


class Pages:
    """The handful of pages of the proxy."""

    def __init__(self, auth: ApiClient, *, cluster: str, addresses: ClientAddresses) -> None:
        self._auth, self._cluster, self._addresses = auth, cluster, addresses
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("teleport.proxy"), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/", self._home)
        app.router.add_get("/web/invite/{token}", self._invitation)
        app.router.add_post("/web/invite/{token}", self._password)
        app.router.add_post("/web/invite/{token}/confirm", self._confirm)
        app.router.add_get("/web/assets/{name}", self._asset)

    async def _home(self, request: web.Request) -> web.Response:
        return self._page(request, "home.html", {"address": request.host})

    async def _asset(self, request: web.Request) -> web.Response:
        kind = _ASSETS.get(request.match_info["name"])
        if kind is None:
            raise web.HTTPNotFound
        body = files("teleport.proxy").joinpath("static", request.match_info["name"]).read_bytes()
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _invitation(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        try:
            offer = await self._auth.call(r.INVITEE, self._question(request, m.Invitee))
        except TeleportError as error:
            return self._failed(request, error)
        return self._page(request, "password.html", {"user": offer.user, "problem": "", "token": token})

    async def _password(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        try:
            form = await self._form(request)
            user = (await self._auth.call(r.INVITEE, self._question(request, m.Invitee))).user
        except TeleportError as error:
            return self._failed(request, error)
        if form.get("password", "") != form.get("again", ""):
            problem = "The two passwords differ."
            return self._page(request, "password.html", {"user": user, "problem": problem, "token": token})
        try:
            question = self._question(request, m.EnrolmentRequest, password=form.get("password", ""))
            offer = await self._auth.call(r.ENROL, question)
        except BadInput as error:
            shown = {"user": user, "problem": _sentence(error), "token": token}
            return self._page(request, "password.html", shown)
        except TeleportError as error:
            return self._failed(request, error)
        return self._factor(request, offer.otpauth, user, "")

    async def _confirm(self, request: web.Request) -> web.Response:
        try:
            form = await self._form(request)
            code = self._question(request, m.Confirmation, code=form.get("code", ""))
        except TeleportError as error:
            return self._failed(request, error)
        user, uri = form.get("user", ""), form.get("otpauth", "")[:_MAX_URI]
        try:
            await self._auth.call(r.CONFIRM, code)
        except TeleportError as error:
            if error.status == 401 and uri.startswith("otpauth://"):
                return self._factor(request, uri, user, _sentence(error))
            return self._failed(request, error)
        return self._page(request, "done.html", {"user": user, "address": request.host, "pins": await self._pins()})

    async def _pins(self) -> tuple[str, ...]:
        """What lets `tsh` recognise this proxy."""
        answer = await self._auth.call(r.AUTHORITIES, m.Empty())
        authorities = (TrustedAuthority.decode(text) for text in answer.authorities)
        return tuple(pin for one in authorities if one.kind == "host" for pin in one.pins)

    def _factor(self, request: web.Request, uri: str, user: str, problem: str) -> web.Response:
        picture = segno.make(uri, error="m").svg_data_uri(scale=5, border=2)
        shown = {
            "user": user, "otpauth": uri, "picture": picture, "problem": problem, "token": request.match_info["token"],
        }  # fmt: skip
        return self._page(request, "factor.html", shown)

    def _failed(self, request: web.Request, error: TeleportError) -> web.Response:
        shown = {"message": _sentence(error), "hint": error.hint}
        return self._page(request, "failed.html", shown, status=error.status)

    def _page(self, request: web.Request, name: str, shown: dict[str, Any], *, status: int = 200) -> web.Response:
        form_token = request.cookies.get(_COOKIE) or secrets.token_urlsafe(24)
        text = self._templates.get_template(name).render(cluster=self._cluster, form_token=form_token, **shown)
        response = web.Response(text=text, content_type="text/html", status=status)
        response.set_cookie(_COOKIE, form_token, secure=True, httponly=True, samesite="Strict", path="/")
        return response

    def _question(self, request: web.Request, model: type[_Q], **fields: str) -> _Q:
        """A question about the invitation in the address. Raises BadInput for what is longer than anything real."""
        address = self._addresses.of(request.transport)[0]
        try:
            return model.model_validate({"token": request.match_info["token"], "client_address": address, **fields})
        except ValidationError:
            raise BadInput("what was entered, or the link, is too long") from None

    async def _form(self, request: web.Request) -> dict[str, str]:
        """The fields of a form that came from a page of ours. Raises BadInput."""
        fields = {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
        expected = request.cookies.get(_COOKIE, "")
        if not expected or not hmac.compare_digest(expected.encode(), fields.get("form_token", "").encode()):
            raise BadInput(
                "the form does not come from this page, or cookies are switched off", hint="open the link again"
            )
        return fields


def _sentence(error: TeleportError) -> str:
    text = error.message[:1].upper() + error.message[1:]
    return text if text.endswith(".") else f"{text}."

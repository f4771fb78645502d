"""Calls the routes: over mutual TLS, or over the administration socket.

Failures of the network are `Unavailable`; what the server refuses comes back as the error it raised.
"""

import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from pydantic import ValidationError

from teleport.api.models import Message
from teleport.api.ndjson import Objects
from teleport.api.routes import Route
from teleport.core.errors import BadInput, TeleportError, Unavailable, from_wire
from teleport.net.through import WebProxy

__all__ = ["ApiClient"]

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


class ApiClient:
    """An async context manager. `server_name` is the name whose certificate is demanded, if not the address's."""

    def __init__(
        self, base: str, *, tls: ssl.SSLContext | None = None, server_name: str | None = None,
        unix: Path | None = None, timeout: float = 30.0, through: WebProxy | None = None,
    ) -> None:  # fmt: skip
        self._base, self._tls, self._server_name, self._unix = base, tls, server_name, unix
        self._through = through
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=10.0)
        self._pool: _Pool | None = None

    @classmethod
    def at_socket(cls, path: Path) -> Self:
        """The administration socket of the auth service on this host."""
        return cls("http://auth", unix=path)

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.session.close()
            self._pool = None

    def replace_tls(self, tls: ssl.SSLContext) -> None:
        """Use other credentials for connections from now on."""
        self._tls = tls

    def move(self, base: str, *, through: WebProxy | None) -> None:
        """Ask at another address from now on."""
        self._base, self._through = base, through

    async def reconnect(self) -> None:
        """Give up every connection there is: they may lead nowhere. What is under way fails as Unavailable."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.retire()

    def _open(self) -> "_Pool":
        if self._pool is None:
            connector = (
                aiohttp.UnixConnector(str(self._unix)) if self._unix is not None else aiohttp.TCPConnector(limit=20)
            )
            self._pool = _Pool(aiohttp.ClientSession(connector=connector, timeout=self._timeout))
        return self._pool

    async def call(
        self, route: Route[RequestT, ResponseT], request: RequestT, *, body: bytes | None = None
    ) -> ResponseT:
        """Ask, and wait for the answer. Raises the error the server answered with, or Unavailable."""
        async with self._ask(route, request, body) as response:
            raw = await response.read()
        try:
            return route.response.model_validate_json(raw)
        except ValidationError as error:
            raise TeleportError(
                f"the answer to {route.name} cannot be understood: {error.error_count()} problems",
                hint="are client and server of the same version?",
            ) from error

    async def lines(self, route: Route[RequestT, ResponseT], request: RequestT) -> AsyncGenerator[dict[str, Any]]:
        """The objects of an NDJSON answer as they come. Raises Unavailable when it breaks off or stays silent."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=30.0)
        async with self._ask(route, request, None, timeout=timeout) as response:
            objects = Objects()
            async for chunk in _failing_softly(response):
                try:
                    for one in objects.feed(chunk):
                        yield one
                except BadInput as error:
                    raise Unavailable(f"the answer to {route.name} cannot be understood: {error.message}") from None

    async def stream(self, route: Route[RequestT, ResponseT], request: RequestT) -> AsyncGenerator[bytes]:
        """The bytes of a streamed answer, however long it takes as long as some keep coming."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=30.0)
        async with self._ask(route, request, None, timeout=timeout) as response:
            async for chunk in _failing_softly(response):
                yield chunk

    def _ask(
        self,
        route: Route[Any, Any],
        request: Message,
        body: bytes | None,
        *,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> "_Exchange":
        fields = request.model_dump(mode="json", exclude_none=True)
        path = route.path.format(**{name: _quoted(str(fields.pop(name))) for name in route.parameters})
        options: dict[str, Any] = {"ssl": self._tls if self._tls is not None else True}
        if self._server_name is not None and self._tls is not None:
            options["server_hostname"] = self._server_name
        if self._through is not None:
            options |= {"proxy": self._through.url, "proxy_headers": self._through.headers}
        if timeout is not None:
            options["timeout"] = timeout
        if body is not None:
            options |= {"data": body, "params": _query(fields)}
        elif route.method in ("GET", "DELETE"):
            options["params"] = _query(fields)
        else:
            options["json"] = {**fields, **{name: getattr(request, name) for name in route.parameters}}
        return _Exchange(self._open(), route.method, self._base + path, options)


class _Pool:
    """The connections that are used again, and what is under way on them.

    A session that is closed leaves those waiting for ever who read from it: it is closed once nobody does.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session, self.exchanges = session, set[_Exchange]()
        self._retired = False

    async def retire(self) -> None:
        """Nothing new begins here; answers that stream are cut off."""
        self._retired = True
        for one in tuple(self.exchanges):
            one.abort()
        if not self.exchanges:
            await self.session.close()

    async def leave(self, exchange: "_Exchange") -> None:
        self.exchanges.discard(exchange)
        if self._retired and not self.exchanges:
            await self.session.close()


class _Exchange:
    """One request and its answer, errors translated."""

    def __init__(self, pool: "_Pool", method: str, url: str, options: dict[str, Any]) -> None:
        self._pool = pool
        self._response: aiohttp.ClientResponse | None = None
        self._context = pool.session.request(method, _exact(url), allow_redirects=False, **options)

    def abort(self) -> None:
        """Cut off an answer that is under way: whoever reads it learns that it broke off."""
        connection = self._response.connection if self._response is not None else None
        if connection is not None and connection.transport is not None:
            connection.transport.abort()

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._pool.exchanges.add(self)
        try:
            return await self._begun()
        except BaseException:
            await self._pool.leave(self)
            raise

    async def _begun(self) -> aiohttp.ClientResponse:
        try:
            response = self._response = await self._context.__aenter__()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unavailable(error) from error
        if response.status < 300:
            return response
        try:
            body = await response.json(content_type=None)
        except (ValueError, aiohttp.ClientError):
            body = None
        await self._context.__aexit__(None, None, None)
        raise from_wire(body, status=response.status)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._context.__aexit__(kind, error, trace)
        await self._pool.leave(self)
        if isinstance(error, aiohttp.ClientError | TimeoutError):
            raise unavailable(error) from error


def unavailable(error: BaseException) -> Unavailable:
    """A failure of the network, in words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return Unavailable(f"the server's certificate is not trusted: {error}", hint="is this the right proxy?")
    text = _no_connection(error) if isinstance(error, aiohttp.ClientConnectorError) else str(error)
    return Unavailable(f"the auth service cannot be reached: {text or type(error).__name__}")


def _no_connection(error: aiohttp.ClientConnectorError) -> str:
    """Where to and why, without the objects that aiohttp's own words show."""
    cause = error.os_error
    by_the_system = cause.errno is not None and cause.errno > 0 and not isinstance(cause, ssl.SSLError)
    reason = os.strerror(cause.errno or 0) if by_the_system else cause.strerror or str(cause)
    where = getattr(error, "path", "") or f"{error.host}:{error.port}"
    return f"{where}: {reason}"


async def _failing_softly(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise unavailable(error) from error


def _query(fields: dict[str, Any]) -> dict[str, str]:
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in fields.items()
        if value not in ("", None)
    }


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _exact(url: str) -> Any:
    """The URL as it is: what is quoted stays quoted."""
    from yarl import URL

    return URL(url, encoded=True)

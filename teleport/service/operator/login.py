"""A session with an API server, from what kopf found out about it."""

import ssl
from collections.abc import Callable
from typing import Final, Protocol

import aiohttp

__all__ = ["Connection", "Login"]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)


class Connection(Protocol):
    """See `kopf.ConnectionInfo`."""

    @property
    def server(self) -> str: ...
    def as_http_headers(self) -> dict[str, str]: ...
    def as_ssl_context(self) -> ssl.SSLContext: ...


class Login:
    """Where the API server is, and the session with it. Close it when it is no longer needed."""

    def __init__(self, connection: Connection, again: Callable[[], Connection | None] = lambda: None) -> None:
        """`again` finds the way anew: a pod's token is another one after an hour."""
        self._again = again
        self.url, self.headers = connection.server.rstrip("/"), connection.as_http_headers()
        tls = self.url.startswith("https://")
        connector = aiohttp.TCPConnector(ssl=connection.as_ssl_context()) if tls else None
        self.http = aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector)

    def renew(self) -> None:
        """Take the credentials as they are now; the server refused those there were."""
        connection = self._again()
        if connection is not None:
            self.headers = connection.as_http_headers()

    async def close(self) -> None:
        await self.http.close()

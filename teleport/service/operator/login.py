"""A session with an API server, from what kopf found out about it."""

import ssl
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

    def __init__(self, connection: Connection) -> None:
        self.url, self.headers = connection.server.rstrip("/"), connection.as_http_headers()
        tls = self.url.startswith("https://")
        connector = aiohttp.TCPConnector(ssl=connection.as_ssl_context()) if tls else None
        self.http = aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector)

    async def close(self) -> None:
        await self.http.close()

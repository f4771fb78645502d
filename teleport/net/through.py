"""Ways out through an HTTP proxy (CONNECT), as HTTPS_PROXY and NO_PROXY name it. What passes is TLS throughout."""

import asyncio
import base64
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from teleport.core.errors import BadInput
from teleport.net.leaving import connected_socket

__all__ = ["WebProxy", "connected_through", "web_proxy"]

_ANSWER_SECONDS: Final = 15.0
_LONGEST_ANSWER: Final = 8192
_ACCEPTED: Final = re.compile(rb"HTTP/1\.[01] 2\d\d[ \r]")


@dataclass(frozen=True)
class WebProxy:
    """An HTTP proxy that lets connections through."""

    host: str
    port: int
    credentials: str = field(default="", repr=False)
    """USER:PASSWORD, or nothing."""

    @property
    def url(self) -> str:
        """Without the credentials, which are in no log."""
        return f"http://{_bracketed(self.host)}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        if not self.credentials:
            return {}
        return {"Proxy-Authorization": f"Basic {base64.b64encode(self.credentials.encode()).decode()}"}


def web_proxy(environment: Mapping[str, str], host: str) -> WebProxy | None:
    """The proxy to go through to a host, if any. Loopback is never reached through one. Raises BadInput."""
    text = environment.get("HTTPS_PROXY") or environment.get("https_proxy") or ""
    without = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if not text or _is_loopback(host) or any(_covers(one.strip(), host) for one in without.split(",")):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return WebProxy(parts.hostname, parts.port or 80, f"{user}:{password}" if user or password else "")
    except ValueError:
        raise BadInput(
            "HTTPS_PROXY is no address of a proxy that is spoken to in plain HTTP", hint="write http://HOST:PORT"
        ) from None


async def connected_through(proxy: WebProxy | None, host: str, port: int) -> socket.socket:
    """A non-blocking socket to a host, through the proxy if there is one. Raises OSError."""
    if proxy is None:
        return await connected_socket(host, port)
    sock = await connected_socket(proxy.host, proxy.port)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await _ask(sock, proxy, f"{_bracketed(host)}:{port}")
    except TimeoutError:
        sock.close()
        raise OSError(f"the web proxy {proxy.url} does not answer") from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _ask(sock: socket.socket, proxy: WebProxy, where: str) -> None:
    loop = asyncio.get_running_loop()
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", *(f"{key}: {text}" for key, text in proxy.headers.items())]
    await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        more = await loop.sock_recv(sock, 1)  # never beyond the answer: what follows is TLS's
        if not more or len(answer) > _LONGEST_ANSWER:
            raise OSError(f"the web proxy {proxy.url} does not answer as one")
        answer += more
    if not _ACCEPTED.match(answer):
        status = answer.split(b"\r\n", 1)[0].decode("latin-1")[:100]
        raise OSError(f"the web proxy {proxy.url} lets nobody through to {where}: {status!r}")


def _covers(pattern: str, host: str) -> bool:
    """Whether an entry of NO_PROXY means a host: a name with all below it, an address, or a network."""
    if pattern == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        name = pattern.lower().lstrip(".")
        return bool(name) and (host.lower() == name or host.lower().endswith(f".{name}"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

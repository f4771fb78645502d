"""One HTTPS request and the number it is answered with: all that a notification needs.

Nothing that an HTTP client does by itself happens here: no redirects, proxies, cookies, decompression, and of the
answer no more is read than its first line, within a deadline. Names are looked up by threads of its own, since a dead
name server holds on to them. What failed is told without the address, for a receiver's address may be its secret.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from teleport.core.errors import BadInput, Unavailable
from teleport.net.tls import client_context

__all__ = ["Answer", "Request", "Sender"]

_SECONDS: Final = 15.0
_LINE: Final = 8192
_LOOKING_UP: Final = 4
"""Names that are looked up at a time; further ones wait, as part of their deadline."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_FIELD: Final = re.compile(r"[\t -~]*")
_INTERIM: Final = 5
"""So many answers may come before the answer (RFC 9110 15.2)."""


@dataclass(frozen=True, repr=False)
class Request:
    """What is posted. Prints nothing: address and headers may be secrets."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    trust: str | None = None
    """PEM of the authorities to trust; None for the system's."""


@dataclass(frozen=True)
class Answer:
    status: int

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300

    @property
    def may_pass(self) -> bool:
        """Whether trying again later may help: the receiver is busy, ill, or has a right withdrawn for the moment."""
        return self.status >= 500 or self.status in (401, 403, 408, 425, 429)


class Sender:
    """Sends, as many at a time as are asked for. `look_up` is `socket.getaddrinfo`."""

    def __init__(self, *, seconds: float = _SECONDS, look_up: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._seconds, self._look_up = seconds, look_up
        self._threads = ThreadPoolExecutor(_LOOKING_UP, thread_name_prefix="names")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, request: Request) -> Answer:
        """Post it. Raises Unavailable for what may pass, BadInput for what cannot be sent at all."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._send(request)
        except TimeoutError:
            raise Unavailable(f"no answer within {self._seconds:g} seconds") from None
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(f"its certificate is not trusted: {error.verify_message}") from None
        except ssl.SSLError:
            raise Unavailable("TLS failed") from None
        except OSError as error:
            raise Unavailable(f"cannot be reached: {error.strerror or type(error).__name__}") from None
        except RuntimeError:
            raise Unavailable("there is no thread left to look its name up") from None

    async def _send(self, request: Request) -> Answer:
        parts = urlsplit(request.url)
        host, tls = parts.hostname or "", parts.scheme == "https"
        head = _head(request, parts.netloc, f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}")
        context = await asyncio.to_thread(_context, request.trust) if tls else None
        reader, writer = await self._connected(host, parts.port or (443 if tls else 80), context)
        try:
            writer.write(head + request.body)
            await writer.drain()
            return Answer(await _status(reader))
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _connected(
        self, host: str, port: int, context: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """At the first of its addresses that answers."""
        ask = partial(self._look_up, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        failure: OSError = OSError("its name has no address")
        for address in dict.fromkeys(row[4][0] for row in found):
            try:
                return await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=host if context else None, limit=_LINE
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
        raise failure


def _context(trust: str | None) -> ssl.SSLContext:
    context = client_context(trust=trust)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _head(request: Request, host: str, target: str) -> bytes:
    fields = {
        "Host": host, "Connection": "close", "Content-Type": "application/json",
        "Content-Length": str(len(request.body)), **request.headers,
    }  # fmt: skip
    if not all(_FIELD.fullmatch(value) for value in fields.values()):
        raise BadInput("a header would hold what no header may")
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("ascii")


async def _status(reader: asyncio.StreamReader) -> int:
    """The number of the answer; those before it are skipped."""
    for _ in range(_INTERIM):
        status = int(_matched(await _line(reader)))
        if status >= 200:
            return status
        while (await _line(reader)).strip():
            pass
    raise Unavailable("what it says is no answer")


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise Unavailable("what it says is no answer") from None


def _matched(line: bytes) -> bytes:
    match = _STATUS.fullmatch(line)
    if match is None:
        raise Unavailable("what it says is no answer")
    return match[1]

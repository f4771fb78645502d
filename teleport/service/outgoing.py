"""One HTTPS request and the number it is answered with: all that a notification needs.

Nothing that an HTTP client does by itself happens here: no redirects, proxies, cookies, decompression, and of the
answer no more is read than its first line, within a deadline. What failed is told without the address, for a receiver's
address may be its secret.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from teleport.core.errors import BadInput, Unavailable
from teleport.net.tls import client_context

__all__ = ["Answer", "Request", "send"]

_SECONDS: Final = 15.0
_LINE: Final = 8192
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


async def send(request: Request, *, seconds: float = _SECONDS) -> Answer:
    """Post it. Raises Unavailable for what may pass, BadInput for what cannot be sent at all."""
    try:
        async with asyncio.timeout(seconds):
            return await _send(request)
    except TimeoutError:
        raise Unavailable(f"no answer within {seconds:.0f} seconds") from None
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(f"its certificate is not trusted: {error.verify_message}") from None
    except ssl.SSLError:
        raise Unavailable("TLS failed") from None
    except OSError as error:
        raise Unavailable(f"cannot be reached: {error.strerror or type(error).__name__}") from None


async def _send(request: Request) -> Answer:
    parts = urlsplit(request.url)
    tls = _context(request.trust) if parts.scheme == "https" else None
    host, port = parts.hostname or "", parts.port or (443 if tls else 80)
    head = _head(request, parts.netloc, f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}")
    reader, writer = await asyncio.open_connection(
        host, port, ssl=tls, server_hostname=host if tls else None, limit=_LINE
    )
    try:
        writer.write(head + request.body)
        await writer.drain()
        return Answer(await _status(reader))
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


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

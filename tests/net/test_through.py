"""Through web proxies: which, when, and what one may answer."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from teleport.core.errors import BadInput
from teleport.net.through import WebProxy, connected_through, web_proxy


@pytest.mark.parametrize(
    ("environment", "host", "expected"),
    [
        ({}, "proxy.example.com", None),
        ({"HTTPS_PROXY": "http://web:3128"}, "proxy.example.com", WebProxy("web", 3128)),
        ({"https_proxy": "web:3128"}, "proxy.example.com", WebProxy("web", 3128)),
        ({"HTTPS_PROXY": "http://u:p%40@web"}, "proxy.example.com", WebProxy("web", 80, "u:p@")),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:8080"}, "proxy.example.com", WebProxy("2001:db8::1", 8080)),
        ({"HTTPS_PROXY": "http://web", "NO_PROXY": "example.com"}, "proxy.example.com", None),
        ({"HTTPS_PROXY": "http://web", "NO_PROXY": ".example.com"}, "proxy.example.com", None),
        ({"HTTPS_PROXY": "http://web", "NO_PROXY": "ample.com"}, "proxy.example.com", WebProxy("web", 80)),
        ({"HTTPS_PROXY": "http://web", "NO_PROXY": "a.org, 10.0.0.0/8"}, "10.1.2.3", None),
        ({"HTTPS_PROXY": "http://web", "NO_PROXY": "*"}, "10.1.2.3", None),
        ({"HTTPS_PROXY": "http://web"}, "127.0.0.1", None),
        ({"HTTPS_PROXY": "http://web"}, "localhost", None),
    ],
)
def test_the_environment_says_which(environment: dict[str, str], host: str, expected: WebProxy | None) -> None:
    assert web_proxy(environment, host) == expected


@pytest.mark.parametrize("text", ["https://web:443", "socks5://web", "http://", "http://web:port", "http://[::1"])
def test_what_is_no_proxy_of_that_kind_is_refused_and_not_passed_over(text: str) -> None:
    with pytest.raises(BadInput, match="HTTPS_PROXY"):
        web_proxy({"HTTPS_PROXY": text}, "proxy.example.com")


def test_a_password_is_in_nothing_that_is_logged() -> None:
    proxy = web_proxy({"HTTPS_PROXY": "http://edge:secret@web"}, "proxy.example.com")

    assert proxy is not None
    assert "secret" not in f"{proxy!r} {proxy.url}"
    assert proxy.headers == {"Proxy-Authorization": "Basic ZWRnZTpzZWNyZXQ="}


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[WebProxy, list[bytes]]]:
    """A web proxy that says this, whatever it is asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield WebProxy("127.0.0.1", server.sockets[0].getsockname()[1]), asked


async def test_what_follows_the_answer_is_not_taken_from_whoever_comes_next() -> None:
    async with answering(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 web\r\n\r\nTLS") as (proxy, asked):
        sock = await connected_through(proxy, "2001:db8::5", 443)

        assert asked[0].startswith(b"CONNECT [2001:db8::5]:443 HTTP/1.1\r\n")
        assert await asyncio.get_running_loop().sock_recv(sock, 10) == b"TLS"
        sock.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 302 Found\r\n\r\n", b"", b"HTTP/1.1 200 OK",
        b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2000 Funny\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 3000 + b"\r\n",
    ],
    ids=range(7),
)  # fmt: skip
async def test_a_proxy_that_lets_nobody_through_is_no_way(answer: bytes) -> None:
    async with answering(answer) as (proxy, _):
        with pytest.raises(OSError, match="web proxy"):
            await connected_through(proxy, "proxy.example.com", 443)


async def test_without_one_the_way_is_straight() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sock = await connected_through(None, "127.0.0.1", listening.getsockname()[1])

        assert sock.getpeername() == listening.getsockname()
        sock.close()

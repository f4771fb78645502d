"""Attacks by those who are told of the policy: silence, floods, redirects, rubbish; and what may give secrets away."""

import asyncio
import logging
import ssl
import threading
import time

import pytest

from teleport.core.errors import BadInput, TeleportError, Unavailable
from teleport.net.tls import server_context
from teleport.service.notifications import Receiver
from teleport.service.outgoing import Answer, Request, Sender
from tests.service.receivers import Serve, hostile, receiver, self_signed

SECONDS = 1.0
SEND = Sender(seconds=SECONDS)


async def attempt(serve: Serve) -> tuple[BaseException | Answer, float]:
    """What comes of sending something there, and how long it took."""
    async with hostile(serve) as url:
        began = time.monotonic()
        try:
            found: BaseException | Answer = await SEND(Request(url, b"{}"))
        except TeleportError as error:
            found = error
        return found, time.monotonic() - began


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"H")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 200 " + b"x" * 65536)
        await writer.drain()


async def endless_interim(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n")
        await writer.drain()


async def endless_fields_of_an_interim(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 103 Early Hints\r\n")
    while True:
        writer.write(b"Link: x\r\n" * 5000)
        await writer.drain()


async def rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xffSSH-2.0-x\r\n\r\n")


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def strange_number(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 99999999999999999999 OK\r\n\r\n")


@pytest.mark.parametrize(
    "serve",
    [silent, dripping, endless_line, endless_interim, endless_fields_of_an_interim, rubbish, hangs_up, strange_number],
)
async def test_whatever_a_receiver_does_ends_soon_as_something_that_may_pass_and_names_no_address(serve: Serve) -> None:
    found, took = await attempt(serve)

    assert isinstance(found, Unavailable)
    assert took < SECONDS + 1
    assert "SECRET" not in found.message


async def test_gigabytes_of_an_answer_are_not_read() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            writer.write(bytes(1 << 20))
            sent += 1 << 20
            await writer.drain()

    found, _ = await attempt(flood)

    assert found == Answer(200)
    assert sent < 64 << 20


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with receiver() as victim, receiver(answers=[status], location=victim.url) as first:
        answer = await SEND(Request(first.url, b"{}"))

    assert not answer.taken
    assert not answer.may_pass
    assert (len(first.requests), victim.requests) == (1, [])


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/x", "ftp://hooks.example.com", "file:///etc/passwd", "https://", "https://u:p@h/x",
        "http://127.0.0.1@evil.example.com/", "http://localhost.evil.example.com/", "https://h/a b",
        "https://h/\r\nX: y", "http://127.0.0.1.nip.io/", "http://10.0.0.1/", "https://h:99999999/",
    ],
)  # fmt: skip
def test_an_address_that_could_be_read_on_the_way_or_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError) as raised:
        Receiver.model_validate({"url": url})

    assert "the address" in str(raised.value)


async def test_a_header_cannot_be_smuggled_in_by_a_secret() -> None:
    async with receiver() as one:
        with pytest.raises(BadInput) as raised:
            await SEND(Request(one.url, b"{}", {"Authorization": "Bearer t\r\nX-Evil: 1"}))

    assert one.requests == []
    assert "Bearer" not in raised.value.message


async def test_a_certificate_that_nobody_vouches_for_is_not_talked_to() -> None:
    certificate, key = self_signed("localhost")
    context: ssl.SSLContext = server_context(certificate, key, minimum=ssl.TLSVersion.TLSv1_2)
    read = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read
        read = await reader.read(100)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        with pytest.raises(Unavailable, match="certificate is not trusted"):
            await SEND(Request(url, b"{}", {"Authorization": "Bearer SECRET"}))
        trusted = Request(url, b"{}", trust=certificate)
        with pytest.raises(Unavailable, match="what it says is no answer"):
            await SEND(trusted)

    assert read.startswith(b"POST /hook")


def test_a_request_prints_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    request = Request("https://hooks.example.com/SECRET", b"SECRET", {"Authorization": "SECRET"})

    logging.getLogger("x").warning("%r %s", request, request)

    assert "SECRET" not in caplog.text


async def test_a_name_server_that_is_dead_takes_no_threads_that_others_need() -> None:
    dead, released = threading.Event(), []

    def look_up(*arguments: object, **options: object) -> list[object]:
        dead.wait(10)
        released.append(threading.current_thread().name)
        return []

    send = Sender(seconds=0.2, look_up=look_up)
    attempts = [send(Request("https://hooks.example.com/", b"{}")) for _ in range(20)]
    found = await asyncio.gather(*attempts, return_exceptions=True)
    others = await asyncio.wait_for(asyncio.to_thread(threading.active_count), 1)
    dead.set()
    send.close()

    assert [str(one) for one in found] == ["no answer within 0.2 seconds"] * 20
    assert others > 0
    assert all(name.startswith("names") for name in released)

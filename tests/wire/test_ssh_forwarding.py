"""Requests to forward, as clients send them and as they never would."""

import pytest
from asyncssh.packet import String, UInt32
from hypothesis import given
from hypothesis import strategies as st

from teleport.wire.ssh_forwarding import (
    CANCELS,
    CHANNELS,
    LISTENS,
    SocketAddress,
    TcpAddress,
    cancelled,
    destination,
    listener,
)  # fmt: skip

_FROM = String(b"127.0.0.1") + UInt32(4711)


def test_a_channel_names_a_host_and_a_port() -> None:
    body = String(b"db.example.com") + UInt32(5432) + _FROM

    assert destination(b"direct-tcpip", body) == TcpAddress("db.example.com", 5432)


def test_a_channel_names_a_socket() -> None:
    body = String(b"/run/app.sock") + String(b"") + UInt32(0)

    assert destination(b"direct-streamlocal@openssh.com", body) == SocketAddress("/run/app.sock")


def test_what_shall_listen_is_cancelled_under_the_same_address() -> None:
    body = String(b"") + UInt32(8080)

    assert listener(b"tcpip-forward", body) == cancelled(b"cancel-tcpip-forward", body) == TcpAddress("", 8080)


@pytest.mark.parametrize(
    "body",
    [
        b"", String(b"h"), String(b"h") + UInt32(70_000) + _FROM, String(b"h") + UInt32(0) + _FROM,
        String(b"") + UInt32(1) + _FROM, String(b"h\n") + UInt32(1) + _FROM, String(b"h\0") + UInt32(1) + _FROM,
        String(b"\xff") + UInt32(1) + _FROM, String(b"h" * 256) + UInt32(1) + _FROM, UInt32(2**32 - 1) + b"h",
        String(b"h") + UInt32(1) + _FROM + b"more",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        destination(b"direct-tcpip", body)


@pytest.mark.parametrize(
    "path", [b"", b"relative", b"/" + b"x" * 107, b"/run/\x1b[31m", b"\xff", b"/" + "ä".encode() * 54]
)
def test_what_is_no_path_is_refused(path: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        listener(b"streamlocal-forward@openssh.com", String(path))


@given(st.binary(max_size=400))
def test_any_bytes_are_an_address_or_a_value_error(body: bytes) -> None:
    for read, names in ((destination, CHANNELS), (listener, LISTENS), (cancelled, CANCELS)):
        for name in names:
            try:
                found = read(name, body)
            except ValueError:
                continue
            assert str(found).isprintable()


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=60), st.integers(1, 65535))
def test_an_address_is_read_as_it_was_written(host: str, port: int) -> None:
    body = String(host.encode()) + UInt32(port) + _FROM

    assert destination(b"direct-tcpip", body) == TcpAddress(host, port)

"""First bytes: TLS, PROXY headers, SSH banners. OpenSSL is asked which name it reads."""

import contextlib
import ipaddress
import ssl
from collections.abc import Iterable
from typing import Any, Final

from teleport.wire.hello import (
    MAX_HELLO,
    ClientHello,
    Incomplete,
    ProxyHeader,
    SshBanner,
    Unknown,
    recognise,
    recognise_proxy_header,
)
from tests.fuzz.target import Target, pieces
from tests.wire.test_hello import client_hello, protocols, server_name, version1, version2, written_hello

__all__ = ["HELLO"]

_MAX_HEADER: Final = 16 + 536


def check(data: bytes) -> None:
    for look, answers, most in (
        (recognise, ClientHello | SshBanner, MAX_HELLO),
        (recognise_proxy_header, ProxyHeader, _MAX_HEADER),
    ):
        found: Any = look(data)
        assert isinstance(found, answers | Incomplete | Unknown), found
        assert not isinstance(found, Incomplete) or len(data) < found.need <= most
        _same_however_it_is_cut(look, data, found)
    _header_reads_as_it_is_written(recognise_proxy_header(data), len(data))
    _openssl_agrees(data)


def _same_however_it_is_cut(look: Any, data: bytes, whole: object) -> None:
    """An answer, once given, stays; and until there is one, what was asked for is never too much."""
    have, need = b"", 0
    for piece in pieces(data):
        have += piece
        found = look(have)
        if not isinstance(found, Incomplete):
            assert found == whole
            return
        assert found.need > len(have)
        assert len(have) >= need or found.need == need or found.need == len(have) + 1
        need = found.need


def _header_reads_as_it_is_written(found: object, length: int) -> None:
    if not isinstance(found, ProxyHeader):
        return
    assert 0 < found.length <= length
    if found.source is None:
        return
    address = ipaddress.ip_address(found.source)
    assert str(address) == found.source
    again = version1(f"TCP{address.version} {address} {address} {found.port} 1".encode())
    assert recognise_proxy_header(again) == ProxyHeader(len(again), found.source, found.port)


_SERVER: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def _openssl_agrees(data: bytes) -> None:
    """The name by which a connection is routed is the one that the TLS behind it believes to be asked for."""
    found = recognise(data)
    if not isinstance(found, ClientHello) or not found.server_name.isascii():
        return
    heard: list[str | None] = []

    def hear(connection: object, name: str | None, context: object) -> int:
        heard.append(name)
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    _SERVER.sni_callback = hear
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(data)
    with contextlib.suppress(ssl.SSLError):
        _SERVER.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    assert heard in ([], [found.server_name or None])


def seeds() -> Iterable[bytes]:
    yield client_hello(alpn=["teleport-proxy-ssh", "http/1.1"])
    yield client_hello(name=None, tls12=True)
    yield written_hello(server_name(b"db-1.example.com"), protocols(b"\x0a\x0a", b"h2"))
    yield b"SSH-2.0-OpenSSH_9.2p1\r\n"
    yield version1(b"TCP4 192.0.2.1 192.0.2.2 80 443") + client_hello()
    yield version1(b"TCP6 2001:db8::1 ::1 80 443")
    yield version1(b"UNKNOWN")
    yield version2(bytes(12)) + b"SSH-2.0-x\r\n"
    yield version2(bytes(36), family=0x21)
    yield version2(b"", command=0x20, family=0)


HELLO: Final = Target(
    "first bytes", "`wire/hello`: TLS hello, PROXY header 1 and 2, SSH banner",
    "an answer or a bounded wish for more; the same however cut; the server name is the one that OpenSSL reads",
    check, seeds, 150_000, (b"PROXY ", b"TCP4", b"TCP6", b"UNKNOWN", b"\r\n\r\n\x00\r\nQUIT\n", b"\x16\x03\x01"),
    longest=1024,
)  # fmt: skip

"""First bytes, however the network cut them and whoever wrote them."""

import ipaddress
import ssl
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from teleport.wire.hello import (
    MAX_HELLO,
    ClientHello,
    Hello,
    Incomplete,
    ProxyHeader,
    SshBanner,
    Unknown,
    recognise,
    recognise_proxy_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def client_hello(*, name: str | None = "db-1.example.com", alpn: list[str] | None = None, tls12: bool = False) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(alpn)
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">H", kind) + vector(2, data)


def written_hello(*extensions: bytes, session: bytes = b"", tail: bytes = b"") -> bytes:
    """A ClientHello put together by hand."""
    body = b"\x03\x03" + bytes(32) + vector(1, session) + vector(2, b"\x13\x01") + vector(1, b"\0")
    handshake = b"\x01" + vector(3, body + vector(2, b"".join(extensions)) + tail)
    return b"\x16\x03\x01" + vector(2, handshake)


def server_name(name: bytes) -> bytes:
    return extension(0, vector(2, b"\0" + vector(2, name)))


def protocols(*names: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, name) for name in names)))


def fed(data: bytes, sizes: list[int]) -> Hello:
    """The verdict when bytes trickle in, looked at as soon as what was asked for is there."""
    have, need, sizes = 0, 1, sizes or [1]
    for step in range(len(data) + 1):
        if have >= need:
            found = recognise(data[:have])
            if not isinstance(found, Incomplete):
                return found
            assert found.need > have
            need = found.need
        if have == len(data):
            break
        have = min(len(data), have + sizes[step % len(sizes)])
    return Incomplete(need)


HOST_NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,20}[a-z0-9])?){0,3}", fullmatch=True)
PROTOCOLS = st.lists(st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=40), max_size=6)


# -- TLS


@given(HOST_NAMES | st.none(), PROTOCOLS, st.booleans())
def test_what_a_real_client_asks_for_is_read(name: str | None, alpn: list[str], tls12: bool) -> None:
    found = recognise(client_hello(name=name, alpn=alpn, tls12=tls12))

    assert found == ClientHello(name or "", tuple(alpn))


@given(st.lists(st.integers(1, 200), min_size=1, max_size=8))
def test_any_cut_of_the_bytes_gives_the_same_answer(sizes: list[int]) -> None:
    data = client_hello(alpn=["teleport-proxy-ssh", "http/1.1"])

    assert fed(data, sizes) == recognise(data) == ClientHello("db-1.example.com", ("teleport-proxy-ssh", "http/1.1"))


def test_a_hello_cut_at_any_byte_is_incomplete_and_asks_for_no_more_than_is_to_come() -> None:
    data = client_hello()

    for length in range(len(data)):
        found = recognise(data[:length])
        assert isinstance(found, Incomplete)
        assert length < found.need <= len(data)


@given(st.binary(max_size=50))
def test_what_follows_the_hello_changes_nothing(rest: bytes) -> None:
    data = client_hello()

    assert recognise(data + rest) == recognise(data)


@given(st.binary(max_size=600) | st.binary(max_size=600).map(lambda tail: b"\x16\x03\x01" + vector(2, tail)))
@example(b"\x16\x03\x01\xff\xff" + bytes(100))
@example(written_hello(tail=b"x"))
def test_arbitrary_bytes_get_an_answer_and_never_fail(data: bytes) -> None:
    found = recognise(data)

    assert isinstance(found, Incomplete | Unknown | ClientHello | SshBanner)
    if isinstance(found, Incomplete):
        assert len(data) < found.need <= MAX_HELLO


@given(st.data())
def test_a_damaged_hello_gets_an_answer_and_never_fails(data: st.DataObject) -> None:
    hello = bytearray(client_hello(alpn=["http/1.1"]))
    for _ in range(data.draw(st.integers(1, 4))):
        hello[data.draw(st.integers(5, len(hello) - 1))] = data.draw(st.integers(0, 255))

    assert isinstance(recognise(bytes(hello)), Unknown | ClientHello)


@pytest.mark.parametrize("name", [b"", b"\xff\xfe", b"../../etc/passwd", b"a\0b", b"x" * 60_000, b"\r\nHost: x"])
def test_a_nonsensical_server_name_is_a_name_like_any_other(name: bytes) -> None:
    found = recognise(written_hello(server_name(name[:15_000])))

    assert found == ClientHello(name[:15_000].decode("latin-1"), ())


@pytest.mark.parametrize("grease", [b"\x0a\x0a", b"\xfa\xfa", b"\xca\xca"])
def test_protocols_that_browsers_make_up_do_not_hide_the_real_ones(grease: bytes) -> None:
    found = recognise(written_hello(protocols(grease, b"h2", b"http/1.1")))

    assert found == ClientHello("", (grease.decode("latin-1"), "h2", "http/1.1"))


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\x00",  # an empty record
        b"\x16\x03\x01\x40\x01" + bytes(0x4001),  # longer than a record may be
        b"\x16\x03\x01\xff\xff",
        b"\x16\x02\x00\x00\x10" + bytes(16),  # SSL 2
        b"\x16\x03\x01" + vector(2, b"\x02" + vector(3, bytes(40))),  # a ServerHello
        b"\x16\x03\x01" + vector(2, b"\x01\x00\xff\xff" + bytes(60)),  # the message goes beyond the record
        written_hello(extension(0, b"\x00")),
        written_hello(extension(16, b"\xff\xff")),
        written_hello(struct.pack(">HH", 0, 500)),
    ],
)
def test_what_is_no_hello_is_unknown(data: bytes) -> None:
    assert recognise(data) == Unknown()


def test_a_hello_without_extensions_names_nothing() -> None:
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")

    assert recognise(b"\x16\x03\x01" + vector(2, b"\x01" + vector(3, body))) == ClientHello("", ())


# -- SSH and others


def test_an_ssh_banner_is_recognised_by_its_first_four_bytes() -> None:
    assert [recognise(b"SSH-2.0-x"[:length]) for length in range(1, 4)] == [Incomplete(4)] * 3
    assert recognise(b"SSH-") == SshBanner()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"SSX", b"\x00", b"\x80\x2e", b"PROXY TCP4 ", b"\xff" * 99])
def test_other_protocols_are_unknown_at_once(data: bytes) -> None:
    assert recognise(data) == Unknown()


# -- PROXY headers


def version1(line: bytes) -> bytes:
    return b"PROXY " + line + b"\r\n"


def version2(body: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(body) if length is None else length) + body


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_an_ipv4_source_is_read_in_both_versions(address: ipaddress.IPv4Address, port: int) -> None:
    first = version1(f"TCP4 {address} 127.0.0.1 {port} 443".encode())
    second = version2(address.packed + bytes(4) + struct.pack(">HH", port, 443))

    assert recognise_proxy_header(first + b"rest") == ProxyHeader(len(first), str(address), port)
    assert recognise_proxy_header(second + b"rest") == ProxyHeader(len(second), str(address), port)


@given(st.ip_addresses(v=6), st.integers(0, 65535))
def test_an_ipv6_source_is_read_in_both_versions(address: ipaddress.IPv6Address, port: int) -> None:
    first = version1(f"TCP6 {address} ::1 {port} 443".encode())
    second = version2(address.packed + bytes(16) + struct.pack(">HH", port, 443), family=0x21)

    assert recognise_proxy_header(first) == ProxyHeader(len(first), str(address), port)
    assert recognise_proxy_header(second) == ProxyHeader(len(second), str(address), port)


def test_a_balancers_own_check_names_no_client() -> None:
    local = version2(b"", command=0x20, family=0)

    assert recognise_proxy_header(local) == ProxyHeader(16, None)
    assert recognise_proxy_header(version1(b"UNKNOWN ffff::1 ::1 1 2")) == ProxyHeader(31, None)


@pytest.mark.parametrize(
    "line",
    [
        b"TCP4 1.2.3.4 5.6.7.8 80", b"TCP4 1.2.3.4 5.6.7.8 80 443 extra", b"TCP4 ::1 ::1 80 443",
        b"TCP6 1.2.3.4 5.6.7.8 80 443", b"TCP4 1.2.3.400 5.6.7.8 80 443", b"TCP4 1.2.3.4 5.6.7.8 65536 443",
        b"TCP4 1.2.3.4 5.6.7.8 -1 443", b"TCP4 1.2.3.4 5.6.7.8 +80 443", b"TCP4 1.2.3.4 5.6.7.8 8_0 443",
        b"TCP6 fe80::1%eth0 ::1 80 443", b"UDP4 1.2.3.4 5.6.7.8 80 443", b"TCP4  1.2.3.4 5.6.7.8 80", b"",
        b"TCP4 1.2.3.4 5.6.7.8 \xff 443", b"TCP4 " + b"1" * 99,
    ],
)  # fmt: skip
def test_a_crooked_first_version_is_refused(line: bytes) -> None:
    assert recognise_proxy_header(version1(line)) == Unknown()


@pytest.mark.parametrize(
    "header",
    [
        version2(bytes(12), command=0x11), version2(bytes(12), command=0x22), version2(bytes(11)),
        version2(bytes(12), family=0x21), version2(bytes(600)), version2(b"", length=0xFFFF),
    ],
)  # fmt: skip
def test_a_crooked_second_version_is_refused(header: bytes) -> None:
    assert recognise_proxy_header(header) == Unknown()


def test_a_header_that_promises_more_than_comes_stays_incomplete() -> None:
    assert recognise_proxy_header(version2(bytes(12), length=500)) == Incomplete(516)
    assert recognise_proxy_header(b"PROXY TCP4") == Incomplete(11)
    assert recognise_proxy_header(b"PROXY " + b"1" * 101) == Unknown()


@given(st.binary(max_size=120), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_arbitrary_headers_get_an_answer_and_never_fail(tail: bytes, head: bytes) -> None:
    found = recognise_proxy_header(head + tail)

    assert isinstance(found, Incomplete | Unknown | ProxyHeader)
    if isinstance(found, Incomplete):
        assert found.need > len(head + tail)

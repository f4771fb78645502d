"""HOST:PORT: what is read, what is refused, and where a machine reaches itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.service.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("db-1", "db-1", 3080),
        ("db-1:443", "db-1", 443),
        ("10.0.0.1:0", "10.0.0.1", 0),
        ("[::1]:443", "::1", 443),
        ("[fe80::1]", "fe80::1", 3080),
    ],
)
def test_an_address_is_a_host_with_or_without_a_port(text: str, host: str, port: int) -> None:
    assert Address.parse(text, 3080) == Address(host, port)


@pytest.mark.parametrize("text", ["", ":443", "::1", "a:b", "a:65536", "https://a", "a b", "[::1", "a:443/x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        Address.parse(text, 3080)


@given(st.sampled_from(["a", "a.b-c", "127.0.0.1", "::1", "fe80::2"]), st.integers(0, 65535))
def test_an_address_that_was_written_is_read_back(host: str, port: int) -> None:
    address = Address(host, port)

    assert Address.parse(str(address), 1) == address


def test_what_listens_everywhere_is_reached_on_loopback_from_here() -> None:
    assert Address("0.0.0.0", 3080).from_here() == Address("127.0.0.1", 3080)
    assert Address("::", 3080).from_here() == Address("::1", 3080)
    assert Address("10.0.0.1", 3080).from_here() == Address("10.0.0.1", 3080)


def test_only_loopback_is_loopback() -> None:
    assert [Address(host, 1).loopback for host in ("127.0.0.2", "::1", "localhost", "10.0.0.1", "db-1")] == [
        True,
        True,
        True,
        False,
        False,
    ]

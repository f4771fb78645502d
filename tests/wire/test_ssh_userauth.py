"""A login by key: what a client signed is read as that and as nothing else, whatever stands there."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.wire.ssh_userauth import Exchange, read_login_request, string, text

EXCHANGE = Exchange("sha256", b"client", b"server", b"ci", b"si", b"host key", b"values", b"secret")
SHORT = st.binary(max_size=6)


def request(login: bytes = b"root", key: bytes = b"blob") -> bytes:
    parts = text(login), text(b"ssh-connection"), text(b"publickey"), b"\x01", text(b"ssh-ed25519"), text(key)
    return b"\x32" + b"".join(parts)


def test_the_session_id_is_the_hash_of_rfc_4253() -> None:
    first = b"".join(text(part) for part in (b"client", b"server", b"ci", b"si", b"host key"))

    assert EXCHANGE.session_id == hashlib.sha256(first + b"values" + b"secret").digest()


@given(SHORT, SHORT, SHORT)
def test_no_two_host_keys_are_hashed_from_the_same_bytes(before: bytes, host_key: bytes, values: bytes) -> None:
    made = replace(EXCHANGE, server_init=before, host_key=host_key, public_values=values)

    for other in {host_key + b"x", b"", host_key + values, host_key[:-1]} - {host_key}:
        assert replace(made, host_key=other).session_id != made.session_id


@pytest.mark.parametrize("name", ["sha1", "md5", "", "sha3_256"])
def test_other_hashes_are_not_relied_on(name: str) -> None:
    with pytest.raises(ValueError, match="hashed"):
        _ = replace(EXCHANGE, hash_name=name).session_id


def test_a_login_by_key_is_read() -> None:
    read = read_login_request(request())

    assert (read.login, read.key) == ("root", b"blob")


@given(st.integers(0, len(request()) - 1), st.binary(min_size=1, max_size=4))
def test_whatever_is_cut_off_or_added_is_no_login(cut: int, more: bytes) -> None:
    for changed in (request()[:cut], request() + more):
        with pytest.raises(ValueError, match=r"."):
            read_login_request(changed)


@given(st.binary(max_size=40))
def test_strings_end_where_they_say(data: bytes) -> None:
    assert string(text(data) + b"rest", 0) == (data, len(data) + 4)

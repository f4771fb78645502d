"""What a server connection keeps of a login is what was hashed and signed, whatever exchange and key the client has."""

import base64
from typing import Any

import asyncssh
import pytest
from asyncssh.kex import get_kex_algs
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from teleport.core.errors import Unauthenticated
from teleport.net.asyncssh_seams import ALGORITHMS, available
from teleport.pki.keys import new_ssh_key, ssh_line
from teleport.pki.ssh_proof import read_claim
from tests.net import test_asyncssh_bulk as bulk

KINDS: dict[str, Any] = {
    "ed25519": new_ssh_key(), "p256": ec.generate_private_key(ec.SECP256R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()), "rsa": rsa.generate_private_key(65537, 2048),
}  # fmt: skip


@pytest.mark.parametrize("exchange", available(ALGORITHMS)["kex_algs"])
async def test_the_session_id_is_found_again_from_what_was_exchanged(exchange: str) -> None:
    assert exchange.encode() in get_kex_algs()
    original = asyncssh.connect
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asyncssh, "connect", lambda **more: original(**more, kex_algs=[exchange]))
        async with bulk.connected() as (_, server):
            login = server.login

    assert login is not None
    assert login.exchange.session_id == server._session_id
    assert login.exchange.host_key == base64.b64decode(bulk.HOST_CERTIFICATE.split()[1])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_third_party_verifies_the_login_by_the_key_and_by_no_other(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = KINDS[kind]
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    monkeypatch.setattr(bulk, "USER", key)
    monkeypatch.setattr(
        bulk, "ssh_private", lambda _: key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    )
    monkeypatch.setattr(bulk, "ssh_line", lambda _: line)
    async with bulk.connected() as (_, server):
        login = server.login
    assert login is not None

    claim = read_claim(login)

    assert (claim.login, claim.certificate.split()) == ("ann", line.encode().split()[:2])
    claim.verify(line)
    with pytest.raises(Unauthenticated):
        claim.verify(ssh_line(new_ssh_key().public_key()))

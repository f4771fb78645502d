import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from teleport.pki.authority import new_authority
from teleport.pki.credentials import issue_ssh_user
from teleport.pki.frame import Frame, read_frame
from teleport.pki.keys import PublicKey, new_ssh_key
from tests.pki.forge import ANN, CLUSTER, NOW

USERS = new_authority("user", CLUSTER, now=NOW)


@pytest.mark.parametrize(
    "key",
    [
        new_ssh_key().public_key(),
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        ec.generate_private_key(ec.SECP521R1()).public_key(),
        rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(),
    ],
    ids=["ed25519", "p256", "p384", "p521", "rsa"],
)
def test_the_signing_key_is_found_behind_every_kind_of_certified_key(key: PublicKey) -> None:
    issued = issue_ssh_user(USERS, ANN, key, logins=["root"], permits=[], now=NOW)

    frame = read_frame(base64.b64decode(issued.split()[1]))

    authority = base64.b64decode(USERS.public.keys[0].ssh_public.split()[1])
    assert frame == Frame(authority, b"ssh-ed25519")


@given(st.binary(max_size=200), st.sampled_from([b"", b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com"]))
def test_anything_else_is_a_value_error(tail: bytes, head: bytes) -> None:
    with pytest.raises(ValueError):
        read_frame(head + tail)

"""Hostile SSH certificates. Each is wrong in one way, and each must be answered with Unauthenticated."""

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from teleport.core.errors import Unauthenticated
from teleport.core.identity import Identity
from teleport.pki.authority import Authority, TrustedAuthority, TrustedKey, new_authority
from teleport.pki.credentials import (
    IDENTITY_EXTENSION,
    NO_LOGIN,
    SSHUser,
    issue_ssh_host,
    issue_ssh_user,
    read_ssh_user,
)
from teleport.pki.keys import new_ssh_key, new_tls_key, ssh_line
from tests.pki.forge import ANN, CLUSTER, FOREVER, NOW, Forged, ed25519_of, forged, key_blob, line, text

USERS = new_authority("user", CLUSTER, now=NOW)
HOSTS = new_authority("host", CLUSTER, now=NOW)
OTHERS = new_authority("user", "elsewhere.org", now=NOW)
TRUSTED = (HOSTS.public, USERS.public)
GOOD = forged().signed(ed25519_of(USERS))


def read(blob: bytes, trusted: tuple[TrustedAuthority, ...] = TRUSTED, *, now: float = NOW) -> SSHUser:
    return read_ssh_user(line(blob), trusted, now=now)


def refused(blob: bytes, trusted: tuple[TrustedAuthority, ...] = TRUSTED, *, now: float = NOW) -> str:
    """Why a certificate is refused; anything but Unauthenticated fails the test."""
    with pytest.raises(Unauthenticated) as caught:
        read(blob, trusted, now=now)
    return caught.value.message


def signed(certificate: Forged) -> bytes:
    """Properly signed by our user authority: what is wrong is what it says."""
    return certificate.signed(ed25519_of(USERS))


def test_the_forge_can_write_a_good_certificate() -> None:
    user = read(GOOD)

    assert user.identity == ANN
    assert user.principals == ("root",)
    assert user.source_addresses == ()


def test_what_is_issued_can_be_read() -> None:
    identity = replace(ANN, pinned_ip="192.0.2.7", requested_roles=("dev",), authenticated=NOW)
    holder = new_ssh_key()

    issued = issue_ssh_user(USERS, identity, holder.public_key(), logins=["root"], permits=["permit-pty"], now=NOW)
    user = read_ssh_user(issued.encode(), TRUSTED, now=NOW)

    assert user.identity == identity
    assert user.public_key == ssh_line(holder.public_key())
    assert user.source_addresses == ("192.0.2.7/32",)


def test_a_key_that_rotation_still_trusts_is_good() -> None:
    old = USERS.public.keys[0]
    rotating = TrustedAuthority("user", CLUSTER, (OTHERS.public.keys[0], replace(old, state="trusted")))

    assert read(GOOD, (rotating,)).identity.name == "ann"


# -- who signed


def test_a_certificate_as_signing_key_is_refused_though_the_key_inside_it_is_ours() -> None:
    authority = ed25519_of(USERS)
    attacker = ed25519.Ed25519PrivateKey.generate()
    inner = forged(authority).signed(attacker)

    for algorithm in (b"ssh-ed25519", b"ssh-ed25519-cert-v01@openssh.com"):
        refused(forged().signed(attacker, signature_key=inner, algorithm=algorithm))
        refused(forged().signed(authority, signature_key=inner, algorithm=algorithm))


def test_a_security_key_with_the_authoritys_public_key_inside_is_no_plain_key() -> None:
    authority = ed25519_of(USERS)
    public = authority.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    kind = b"sk-ssh-ed25519@openssh.com"
    wrapped = text(kind) + text(public) + text(b"ssh:")

    reason = refused(forged().signed(authority, signature_key=wrapped, algorithm=kind))

    assert "plain key" in reason


def test_bytes_after_the_signing_key_are_refused() -> None:
    authority = ed25519_of(USERS)

    refused(forged().signed(authority, signature_key=key_blob(authority) + b"\0"))


def test_a_host_certificate_is_no_user() -> None:
    assert "host certificate" in refused(signed(forged().but(type=2)))


def test_a_host_certificate_of_the_host_authority_is_no_user() -> None:
    identity = Identity("host", "db-1", "h-1", CLUSTER, expires=NOW + 3600, system_roles=("Node",))
    issued = issue_ssh_host(HOSTS, identity, new_ssh_key().public_key(), principals=["db-1"], now=NOW)

    with pytest.raises(Unauthenticated, match="not signed by a trusted user authority"):
        read_ssh_user(issued.encode(), TRUSTED, now=NOW)


def test_the_host_authority_vouches_for_no_user() -> None:
    assert "user authority" in refused(forged().signed(ed25519_of(HOSTS)))


def test_an_unknown_authority_is_refused() -> None:
    assert "user authority" in refused(forged().signed(ed25519.Ed25519PrivateKey.generate()))


def test_nobody_is_trusted_where_no_authority_is() -> None:
    refused(GOOD, ())


def test_another_clusters_authority_makes_that_clusters_identities_whatever_the_certificate_says() -> None:
    blob = forged().but(key_id=b"ann").signed(ed25519_of(OTHERS))

    refused(blob)
    assert read(blob, (*TRUSTED, OTHERS.public)).identity.cluster == "elsewhere.org"


def test_another_key_under_the_authoritys_name_is_refused() -> None:
    impostor = new_authority("user", CLUSTER, now=NOW)

    refused(forged().signed(ed25519_of(impostor)))


def test_the_authoritys_tls_key_signs_no_ssh_certificate() -> None:
    key = USERS.active.tls.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    blob = base64.b64decode(key.split()[1])

    refused(forged().signed(ed25519_of(USERS), signature_key=blob, algorithm=b"ecdsa-sha2-nistp256"))


def test_a_wrong_signature_is_refused() -> None:
    attacker, authority = ed25519.Ed25519PrivateKey.generate(), ed25519_of(USERS)

    assert "signature" in refused(forged().signed(attacker, signature_key=key_blob(authority)))


def test_the_authoritys_signature_over_other_bytes_is_refused() -> None:
    certificate = forged()
    elsewhere = certificate.but(principals=(b"nobody",)).body(key_blob(ed25519_of(USERS)))

    assert "signature" in refused(certificate.signed(ed25519_of(USERS), over=elsewhere))


@pytest.mark.parametrize("algorithm", [b"", b"none", b"ssh-rsa", b"rsa-sha2-256", b"ecdsa-sha2-nistp256", b"x" * 999])
def test_a_signature_by_another_algorithm_than_the_keys_is_refused(algorithm: bytes) -> None:
    refused(forged().signed(ed25519_of(USERS), algorithm=algorithm))


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def rsa_authority(key: rsa.RSAPrivateKey) -> TrustedAuthority:
    trusted = TrustedKey("active", ssh_line(key.public_key()), USERS.public.keys[0].certificate)
    return TrustedAuthority("user", CLUSTER, (trusted,))


def test_rsa_with_sha1_is_refused_even_from_a_trusted_key(rsa_key: rsa.RSAPrivateKey) -> None:
    blob = forged().signed_by_rsa(rsa_key, b"ssh-rsa")

    assert "broken" in refused(blob, (rsa_authority(rsa_key),))


@pytest.mark.parametrize("algorithm", [b"rsa-sha2-256", b"rsa-sha2-512"])
def test_rsa_with_sha2_is_good_from_a_trusted_key(rsa_key: rsa.RSAPrivateKey, algorithm: bytes) -> None:
    blob = forged().signed_by_rsa(rsa_key, algorithm)

    assert read(blob, (rsa_authority(rsa_key),)).identity.name == "ann"


# -- what it says


def test_no_principals_would_mean_all_and_is_refused() -> None:
    assert "principal" in refused(signed(forged().but(principals=())))


@pytest.mark.parametrize("principals", [(b"",), (b"root", b""), (b"", b"root")])
def test_an_empty_principal_is_refused(principals: tuple[bytes, ...]) -> None:
    assert "principal" in refused(signed(forged().but(principals=principals)))


@pytest.mark.parametrize("name", [b"force-command", b"verify-required", b"no-touch", b"unknown@example.com", b"\xff"])
def test_critical_options_that_are_not_understood_are_refused(name: bytes) -> None:
    assert "critical option" in refused(signed(forged().but(critical=((name, b"/bin/true"),))))


def test_an_understood_critical_option_does_not_hide_another() -> None:
    critical = ((b"force-command", b"id"), (b"source-address", b"10.0.0.0/8"))

    assert "critical option" in refused(signed(forged().but(critical=critical)))


@pytest.mark.parametrize("value", [None, b"", b",", b"10.0.0.0/8,", b"everywhere", b"0.0.0.0/99", b"\xff\xfe"])
def test_a_pin_to_no_address_is_refused_and_not_taken_for_none(value: bytes | None) -> None:
    assert "pinned" in refused(signed(forged().but(critical=((b"source-address", value),))))


def test_expiry_and_start_are_kept_to_the_second() -> None:
    blob = signed(forged().but(after=int(NOW), before=int(NOW) + 10))

    refused(blob, now=NOW - 1)
    assert read(blob, now=NOW).identity.expires == NOW + 10
    assert read(blob, now=NOW + 9).identity == replace(ANN, expires=NOW + 10)
    refused(blob, now=NOW + 10)


@pytest.mark.parametrize(
    ("after", "before"), [(0, FOREVER), (int(NOW), FOREVER), (FOREVER, FOREVER), (int(NOW) + 9, int(NOW) - 9), (0, 0)]
)
def test_a_certificate_without_an_end_or_with_a_crooked_one_is_refused(after: int, before: int) -> None:
    refused(signed(forged().but(after=after, before=before)))


def test_a_certificate_without_an_identity_is_refused() -> None:
    assert "no identity" in refused(signed(forged().but(extensions=((b"permit-pty", None),))))


def said(**fields: object) -> str:
    """The text of ann's identity with fields changed; None removes one."""
    body = {**json.loads(ANN.encode()), **fields}
    body = {key: value for key, value in body.items() if value is not None}
    return json.dumps(body, separators=(",", ":"), sort_keys=True)


@pytest.mark.parametrize(
    "identity",
    [
        "", "{}", "[]", "null", "1", '"ann"', "{" * 20_000, '{"v":1', said(v=2), said(v="1"), said(v=True),
        said(v=None),
        said(future_restriction="x"), said(cluster=CLUSTER), said(expires=NOW * 2), said(local_uid=0),
        said(kind="admin"), said(kind="root"), said(kind=None), said(kind=["user"]), said(name=None), said(name=""),
        said(name=7), said(uid=None), said(uid=""), said(uid=["u-1"]), said(mfa_verified="yes"), said(mfa_verified=1),
        said(reissuable="false"), said(requested_roles="dev"), said(requested_roles=[1]), said(allowed_resources={}),
        said(authenticated="now"), said(authenticated=-1), said(authenticated=10**400),
        said(session_until=float("nan")),
        said(session_until=float("inf")), said(session_until=True), said(pinned_ip=7), said(name="\ud800"),
        ANN.encode() + " ", " " + ANN.encode(), ANN.encode().replace(":", ": "), "x" * 40_000,
        ANN.encode().replace('"uid":"u-1"', '"uid":"u-2","uid":"u-1"'),
    ],
    ids=lambda text: text[-40:],
)  # fmt: skip
def test_an_identity_that_is_not_to_the_letter_ours_is_refused(identity: str) -> None:
    refused(signed(forged().saying(identity)))


def test_an_identity_that_is_no_text_is_refused() -> None:
    refused(signed(forged().but(extensions=((IDENTITY_EXTENSION, b"\xff\xfe{}"),))))
    refused(signed(forged().but(extensions=((IDENTITY_EXTENSION, None),))))


def test_a_host_identity_in_a_user_certificate_is_refused() -> None:
    host = Identity("host", "ann", "h-1", CLUSTER, system_roles=("Proxy",)).encode()

    assert "contradicts" in refused(signed(forged().saying(host)))


def test_a_name_that_is_not_the_key_id_is_refused() -> None:
    assert "contradicts" in refused(signed(forged().but(key_id=b"bob")))


def test_an_identity_changed_after_signing_is_refused() -> None:
    blob = GOOD.replace(b'"uid":"u-1"', b'"uid":"u-2"')

    assert blob != GOOD
    assert "signature" in refused(blob)


@pytest.mark.parametrize("first", [ANN.encode(), said(uid="u-2")])
def test_two_identities_in_one_certificate_are_refused(first: str) -> None:
    extensions = ((IDENTITY_EXTENSION, first.encode()), (IDENTITY_EXTENSION, ANN.encode().encode()))

    refused(signed(forged().but(extensions=extensions)))


def test_a_repeated_critical_option_is_refused() -> None:
    critical = ((b"source-address", b"10.0.0.0/8"), (b"source-address", b"0.0.0.0/0"))

    refused(signed(forged().but(critical=critical)))


def test_extensions_that_are_not_understood_give_nothing_and_harm_nothing() -> None:
    extensions = ((IDENTITY_EXTENSION, ANN.encode().encode()), (b"unknown@example.com", b"x"))

    assert read(signed(forged().but(extensions=extensions))).identity == ANN


# -- how it is written


def test_trailing_bytes_are_refused() -> None:
    refused(GOOD + b"\0")
    refused(GOOD + GOOD)


def test_a_bare_key_is_no_certificate() -> None:
    for key in (new_ssh_key(), new_tls_key()):
        with pytest.raises(Unauthenticated, match="bare key"):
            read_ssh_user(ssh_line(key.public_key()).encode(), TRUSTED, now=NOW)


@pytest.mark.parametrize("kind", [0, 3, 2**32 - 1])
def test_an_unknown_type_of_certificate_is_refused(kind: int) -> None:
    refused(signed(forged().but(type=kind)))


@pytest.mark.parametrize(
    "kind", [b"ssh-dss-cert-v01@openssh.com", b"ssh-ed25519-cert-v00@openssh.com", b"ssh-ed25519", b"\xff", b"a b", b""]
)
def test_an_unknown_kind_of_key_is_refused(kind: bytes) -> None:
    refused(signed(forged().but(kind=kind)))


def test_a_security_key_is_certified_for_nobody() -> None:
    certificate = forged()
    holder = certificate.holder + text(b"ssh:")

    refused(signed(certificate.but(kind=b"sk-ssh-ed25519-cert-v01@openssh.com", holder=holder)))


@pytest.mark.parametrize(
    "written",
    [
        b"", b" ", b"ssh-ed25519-cert-v01@openssh.com", b"ssh-ed25519-cert-v01@openssh.com !!!!", b"a b c", b"\xff\xfe",
        b"ssh-rsa-cert-v01@openssh.com " + base64.b64encode(GOOD), b"A" * 100_000,
        b"ssh-ed25519-cert-v01@openssh.com " + b"A" * 100_000,
    ],
    ids=lambda written: repr(written[:40]),
)  # fmt: skip
def test_a_line_that_holds_no_certificate_is_refused(written: bytes) -> None:
    with pytest.raises(Unauthenticated):
        read_ssh_user(written, TRUSTED, now=NOW)


def test_a_certificate_cut_off_at_any_byte_is_refused() -> None:
    for length in range(len(GOOD)):
        refused(GOOD[:length])


@given(st.integers(0, len(GOOD) * 8 - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    blob = bytearray(GOOD)
    blob[bit // 8] ^= 1 << bit % 8

    refused(bytes(blob))


@given(st.data())
def test_any_rewritten_stretch_is_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD)))
    inserted = data.draw(st.binary(min_size=1, max_size=40))
    removed = data.draw(st.integers(0, 40))
    blob = GOOD[:at] + inserted + GOOD[at + removed :]

    if blob != GOOD:
        refused(blob)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(blob: bytes) -> None:
    refused(blob)
    refused(text(b"ssh-ed25519-cert-v01@openssh.com") + blob)


@given(
    st.builds(
        Forged,
        holder=st.sampled_from([forged().holder, b"", text(b""), text(b"k" * 31)]),
        kind=st.sampled_from([Forged.kind, b"ssh-rsa-cert-v01@openssh.com", b"ssh-ed25519"]),
        type=st.integers(0, 3), serial=st.integers(0, 2**64 - 1), key_id=st.binary(max_size=8),
        principals=st.lists(st.binary(max_size=8), max_size=3), after=st.integers(0, FOREVER),
        before=st.integers(0, FOREVER), critical=st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8))),
        extensions=st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8))), reserved=st.binary(max_size=8),
    )
)  # fmt: skip
def test_whatever_the_authority_was_made_to_sign_is_read_or_refused_and_never_fails(certificate: Forged) -> None:
    refused(signed(certificate))


# -- issuing


def test_a_user_without_logins_gets_a_principal_that_fits_no_account() -> None:
    issued = issue_ssh_user(USERS, ANN, new_ssh_key().public_key(), logins=[], permits=[], now=NOW)

    assert read_ssh_user(issued.encode(), TRUSTED, now=NOW).principals == (NO_LOGIN,)


@pytest.mark.parametrize("login", ["", "*", "a*", "a,b", "a b", "a\nb", "a\tb", "r?t", "röot", "\x00"])
def test_principals_that_could_be_read_as_several_or_as_patterns_are_left_out(login: str) -> None:
    issued = issue_ssh_user(USERS, ANN, new_ssh_key().public_key(), logins=[login, "ok"], permits=[], now=NOW)

    assert read_ssh_user(issued.encode(), TRUSTED, now=NOW).principals == ("ok",)


@pytest.mark.parametrize("name", ["permit-port-forwarding", "permit-agent-forwarding", "teleport-identity"])
def test_a_roles_extra_extensions_cannot_grant_what_the_roles_did_not(name: str) -> None:
    issued = issue_ssh_user(
        USERS, ANN, new_ssh_key().public_key(), logins=["root"], permits=["permit-pty"], now=NOW,
        extensions=[(name, "forged")],
    )  # fmt: skip

    assert read_ssh_user(issued.encode(), TRUSTED, now=NOW).identity == ANN
    assert b"forged" not in base64.b64decode(issued.split()[1])


def test_an_authority_signs_only_for_its_own_kind() -> None:
    key = new_ssh_key().public_key()
    wrong: tuple[Authority, Authority] = (HOSTS, USERS)

    with pytest.raises(AssertionError):
        issue_ssh_user(wrong[0], ANN, key, logins=["root"], permits=[], now=NOW)
    with pytest.raises(AssertionError):
        issue_ssh_host(wrong[1], ANN, key, principals=["db-1"], now=NOW)

"""Hostile X.509 certificates: who may vouch for whom, and what a certificate of ours looks like."""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import example, given
from hypothesis import strategies as st

from teleport.core.errors import Unauthenticated
from teleport.core.identity import Identity
from teleport.pki.authority import TrustedAuthority, new_authority
from teleport.pki.credentials import issue_tls, read_tls
from teleport.pki.keys import PrivateKey, new_tls_key

NOW = 1_700_000_000.0
CLUSTER = "example.com"
USERS = new_authority("user", CLUSTER, now=NOW)
HOSTS = new_authority("host", CLUSTER, now=NOW)
OTHERS = new_authority("user", "elsewhere.org", now=NOW)
TRUSTED = (USERS.public, HOSTS.public)
ANN = Identity("user", "ann", "u-1", CLUSTER, expires=NOW + 3600)
PROXY = Identity("host", "edge", "h-1", CLUSTER, expires=NOW + 3600, system_roles=("Proxy",))
KEY = new_tls_key()


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def read(certificate: bytes, trusted: Sequence[TrustedAuthority] = TRUSTED, *, now: float = NOW) -> Identity:
    return read_tls(certificate, trusted, now=now)


def refused(certificate: bytes, trusted: Sequence[TrustedAuthority] = TRUSTED, *, now: float = NOW) -> str:
    """Why a certificate is refused; anything but Unauthenticated fails the test."""
    with pytest.raises(Unauthenticated) as caught:
        read(certificate, trusted, now=now)
    return caught.value.message


def uri(text: str) -> str:
    return "teleport-identity:" + base64.urlsafe_b64encode(text.encode()).decode()


def forge(
    *, uris: Sequence[str] = (uri(ANN.encode()),), issuer: x509.Name = USERS.active.x509.subject,
    signer: PrivateKey = USERS.active.tls, name: str = "ann", start: float = NOW - 60, end: float = NOW + 3600,
    authority: bool | None = False, usages: Sequence[ObjectIdentifier] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,),
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:  # fmt: skip
    """A certificate for ann by our user authority, but for what a test names."""
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(datetime.fromtimestamp(start, UTC))
        .not_valid_after(datetime.fromtimestamp(end, UTC))
    )
    extensions = list(more)
    if authority is not None:
        extensions.append((x509.BasicConstraints(ca=authority, path_length=None), True))
    if usages is not None:
        extensions.append((x509.ExtendedKeyUsage(list(usages)), False))
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(one) for one in uris])
        extensions.append((names, False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


def test_the_forge_can_write_a_good_certificate() -> None:
    assert read(forge()) == ANN


@pytest.mark.parametrize(("authority", "identity"), [(USERS, ANN), (HOSTS, PROXY)])
def test_what_is_issued_can_be_read(authority: object, identity: Identity) -> None:
    issuer = USERS if authority is USERS else HOSTS
    full = replace(identity, pinned_ip="192.0.2.7", authenticated=NOW, allowed_resources=("db-1",), mfa_verified=True)

    assert read(der(issue_tls(issuer, full, KEY.public_key(), now=NOW))) == full


# -- who signed


def test_the_host_authority_vouches_for_no_user() -> None:
    certificate = forge(issuer=HOSTS.active.x509.subject, signer=HOSTS.active.tls)

    assert "does not vouch for a user" in refused(certificate)


def test_the_user_authority_vouches_for_no_host() -> None:
    assert "does not vouch for a host" in refused(forge(uris=[uri(PROXY.encode())], name="edge"))


def test_an_identity_lies_in_the_uri_and_not_in_the_common_name() -> None:
    assert read(forge(name="root-admin")).name == "ann"


def test_an_unknown_authority_with_our_authoritys_name_is_refused() -> None:
    assert "not signed by a trusted authority" in refused(forge(signer=new_tls_key()))


def test_a_certificate_signed_by_itself_under_the_authoritys_name_is_refused() -> None:
    refused(forge(signer=KEY))


def test_the_ssh_key_of_the_authority_signs_no_tls_certificate() -> None:
    unsigned = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(USERS.active.x509.subject)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(datetime.fromtimestamp(NOW - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 60, UTC))
    )

    refused(unsigned.sign(USERS.active.ssh, None).public_bytes(Encoding.DER))


def test_a_certificate_that_calls_itself_an_authority_issues_nothing() -> None:
    leaf = x509.load_der_x509_certificate(forge(authority=True))

    refused(forge(issuer=leaf.subject, signer=KEY))


def test_a_certificate_that_calls_itself_an_authority_is_nobodys_identity() -> None:
    refused(forge(authority=True))
    refused(forge(authority=None))


def test_the_authoritys_own_certificate_is_nobodys_identity() -> None:
    for authority in (USERS, HOSTS):
        refused(authority.active.x509.public_bytes(Encoding.DER))


def test_another_clusters_authority_makes_that_clusters_identities_whatever_the_certificate_says() -> None:
    certificate = forge(issuer=OTHERS.active.x509.subject, signer=OTHERS.active.tls)

    refused(certificate)
    assert read(certificate, (*TRUSTED, OTHERS.public)).cluster == "elsewhere.org"


def test_another_clusters_authority_under_our_authoritys_name_is_refused() -> None:
    refused(forge(signer=OTHERS.active.tls), (*TRUSTED, OTHERS.public))


def test_nobody_is_trusted_where_no_authority_is() -> None:
    refused(forge(), ())


# -- what it says


def test_expiry_and_start_are_kept_to_the_second() -> None:
    certificate = forge(start=NOW, end=NOW + 10)

    refused(certificate, now=NOW - 1)
    assert read(certificate, now=NOW).expires == NOW + 10
    assert read(certificate, now=NOW + 9) == replace(ANN, expires=NOW + 10)
    refused(certificate, now=NOW + 10)


def test_a_certificate_without_a_foreseeable_end_is_refused() -> None:
    assert "longer" in refused(forge(end=NOW + 40 * 365 * 86400))


@pytest.mark.parametrize(
    "usages",
    [None, (ExtendedKeyUsageOID.SERVER_AUTH,), (ExtendedKeyUsageOID.CODE_SIGNING,),
     (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)],
)  # fmt: skip
def test_a_certificate_for_another_use_is_refused(usages: Sequence[ObjectIdentifier] | None) -> None:
    refused(forge(usages=usages))


def test_a_critical_extension_that_is_not_understood_is_refused() -> None:
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")

    refused(forge(more=[(unknown, True)]))
    assert read(forge(more=[(unknown, False)])) == ANN


def test_name_constraints_are_not_understood_and_so_refused() -> None:
    constraints = x509.NameConstraints([x509.DNSName("example.org")], None)

    refused(forge(more=[(constraints, True)]))


def test_two_identities_in_one_certificate_are_refused() -> None:
    bob = replace(ANN, name="bob", uid="u-2")

    assert "no identity" in refused(forge(uris=[uri(ANN.encode()), uri(bob.encode())]))
    assert "no identity" in refused(forge(uris=[uri(ANN.encode())] * 2))


@pytest.mark.parametrize("uris", [[], ["https://example.com/"], ["teleport-identity"], ["TELEPORT-IDENTITY:e30="]])
def test_a_certificate_without_an_identity_is_refused(uris: list[str]) -> None:
    refused(forge(uris=uris))


@pytest.mark.parametrize(
    "written",
    [
        "teleport-identity:", "teleport-identity:!!!!", "teleport-identity:e30", "teleport-identity:e30=",
        uri("[]"), uri("{" * 9000), uri(ANN.encode() + " "), uri(ANN.encode().replace('"v":1', '"v":2')),
        uri(json.dumps(json.loads(ANN.encode()))), uri(ANN.encode()) + "!", uri(ANN.encode()) + "\n",
    ],
    ids=lambda written: repr(written[-20:]),
)  # fmt: skip
def test_a_malformed_identity_is_refused(written: str) -> None:
    refused(forge(uris=[written]))


# -- how it is written


GOOD = forge()


def test_trailing_bytes_are_refused() -> None:
    refused(GOOD + b"\0")
    refused(GOOD + GOOD)


def test_a_certificate_in_pem_is_not_one_in_der() -> None:
    refused(issue_tls(USERS, ANN, KEY.public_key(), now=NOW).encode())


def test_a_certificate_cut_off_at_any_byte_is_refused() -> None:
    for length in range(len(GOOD)):
        refused(GOOD[:length])


@example(15 * 8 + 7)  # a negative serial number, which the library lets pass with a remark
@given(st.integers(0, len(GOOD) * 8 - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    certificate = bytearray(GOOD)
    certificate[bit // 8] ^= 1 << bit % 8

    refused(bytes(certificate))


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(certificate: bytes) -> None:
    refused(certificate)


@given(st.data())
def test_whatever_the_authority_was_made_to_sign_is_refused_and_never_fails(data: st.DataObject) -> None:
    """Random bytes within each extension that is parsed, properly signed."""
    oid = data.draw(st.sampled_from(["2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17"]))
    unknown = x509.UnrecognizedExtension(ObjectIdentifier(oid), data.draw(st.binary(max_size=30)))
    skipped = {"2.5.29.19": {"authority": None}, "2.5.29.37": {"usages": None}, "2.5.29.17": {"uris": ()}}

    refused(forge(more=[(unknown, False)], **skipped.get(oid, {"uris": ()})))  # type: ignore[arg-type]


def test_hosts_and_authorities_are_good_for_who_is_a_day_behind_and_people_are_not() -> None:
    yesterday = NOW - 86400
    proxy = issue_tls(HOSTS, PROXY, KEY.public_key(), now=NOW)
    ann = issue_tls(USERS, ANN, KEY.public_key(), now=NOW)

    assert read(der(proxy), now=yesterday).name == "edge"
    for authority in TRUSTED:
        begins = x509.load_pem_x509_certificate(authority.certificates.encode()).not_valid_before_utc.timestamp()
        assert begins <= yesterday
    assert "not valid yet" in refused(der(ann), now=yesterday)

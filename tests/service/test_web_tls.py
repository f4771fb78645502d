"""The certificate of the web side: publicly trusted ones by name, the cluster's own for clients that ask for it."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from teleport.api.models import HostCertificates
from teleport.auth.join import service_name
from teleport.core.errors import BadInput
from teleport.net.tls import pinless_context
from teleport.pki.keys import new_tls_key, private_pem
from teleport.service.credentials import HostCredentials, HostKeys, Subject
from teleport.service.sections import KeyPair
from teleport.service.web_tls import WebContexts

OWN = service_name("Proxy", "acme")


def certificate(*names: str) -> tuple[str, str]:
    """A certificate for names that signs itself, and its key."""
    key, now = new_tls_key(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode(), private_pem(key)


def pair(directory: Path, *names: str) -> KeyPair:
    """The same, in files."""
    files = directory / f"{names[0]}.pem", directory / f"{names[0]}.key"
    for file, text in zip(files, certificate(*names), strict=True):
        file.write_text(text)
    return KeyPair(cert_file=str(files[0]), key_file=str(files[1]))


@pytest.fixture
def credentials() -> HostCredentials:
    own, key = certificate(OWN)
    certificates = HostCertificates(
        host_id="p", cluster="acme", ssh_certificate="", tls_certificate=own, authorities=(), expires=0.0
    )
    return HostCredentials(HostKeys("", key), certificates, Subject("gate"))


def shown(contexts: WebContexts, name: str | None) -> str:
    """The name of the certificate that a client sees who asks for a name."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = contexts.current().wrap_bio(to_server, to_client, server_side=True)
    client = pinless_context().wrap_bio(to_client, to_server, server_hostname=name)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    der = client.getpeercert(binary_form=True)
    assert der is not None
    found = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(found)


def test_without_public_certificates_everybody_sees_the_clusters_own(credentials: HostCredentials) -> None:
    contexts = WebContexts(credentials, [])

    assert shown(contexts, "teleport.example.com") == OWN


def test_the_certificate_that_covers_the_name_is_shown_else_the_first(
    credentials: HostCredentials, tmp_path: Path
) -> None:
    contexts = WebContexts(credentials, [pair(tmp_path, "one.example.com"), pair(tmp_path, "two.org", "*.two.org")])

    names = ("one.example.com", "two.org", "WEB.two.org", "a.b.two.org", "elsewhere.net", None)

    assert [shown(contexts, name) for name in names] == [
        "one.example.com", "two.org", "two.org", "one.example.com", "one.example.com", "one.example.com",
    ]  # fmt: skip


def test_clients_that_ask_for_the_service_itself_see_the_clusters_own(
    credentials: HostCredentials, tmp_path: Path
) -> None:
    contexts = WebContexts(credentials, [pair(tmp_path, "one.example.com")])

    assert shown(contexts, OWN) == OWN


def test_files_that_change_are_read_again_and_broken_ones_change_nothing(
    credentials: HostCredentials, tmp_path: Path
) -> None:
    first = pair(tmp_path, "one.example.com")
    contexts = WebContexts(credentials, [first])
    text, key = certificate("renewed.example.com")

    Path(first.cert_file).write_text("half a certif")
    broken = shown(contexts, None)
    Path(first.cert_file).write_text(text)
    Path(first.key_file).write_text(key)
    os.utime(first.cert_file, (1, 1))

    assert broken == "one.example.com"
    assert shown(contexts, None) == "renewed.example.com"


def test_files_that_cannot_be_used_are_refused_at_the_start_and_on_reload(
    credentials: HostCredentials, tmp_path: Path
) -> None:
    missing = KeyPair(cert_file=str(tmp_path / "none.pem"), key_file=str(tmp_path / "none.key"))
    contexts = WebContexts(credentials, [pair(tmp_path, "one.example.com")])

    with pytest.raises(BadInput, match=r"https_keypairs: .*none.pem"):
        WebContexts(credentials, [missing])
    with pytest.raises(BadInput, match=r"https_keypairs: .*none.pem"):
        contexts.prepare([missing])

    assert shown(contexts, None) == "one.example.com"


def test_other_files_take_effect_only_when_told_to(credentials: HostCredentials, tmp_path: Path) -> None:
    contexts = WebContexts(credentials, [pair(tmp_path, "one.example.com")])

    commit = contexts.prepare([pair(tmp_path, "other.example.com")])
    before = shown(contexts, None)
    commit()

    assert (before, shown(contexts, None)) == ("one.example.com", "other.example.com")

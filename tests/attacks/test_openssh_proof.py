"""What a compromised proxy may not obtain for hosts with only OpenSSH: a certificate without its user's own login."""

import base64
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth.issue import PublicKeys
from teleport.auth.openssh import CHALLENGE_SECONDS
from teleport.core.errors import AccessDenied, NotFound, TeleportError, Unauthenticated
from teleport.pki.keys import new_ssh_key, ssh_line
from teleport.wire.ssh_userauth import Exchange, text
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster, role, user

ADDRESS = "192.0.2.1"
PARTS = (
    "client_version", "server_version", "client_init", "server_init", "host_key", "public_values", "secret",
)  # fmt: skip


def plain(name: str = "old-1") -> str:
    return f"kind: node\nsub_kind: openssh\nversion: v2\nmetadata: {{name: {name}}}\nspec: {{addr: '192.0.2.7:22'}}\n"


@dataclass
class Ann:
    """A user at a client, which signs what the protocol has it sign."""

    key: Ed25519PrivateKey
    certificate: bytes

    @classmethod
    def of(cls, cluster: Cluster, name: str = "ann") -> "Ann":
        key = new_ssh_key()
        made = cluster.auth.issuer.sign(name, PublicKeys(ssh_line(key.public_key()), TLS_KEY), ttl=3600)
        return cls(key, made.ssh_certificate.encode())

    def logs_in(self, shown: str, login: str = "root", **fields: Any) -> m.LoginProved:
        """At a server that shows this host certificate."""
        exchange = Exchange("sha256", b"SSH-2.0-c", b"SSH-2.0-s", b"ci", b"si", blob(shown), b"values", b"secret")
        kind = self.certificate.split()[0]
        request = fields.pop("request", None) or (
            b"\x32" + text(login.encode()) + text(b"ssh-connection") + text(b"publickey") + b"\x01" + text(kind)
            + text(blob(self.certificate.decode()))
        )  # fmt: skip
        signature = text(b"ssh-ed25519") + text(self.key.sign(text(exchange.session_id) + request))
        return told(exchange, request, signature)


def blob(line: str) -> bytes:
    return base64.b64decode(line.split()[1])


def told(exchange: Exchange, request: bytes, signature: bytes) -> m.LoginProved:
    parts: dict[str, Any] = {name: base64.b64encode(getattr(exchange, name)).decode() for name in PARTS}
    return m.LoginProved(
        hash_name=exchange.hash_name, request=base64.b64encode(request).decode(),
        signature=base64.b64encode(signature).decode(), **parts,
    )  # fmt: skip


async def governed(cluster: Cluster, *more: str) -> Ann:
    await cluster.declare(role(logins="root"), user("ann"), user("bob"), plain(), plain("old-2"), *more)
    return Ann.of(cluster)


def proxy(cluster: Cluster, uid: str = "5a3c9d6e-0000-4000-8000-0000000000f0") -> Caller:
    return cluster.host("Proxy", uid=uid, name="proxy-1")


async def challenge(cluster: Cluster, caller: Caller | None = None, host: str = "old-1") -> str:
    request = m.PlainChallengeRequest(host_id=host, ssh_public_key=SSH_KEY)
    answer: m.PlainChallenge = await cluster.call("openssh_challenge", request, caller or proxy(cluster))
    return answer.ssh_certificate


async def redeem(cluster: Cluster, proof: m.LoginProved, caller: Caller | None = None, **more: Any) -> SSHCertificate:
    request = m.PlainLoginRequest(
        proof=proof, ssh_public_key=SSH_KEY, client_address=more.get("address", ADDRESS)
    )  # fmt: skip
    answer: m.PlainLogin = await cluster.call("openssh_login", request, caller or proxy(cluster))
    found = load_ssh_public_identity(answer.ssh_certificate.encode())
    assert isinstance(found, SSHCertificate)
    return found


async def test_the_users_own_login_obtains_one_login_on_one_host_for_minutes(cluster: Cluster) -> None:
    ann = await governed(cluster)

    certificate = await redeem(cluster, ann.logs_in(await challenge(cluster)))

    assert certificate.valid_principals == [b"root@old-1.acme"]
    assert certificate.valid_before - cluster.clock.time() <= 120
    assert b"teleport-identity" not in certificate.extensions
    (event,) = cluster.events("cert.create")
    assert (event["user"], event["cert_type"], event["identity"]["host"]) == ("ann", "openssh", "old-1")


async def test_what_opens_a_plain_host_opens_nothing_else(cluster: Cluster) -> None:
    from teleport.pki.credentials import read_ssh_user

    ann = await governed(cluster)
    certificate = await redeem(cluster, ann.logs_in(await challenge(cluster)))

    with pytest.raises(Unauthenticated):
        read_ssh_user(certificate.public_bytes(), cluster.auth.authorities.public, now=cluster.clock.time())


async def test_a_login_is_good_once_and_not_for_long(cluster: Cluster) -> None:
    ann = await governed(cluster)
    used, late = ann.logs_in(await challenge(cluster)), ann.logs_in(await challenge(cluster))
    await redeem(cluster, used)

    with pytest.raises(Unauthenticated, match="used"):
        await redeem(cluster, used)
    cluster.clock.advance(CHALLENGE_SECONDS + 1)
    with pytest.raises(Unauthenticated, match="too old"):
        await redeem(cluster, late)


async def test_a_login_that_failed_cannot_be_tried_again_with_another_signature(cluster: Cluster) -> None:
    ann = await governed(cluster)
    proof = ann.logs_in(await challenge(cluster))

    with pytest.raises(Unauthenticated):
        await redeem(cluster, proof.model_copy(update={"signature": ""}))
    with pytest.raises(Unauthenticated):
        await redeem(cluster, proof)


async def test_what_one_proxy_was_shown_is_of_no_use_to_another(cluster: Cluster) -> None:
    ann = await governed(cluster)
    proof = ann.logs_in(await challenge(cluster))

    with pytest.raises(Unauthenticated, match="another proxy's"):
        await redeem(cluster, proof, proxy(cluster, uid="5a3c9d6e-0000-4000-8000-0000000000f1"))


async def test_a_login_at_one_host_opens_no_other(cluster: Cluster) -> None:
    ann = await governed(cluster)
    proof = ann.logs_in(await challenge(cluster))
    other = await challenge(cluster, host="old-2")

    with pytest.raises(Unauthenticated):
        await redeem(cluster, proof.model_copy(update={"host_key": base64.b64encode(blob(other)).decode()}))


@pytest.mark.parametrize("part", ["client_version", "client_init", "server_init", "public_values", "secret"])
async def test_another_exchange_than_the_one_that_was_signed_is_refused(cluster: Cluster, part: str) -> None:
    ann = await governed(cluster)
    proof = ann.logs_in(await challenge(cluster))

    with pytest.raises(Unauthenticated, match="signature"):
        await redeem(cluster, proof.model_copy(update={part: base64.b64encode(b"other").decode()}))


async def test_a_login_at_the_proxy_itself_or_at_an_agent_opens_no_host(cluster: Cluster) -> None:
    ann = await governed(cluster)
    key = ssh_line(new_ssh_key().public_key())
    agent = replace(cluster.host().known, expires=cluster.clock.time() + 3600)
    agents = cluster.auth.joining.certify(agent, key, TLS_KEY)

    for shown in (agents.ssh_certificate, SSH_KEY):
        with pytest.raises(Unauthenticated):
            await redeem(cluster, ann.logs_in(shown))


async def test_a_login_as_somebody_permits_no_other_login(cluster: Cluster) -> None:
    ann = await governed(cluster, role("app", logins="app"))
    proof = ann.logs_in(await challenge(cluster), login="app")
    as_root = ann.logs_in(await challenge(cluster)).request

    with pytest.raises(AccessDenied, match="may not log in as app"):
        await redeem(cluster, proof)
    with pytest.raises(Unauthenticated):
        await redeem(cluster, ann.logs_in(await challenge(cluster), "app").model_copy(update={"request": as_root}))


async def test_a_certificate_in_anothers_name_is_signed_by_its_own_key_or_refused(cluster: Cluster) -> None:
    ann, bob = await governed(cluster), Ann.of(cluster, "bob")

    with pytest.raises(Unauthenticated, match="signature"):
        await redeem(cluster, replace(ann, certificate=bob.certificate).logs_in(await challenge(cluster)))
    with pytest.raises(Unauthenticated):
        await redeem(cluster, replace(ann, certificate=SSH_KEY.encode()).logs_in(await challenge(cluster)))


@pytest.mark.parametrize(
    "request_",
    [
        b"", b"\x32", b"SSHSIG\x00\x00\x00\x04file",
        b"\x32" + text(b"root") + text(b"ssh-userauth") + text(b"publickey") + b"\x01" + text(b"k") + text(b"b"),
        b"\x32" + text(b"root") + text(b"ssh-connection") + text(b"hostbased") + b"\x01" + text(b"k") + text(b"b"),
        b"\x32" + text(b"root") + text(b"ssh-connection") + text(b"publickey") + b"\x00" + text(b"k") + text(b"b"),
        b"\x32" + text(b"root") + text(b"ssh-connection") + text(b"publickey") + b"\x01" + text(b"k") * 2 + b"x",
    ],
)  # fmt: skip
async def test_something_else_that_was_signed_is_no_login(cluster: Cluster, request_: bytes) -> None:
    ann = await governed(cluster)
    proof = ann.logs_in(await challenge(cluster)).model_copy(
        update={"request": base64.b64encode(request_).decode()}
    )  # fmt: skip

    with pytest.raises(Unauthenticated):
        await redeem(cluster, proof)


@pytest.mark.parametrize("name", ["md5", "sha1", "", "SHA256", "shake_128"])
async def test_a_weak_hash_of_the_exchange_proves_nothing(cluster: Cluster, name: str) -> None:
    ann = await governed(cluster)
    proof = ann.logs_in(await challenge(cluster))

    with pytest.raises(Unauthenticated):
        await redeem(cluster, proof.model_copy(update={"hash_name": name}))


async def test_auth_decides_by_itself_whatever_the_proxy_has_decided(cluster: Cluster) -> None:
    ann = await governed(cluster)
    proof = ann.logs_in(await challenge(cluster))
    await cluster.declare(role(logins="root"), user("ann", roles="auditor"), user("bob"), plain())

    with pytest.raises(AccessDenied):
        await redeem(cluster, proof)


async def test_a_pinned_certificate_is_good_from_its_address_alone(cluster: Cluster) -> None:
    await cluster.declare(role(logins="root", options="pin_source_ip: yes"), user("ann"), plain())
    key = new_ssh_key()
    keys = PublicKeys(ssh_line(key.public_key()), TLS_KEY)
    made = cluster.auth.issuer.login("ann", keys, ttl=600, roles=None, address=ADDRESS)
    ann = Ann(key, made.ssh_certificate.encode())

    with pytest.raises(Unauthenticated, match="pinned"):
        await redeem(cluster, ann.logs_in(await challenge(cluster)), address="192.0.2.66")


async def test_a_proxy_obtains_no_host_certificate_in_an_agents_name(cluster: Cluster) -> None:
    await governed(cluster, plain("db-1"))
    body: dict[str, Any] = {"hostname": "db-1", "version": "1", "revision": 1, "labels": {}, "ttl": 60}
    await cluster.call("heartbeat", m.Heartbeat(**body), cluster.host())

    for name in ("db-1", cluster.host().known.uid, "web-1", "proxy.acme", ""):
        with pytest.raises(NotFound):
            await challenge(cluster, host=name)


async def test_a_proxy_tells_of_plain_hosts_and_never_in_an_agents_place(cluster: Cluster) -> None:
    from tests.attacks.test_services import event, report

    await governed(cluster)
    agent, caller = cluster.host(), proxy(cluster)
    body: dict[str, Any] = {"hostname": "db-1", "version": "1", "revision": 1, "labels": {}, "ttl": 60}
    await cluster.call("heartbeat", m.Heartbeat(**body), agent)

    await report(cluster, caller, event(cluster, caller, server_id="old-1", server_sub_kind="openssh"))
    for lie in ({"server_id": agent.known.uid, "server_sub_kind": "openssh"}, {"server_id": "old-1"}):
        with pytest.raises(AccessDenied):
            await report(cluster, caller, event(cluster, caller, **lie))
    with pytest.raises(AccessDenied):
        await report(cluster, agent, event(cluster, agent, server_id="old-1", server_sub_kind="openssh"))

    assert len(cluster.events("session.start")) == 1


async def test_challenges_do_not_pile_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleport.auth.openssh._MAX_OUTSTANDING", 3)
    await governed(cluster)

    for _ in range(3):
        await challenge(cluster)
    with pytest.raises(TeleportError, match="at once"):
        await challenge(cluster)
    cluster.clock.advance(CHALLENGE_SECONDS + 1)
    await challenge(cluster)

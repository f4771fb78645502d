"""Joining: a token gives the roles it names while it is good; the names of services and of others are not for sale."""

import ssl
from typing import Any

import pytest
from cryptography import x509

from teleport.api import models as m
from teleport.core.errors import AccessDenied, BadInput, Throttled
from teleport.pki.credentials import read_tls
from tests.auth.cluster import SSH_KEY, TLS_KEY, Cluster
from tests.pki.service_accounts import KEY, OTHER_KEY, jwks_of, token_for

TOKEN = "abcdefghijklmnop"


def declared(roles: str = "Node", *, expires: str = "", method: str = "token") -> str:
    more = f", expires: '{expires}'" if expires else ""
    return (
        f"kind: token\nversion: v2\nmetadata: {{name: {TOKEN}{more}}}\n"
        f"spec: {{roles: [{roles}], join_method: {method}, suggested_labels: {{env: [lab]}}}}\n"
    )


async def join(cluster: Cluster, token: str = TOKEN, **more: Any) -> m.HostCertificates:
    request = m.JoinRequest.model_validate(
        {
            "token": token, "hostname": "db-1", "roles": ("Node",), "ssh_public_key": SSH_KEY,
            "tls_public_key": TLS_KEY, "client_address": "192.0.2.9", **more,
        }
    )  # fmt: skip
    return await cluster.auth.joining.join(request)


def names(made: m.HostCertificates) -> set[str]:
    certificate = x509.load_der_x509_certificate(ssl.PEM_cert_to_DER_cert(made.tls_certificate))
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


async def test_a_host_that_joins_gets_an_id_of_its_own_and_the_labels_of_the_token(cluster: Cluster) -> None:
    await cluster.declare(declared(), source="teleport.yaml")

    first, second = await join(cluster), await join(cluster)

    assert first.host_id != second.host_id
    assert dict(first.suggested_labels) == {"env": "lab"}
    assert names(first) >= {f"{first.host_id}.acme", "node.acme"}


async def test_a_token_gives_no_role_that_it_does_not_name(cluster: Cluster) -> None:
    await cluster.declare(declared("Node"), source="teleport.yaml")

    for roles in (("Proxy",), ("Node", "Proxy"), ()):
        with pytest.raises(AccessDenied, match="does not permit the role"):
            await join(cluster, roles=roles)


async def test_a_token_ends_at_its_time_even_before_the_store_forgets_it(cluster: Cluster) -> None:
    made = await cluster.call("token", m.TokenRequest(roles=("node",), ttl=60))
    await join(cluster, made.token)

    cluster.clock.advance(60)

    with pytest.raises(AccessDenied, match="the join token is not valid"):
        await join(cluster, made.token)


async def test_a_token_in_memory_is_good_for_one_use_and_never_stored(cluster: Cluster) -> None:
    secret = cluster.auth.joining.memory_token(["Node"])
    stored = (await cluster.auth.store.list("secret/token/")).records

    await join(cluster, secret)

    assert stored == ()
    with pytest.raises(AccessDenied):
        await join(cluster, secret)


async def test_a_method_that_this_version_does_not_know_lets_nobody_in(cluster: Cluster) -> None:
    await cluster.declare(
        f"kind: token\nversion: v2\nmetadata: {{name: {TOKEN}}}\n"
        "spec: {roles: [Node], join_method: kubernetes, kubernetes: {allow: [{service_account: 'a:b'}]}}\n"
    )

    with pytest.raises(AccessDenied):
        await join(cluster)


async def test_guessing_tokens_is_slowed_down_by_address(cluster: Cluster) -> None:
    await cluster.declare(declared(), source="teleport.yaml")
    for _ in range(10):
        with pytest.raises(AccessDenied):
            await join(cluster, "x" * 16)

    with pytest.raises(Throttled):
        await join(cluster)
    assert (await join(cluster, client_address="192.0.2.10")).host_id


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", "a/b", "a\nb", "*", "5a3c9d6e-0000-4000-8000-00000000000a", "a,b", "x\x1b[2J"]
)
async def test_what_is_no_host_name_or_looks_like_another_hosts_id_is_refused(cluster: Cluster, name: str) -> None:
    await cluster.declare(declared(), source="teleport.yaml")

    with pytest.raises(BadInput):
        await join(cluster, hostname=name)


@pytest.mark.parametrize("address", ["*.example.com", "auth.acme", "node.acme", "AUTH.ACME.", "kube.acme"])
async def test_a_proxy_gets_no_certificate_for_the_name_of_another_service(cluster: Cluster, address: str) -> None:
    await cluster.declare(declared("Proxy"), source="teleport.yaml")

    with pytest.raises(AccessDenied, match="no certificate is issued for the address"):
        await join(cluster, roles=("Proxy",), addresses=(address,))


async def test_a_proxy_gets_its_own_addresses_and_a_node_none(cluster: Cluster) -> None:
    await cluster.declare(declared("Node, Proxy"), source="teleport.yaml")

    proxy = await join(cluster, roles=("Proxy",), addresses=("proxy.example.com", "192.0.2.1"))
    node = await join(cluster, addresses=("proxy.example.com",))

    assert names(proxy) >= {"proxy.example.com", "192.0.2.1", "proxy.acme"}
    assert "proxy.example.com" not in names(node)


def kubernetes(*accounts: str, kind: str = "static_jwks", roles: str = "Operator", sources: str = "k8s") -> str:
    keys = f", static_jwks: {{jwks: '{jwks_of(KEY)}'}}" if kind == "static_jwks" else ""
    allow = ", ".join(f"{{service_account: '{one}'}}" for one in accounts)
    return (
        f"kind: token\nversion: v2\nmetadata: {{name: {TOKEN}}}\nspec: {{roles: [{roles}], join_method: kubernetes,"
        f" policy_sources: [{sources}], kubernetes: {{type: {kind}{keys}, allow: [{allow}]}}}}\n"
    )


async def operator(cluster: Cluster, **more: Any) -> m.HostCertificates:
    proof = token_for(now=cluster.clock.time(), **more)
    return await join(cluster, roles=("Operator",), proof=proof)


async def test_a_service_account_joins_as_an_operator_bound_to_its_sources(cluster: Cluster) -> None:
    await cluster.declare(kubernetes("teleport:operator", sources="k8s, k8s-data"))

    made = await operator(cluster)

    certificate = ssl.PEM_cert_to_DER_cert(made.tls_certificate)
    identity = read_tls(certificate, cluster.auth.policy.authorities, now=cluster.clock.time())
    assert (identity.system_roles, identity.allowed_resources) == (("Operator",), ("k8s", "k8s-data"))


@pytest.mark.parametrize(
    ("declared_as", "more", "said"),
    [
        (kubernetes("teleport:other"), {}, "does not let the service account teleport:operator in"),
        (kubernetes(), {}, "does not let"),
        (kubernetes("teleport:operator"), {"key": OTHER_KEY}, "not valid"),
        (kubernetes("teleport:operator"), {"audience": "other"}, "not made for acme"),
        (kubernetes("teleport:operator", sources=""), {}, "which sources"),
        (kubernetes("teleport:operator", kind="in_cluster"), {}, "runs in no Kubernetes cluster"),
        (kubernetes("teleport:operator", roles="Node"), {}, "does not permit the role"),
    ],
)
async def test_other_service_accounts_do_not_join(
    cluster: Cluster, declared_as: str, more: dict[str, Any], said: str
) -> None:
    await cluster.declare(declared_as)

    with pytest.raises(AccessDenied, match=said):
        await operator(cluster, **more)


async def test_the_name_of_a_kubernetes_token_is_no_proof(cluster: Cluster) -> None:
    await cluster.declare(kubernetes("teleport:operator"))

    with pytest.raises(AccessDenied, match="a service account's token is needed"):
        await join(cluster, roles=("Operator",))


async def test_an_operator_joins_as_nothing_else_beside(cluster: Cluster) -> None:
    await cluster.declare(kubernetes("teleport:operator", roles="Operator, Node"))

    with pytest.raises(AccessDenied, match="nothing else beside"):
        await join(cluster, roles=("Operator", "Node"), proof=token_for(now=cluster.clock.time()))


async def test_a_token_for_operators_says_for_which_sources(cluster: Cluster) -> None:
    with pytest.raises(BadInput, match="which sources"):
        await cluster.call("token", m.TokenRequest(roles=("operator",)))
    made = await cluster.call("token", m.TokenRequest(roles=("operator",), sources=("k8s",)))

    assert (await join(cluster, made.token, roles=("Operator",))).host_id

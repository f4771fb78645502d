"""Joined services: each reports of itself only, what it is there to report, in a form that the log can take."""

from typing import Any

import pytest

from teleport.api import models as m
from teleport.core.errors import AccessDenied, BadInput, TeleportError
from tests.auth.cluster import HOST, SSH_KEY, TLS_KEY, Cluster

START = {
    "event": "session.start", "code": "T2000I", "uid": "u1", "time": "2030-01-01T00:00:00.000Z", "user": "ann",
    "sid": "s1", "server_id": HOST, "login": "root",
}  # fmt: skip


async def emit(cluster: Cluster, *events: dict[str, Any], role: str = "Node") -> None:
    await cluster.call("emit", m.EventBatch(events=events), cluster.host(role))  # type: ignore[arg-type]


async def test_what_a_host_reports_of_its_sessions_is_in_the_log_once_also_when_it_is_sent_again(
    cluster: Cluster,
) -> None:
    await emit(cluster, START)
    await emit(cluster, START)

    assert [one["uid"] for one in cluster.events("session.start")] == ["u1"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"event": "user.login", "code": "T1000I"}, AccessDenied),
        ({"event": "role.created", "code": "T9000I"}, AccessDenied),
        ({"event": "nonsense"}, AccessDenied),
        ({"server_id": "another"}, AccessDenied),
        ({"code": "T9999E"}, BadInput),
        ({"time": "yesterday"}, BadInput),
        ({"uid": ""}, BadInput),
        ({"seq": 1}, BadInput),
        ({"prev": "0" * 64}, BadInput),
        ({"cluster_name": "other"}, BadInput),
        ({"login": "x" * (1 << 20)}, BadInput),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_a_host_has_no_business_reporting_is_refused_and_nothing_of_the_batch_is_kept(
    cluster: Cluster, change: dict[str, Any], error: type[TeleportError]
) -> None:
    with pytest.raises(error):
        await emit(cluster, START, {**START, "uid": "u2", **change})

    assert cluster.events("session.start") == []


async def test_a_service_that_leaves_is_gone_at_once_and_the_other_services_of_its_host_stay(cluster: Cluster) -> None:
    heartbeat = m.Heartbeat(revision=0, version="1", hostname="db-1", labels={}, ttl=30)
    for role in ("Node", "Proxy"):
        await cluster.call("heartbeat", heartbeat, cluster.host(role))

    await cluster.call("leave", caller=cluster.host("Proxy"))
    without_proxy = (await cluster.call("policy_status")).services, len(await cluster.auth.presence.hosts())
    await cluster.call("leave", caller=cluster.host("Node"))

    assert ([one.roles for one in without_proxy[0]], without_proxy[1]) == ([("Node",)], 1)
    assert (await cluster.call("policy_status")).services == ()
    assert await cluster.auth.presence.hosts() == []


async def test_a_host_does_not_take_the_name_of_another(cluster: Cluster) -> None:
    heartbeat = m.Heartbeat(revision=0, version="1", hostname="db-2", labels={}, ttl=30)
    await cluster.call("heartbeat", heartbeat, cluster.host(uid="5a3c9d6e-0000-4000-8000-00000000000b", name="db-2"))
    request = m.RenewHost(hostname="db-2", ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY)

    with pytest.raises(AccessDenied, match="db-1 cannot become db-2, which is another host's name"):
        await cluster.call("renew_host", request, cluster.host())

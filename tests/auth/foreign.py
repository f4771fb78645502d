"""The cluster root, which acme trusts; the cluster third, which nobody knows; and ann of root on her way."""

from dataclasses import replace
from typing import Any

from teleport.auth import keys
from teleport.core.identity import Identity, Passage
from teleport.pki.authority import Authority, new_authority
from teleport.pki.foreign import Foreign
from teleport.pki.keys import load_public
from teleport.pki.passages import issue_passage
from tests.auth.cluster import TLS_KEY, Cluster, role

__all__ = ["ANN", "HOME", "ROUTE", "SID", "THIRD", "TRUST", "passage", "trusting"]

SID = "0a3c9d6e-0000-4000-8000-000000000001"
TRUST = (
    "kind: trusted_cluster\nversion: v2\nmetadata: {name: root}\n"
    "spec: {enabled: yes, web_proxy_addr: 'a:1', role_map: [{remote: dev, local: dev}]}\n"
)
HOME = {kind: new_authority(kind, "root", now=1_700_000_000.0) for kind in ("user", "host")}
THIRD = new_authority("user", "third", now=1_700_000_000.0)
ANN = Identity("user", "ann", "uid-ann", "root", expires=1_700_003_600.0)
ROUTE = Passage("ann", "acme", "db-1", "root", SID, "proxy-1", ("dev",), (("team", ("web",)),))


async def trusting(cluster: Cluster) -> None:
    await cluster.declare(role(), TRUST)
    root = Foreign("root", tuple(one.public for one in HOME.values()))
    await cluster.auth.policy.wait_for(await cluster.service.store.put(keys.root("root"), root.encode()))


def passage(cluster: Cluster, *, by: Authority = HOME["user"], route: Passage = ROUTE, **more: Any) -> str:
    now = cluster.clock.time()
    identity = replace(ANN, **{"expires": now + 100, "passage": route, **more})
    return issue_passage(by, identity, load_public(TLS_KEY), now=now)

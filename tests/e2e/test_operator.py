"""kubectl governs: the real operator between the real auth service and an API server, imitated unless a real one is
named (`make test-kubernetes`)."""

import base64
import copy
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from teleport.core.generated import REPOSITORY
from teleport.resources.crds import spec_schema
from teleport.resources.custom_kinds import custom_kind
from teleport.service.operator.feeder import FINALIZER
from teleport.service.operator.secrets import ALLOW
from tests.e2e.world import LOGIN, Person, World, missing, wait_until
from tests.kubernetes.clusters import NAMESPACE, Cluster, cluster, manifest
from tests.kubernetes.hosted import Hosted
from tests.kubernetes.operators import OperatorProcess
from tests.kubernetes.permissions import Asked, Grant, grants_of
from tests.kubernetes.test_samples import ACCEPTED
from tests.kubernetes.test_samples import REFUSED as REFUSABLE

FULL = "TELEPORT_FULL" in os.environ
MANY = int(os.environ.get("TELEPORT_MANY_OBJECTS", "1000" if FULL else "60"))
AWAY = 150.0 if FULL else 1.5
"""Seconds that the API server is away."""

pytestmark = pytest.mark.skipif(bool(missing("kubectl")), reason=missing("kubectl"))


def role(name: str, *, deny: dict[str, Any] | None = None, logins: str = "{{internal.logins}}") -> dict[str, Any]:
    spec: dict[str, Any] = {"allow": {"logins": [logins], "node_labels": {"*": "*"}}}
    return manifest("TeleportRoleV7", name, spec | ({"deny": deny} if deny else {}))


def user(name: str, *roles: str) -> dict[str, Any]:
    return manifest("TeleportUser", name, {"roles": list(roles), "traits": {"logins": [LOGIN]}}, "v2")


@dataclass
class Governed:
    """A cluster of ours that a namespace governs."""

    world: World
    kubernetes: Cluster
    operator: OperatorProcess

    def source(self) -> dict[str, Any]:
        sources = self.world.tctl_json("policy", "status", "-o", "json")["sources"]
        return dict(next(one for one in sources if one["name"] == "k8s"))

    def in_force(self, what: str) -> dict[str, Any]:
        """A resource as the cluster has it; empty if it has none."""
        found = self.world.tctl("get", what, "-o", "json")
        body = json.loads(found.output) if found.status == 0 else {}
        return dict(body[0] if isinstance(body, list) else body)

    def wait_gone(self, what: str, *, timeout: float = 20) -> None:
        wait_until(lambda: not self.in_force(what), timeout=timeout, what=f"the end of {what}")

    def person(self, name: str) -> Person:
        return self.world.person(name).enrol().login()


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    root = tmp_path_factory.mktemp("operator")
    config = root / "teleport.yaml"
    source = f"{{name: k8s, kubernetes: {{namespace: {NAMESPACE}}}}}"
    config.write_text(f"version: v3\npolicies: {{sources: [{source}]}}\n")
    with cluster(root) as kubernetes:
        world = World(root, arguments=("--demo", "-c", str(config)), by_folder=False).start()
        operator = OperatorProcess(root, kubernetes.login("teleport-operator"), credentials(world, root))
        operator.start()
        yield Governed(world, kubernetes, operator)
        operator.kill()
        world.stop()


def credentials(world: World, root: Path) -> dict[str, str]:
    """What the Secret of the operator says, which `tctl tokens add` prints the command for."""
    made = world.tctl_json("tokens", "add", "--type", "operator", "--source", "k8s", "-o", "json")
    token = root / "operator-token"
    token.write_text(made["token"])
    return {
        "TELEPORT_ADDRESS": world.proxy,
        "TELEPORT_CA_PIN": world.pin,
        "TELEPORT_TOKEN": str(token),
        "TELEPORT_PEER_SECONDS": "3",
    }


@pytest.fixture(scope="module")
def ann(governed: Governed) -> Person:
    governed.kubernetes.apply(role("dev"), user("ann", "dev"), user("boss", "editor")).good()
    governed.kubernetes.wait_ready("trolev7/dev", "tuser/ann", "tuser/boss")
    return governed.person("ann")


def imitated(governed: Governed) -> Hosted:
    """For what only an imitated API server can be made to do."""
    if governed.kubernetes.imitated is None:
        pytest.skip("a real API server cannot be told to do that")
    return governed.kubernetes.imitated


def test_the_examples_become_ready_and_people_of_them_obey(governed: Governed) -> None:
    kubernetes, folder = governed.kubernetes, REPOSITORY / "examples" / "kubernetes"
    strict = "--validate=strict" if kubernetes.imitated is None else "--validate=false"
    files = [word for name in ("roles", "users", "tokens") for word in ("-f", str(folder / f"{name}.yaml"))]

    applied = kubernetes.kubectl("apply", strict, *files).good()
    kubernetes.kubectl("apply", strict, "-k", str(REPOSITORY / "operator" / "sample")).good()

    names = [line.split()[0] for line in applied.splitlines()]
    kubernetes.wait_ready(*names, "trolev7/sample")
    assert len(names) == 7
    assert governed.person("ben").ssh("ben@db-1", "true").status != 0


def test_what_is_applied_becomes_ready_and_lets_people_in(governed: Governed, ann: Person) -> None:
    status = governed.kubernetes.get("trolev7", "dev")["status"]

    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 0
    assert status["reach"] == "1 person, 1 node"
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "Ready": "True", "Reconciling": "False", "Stalled": "False",
        "ValidStructure": "True", "TeleportResourceOwned": "True", "SuccessfullyReconciled": "True",
    }  # fmt: skip
    assert status["appliedRevision"] <= governed.source()["revision"]


def test_an_applied_edit_of_a_role_ends_a_live_session_within_two_seconds(governed: Governed, ann: Person) -> None:
    with ann.terminal("tsh", "ssh", f"{LOGIN}@db-1") as terminal:
        terminal.expect(r"\$ ")
        began = time.monotonic()

        governed.kubernetes.apply(role("dev", deny={"logins": [LOGIN]})).good()
        terminal.expect("access withdrawn: role/dev denies")
        took = time.monotonic() - began

    assert took < 2
    governed.kubernetes.apply(role("dev")).good()
    governed.kubernetes.wait_condition("trolev7", "dev", lambda one: one["status"] == "True")


def test_a_mistyped_deny_is_refused_by_name_and_takes_nothing_away(governed: Governed, ann: Person) -> None:
    mistyped = role("dev")
    mistyped["spec"]["dney"] = {"logins": ["root"]}

    applied = governed.kubernetes.apply(mistyped, validate=False)

    if governed.kubernetes.imitated is None:
        assert applied.status != 0
        assert "unknown field below spec: dney" in applied.errors
        return
    said = governed.kubernetes.wait_condition("trolev7", "dev", lambda one: one["status"] == "False")
    assert said["message"] == "spec.dney: unknown field dney (did you mean deny?)"
    assert said["message"] in [one["message"] for one in governed.kubernetes.events("TeleportRoleV7", "dev")]
    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 0
    governed.kubernetes.apply(role("dev")).good()
    governed.kubernetes.wait_condition("trolev7", "dev", lambda one: one["status"] == "True")


def test_what_guides_to_the_upstreams_operator_show_becomes_ready_or_is_refused_for_the_right_reason(
    governed: Governed,
) -> None:
    kubernetes = governed.kubernetes
    good, bad = [stored(one, kubernetes) for one in ACCEPTED], [stored(one, kubernetes) for one in REFUSABLE]

    kubernetes.apply(secret("root", "0123456789-0123456789-0123456789", **{ALLOW: "root-cluster"}), *good).good()
    kubernetes.wait_all_ready(*good)
    kubernetes.apply(*bad)

    for one in bad:
        if kubernetes.get(one["kind"], one["metadata"]["name"]):
            said = kubernetes.wait_condition(one["kind"], one["metadata"]["name"], lambda two: two["status"] == "False")
            assert one["metadata"]["annotations"]["why"] in said["message"]
    kubernetes.delete("ttoken", "my-secret-name").good()
    for kinds in (
        "tlock,tuser,tsshserver,ttrust",
        "trole,trolev6,trolev7,trolev8",
    ):  # all tokens at once would be no decision
        kubernetes.delete(kinds, more=["-l", "batch=guides", "--wait=false"]).good()


def stored(sample: dict[str, Any], kubernetes: Cluster) -> dict[str, Any]:
    """A sample of the guides, marked as such. An imitated server fills in no defaults of schemas: they are given."""
    one = copy.deepcopy(sample)
    one["metadata"].setdefault("labels", {})["batch"] = "guides"
    kind, version = custom_kind(one["kind"]), one["apiVersion"].rpartition("/")[2]
    if kubernetes.imitated is not None and kind is not None and kind.says_version and kind.versions[version]:
        one["spec"]["version"] = spec_schema(kind, version)["properties"]["version"]["default"]
    return one


def test_edits_that_follow_each_other_quickly_end_with_the_last_one(governed: Governed) -> None:
    kubernetes = governed.kubernetes
    for number in range(5):
        kubernetes.apply(role("quick", logins=f"login{number}")).good()

    kubernetes.wait_condition("trolev7", "quick", lambda one: one["status"] == "True")

    assert governed.in_force("role/quick")["spec"]["allow"]["logins"] == ["login4"]


def test_what_is_deleted_is_gone_at_once_and_out_of_force(governed: Governed) -> None:
    kubernetes = governed.kubernetes
    leaving = {**user("eve")}
    leaving["metadata"]["finalizers"] = [FINALIZER]
    kubernetes.apply(leaving).good()
    kubernetes.wait_ready("tuser/eve")

    kubernetes.delete("tuser", "eve").good()

    governed.wait_gone("user/eve")


def test_what_still_is_needed_stays_in_force_and_an_event_says_for_whom(governed: Governed, ann: Person) -> None:
    kubernetes = governed.kubernetes

    kubernetes.delete("trolev7", "dev").good()

    def told() -> bool:
        return any("still used by user/ann" in one["message"] for one in kubernetes.events("TeleportRoleV7", "dev"))

    wait_until(told, what="the event")
    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 0
    assert governed.source()["state"] == "Stalled"
    kubernetes.apply(role("dev")).good()
    kubernetes.wait_ready("trolev7/dev")


def test_what_is_deleted_while_no_operator_is_there_is_pruned_when_one_is_back(governed: Governed) -> None:
    kubernetes = governed.kubernetes
    kubernetes.apply(user("gus")).good()
    kubernetes.wait_ready("tuser/gus")
    assert governed.operator.stop() == 0

    kubernetes.delete("tuser", "gus").good()
    governed.operator.start()

    governed.wait_gone("user/gus")


def test_an_operator_killed_before_its_feed_is_answered_loses_nothing(governed: Governed) -> None:
    kubernetes, process = governed.kubernetes, governed.world.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    kubernetes.apply(user("hal")).good()
    time.sleep(0.5)

    governed.operator.kill()
    process.send_signal(signal.SIGCONT)
    governed.operator.start()

    kubernetes.wait_ready("tuser/hal")
    assert governed.in_force("user/hal")


def test_an_auth_service_that_was_away_is_fed_when_it_is_back(governed: Governed) -> None:
    governed.world.kill()
    governed.kubernetes.apply(user("ida")).good()

    governed.world.start()

    governed.kubernetes.wait_ready("tuser/ida")


def test_watches_that_are_told_that_the_past_is_gone_begin_anew(governed: Governed) -> None:
    server = imitated(governed)

    server.forget_the_past()

    governed.kubernetes.apply(user("jan")).good()
    governed.kubernetes.wait_ready("tuser/jan")


def test_what_changed_while_the_api_server_was_away_is_in_force_when_it_is_back(governed: Governed) -> None:
    server = imitated(governed)
    server.fail(True)
    made = server.run(server.emulation.create(user("kai")))

    time.sleep(AWAY)
    server.fail(False)

    governed.kubernetes.wait_ready("tuser/kai", timeout=30)
    assert made["metadata"]["generation"] == 1


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else "x"


REFUSED: dict[str, tuple[Any, str]] = {
    "deep": ({"allow": {"node_labels": {"a": deep(60)}}}, "nested deeper than 32 levels"),
    "long": ({"allow": {"logins": ["a" * 1_200_000]}}, "more than"),
    "scalars": ({"allow": "everything"}, "a mapping is expected"),
    "lists": ([{"allow": {}}], "a mapping is expected"),
    "pattern": ({"allow": {"node_labels": {"a": "^(a+)+$(?!x)$"}}}, "invalid"),
}


def test_hostile_manifests_are_refused_and_hold_up_nobodys_lock(governed: Governed) -> None:
    server, kubernetes = imitated(governed), governed.kubernetes
    for name, (spec, _) in REFUSED.items():
        server.run(server.emulation.create(manifest("TeleportRoleV7", f"hostile-{name}", spec)))
    odd = {"allow": {"logins": ["\u202eroot\u0000\U0001f600"], "node_labels": {"\u00e4": "\u65e5"}}}
    server.run(server.emulation.create(manifest("TeleportRoleV7", "hostile-unicode", odd)))

    kubernetes.apply(manifest("TeleportLockV2", "nobody", {"target": {"user": "nobody-at-all"}})).good()

    kubernetes.wait_ready("tlock/nobody")
    for name, (_, why) in REFUSED.items():
        said = kubernetes.wait_condition("trolev7", f"hostile-{name}", lambda one: one["status"] == "True", "Stalled")
        assert said["reason"] == "Invalid"
        assert why in kubernetes.condition("TeleportRoleV7", f"hostile-{name}")["message"]
    kubernetes.wait_condition("trolev7", "hostile-unicode", lambda one: True)
    kubernetes.delete("trolev7", "hostile-unicode", *(f"hostile-{name}" for name in REFUSED)).good()


def test_labels_may_be_lists_and_scalars(governed: Governed) -> None:
    both = role("both")
    both["spec"]["allow"]["node_labels"] = {"env": ["dev", "test"], "team": "b", "on": "true"}

    governed.kubernetes.apply(both).good()

    governed.kubernetes.wait_ready("trolev7/both")


def test_many_objects_in_one_apply_all_become_ready(governed: Governed) -> None:
    kubernetes = governed.kubernetes
    many = [role(f"many-{number}") for number in range(MANY)]
    for one in many:
        one["metadata"]["labels"] = {"batch": "many"}
    began = time.monotonic()

    kubernetes.apply(*many).good()
    applied = time.monotonic() - began
    kubernetes.wait_all_ready(*many, timeout=60 + MANY // 5)

    print(f"{MANY} roles: applied in {applied:.1f} s, all Ready after {time.monotonic() - began:.1f} s")
    kubernetes.delete("trolev7", more=["-l", "batch=many", "--wait=false"]).good()
    governed.wait_gone(f"role/many-{MANY - 1}", timeout=120)


def test_a_secret_that_permits_it_is_read_and_one_that_does_not_is_not(governed: Governed) -> None:
    kubernetes = governed.kubernetes
    token = {"roles": ["Node"], "secret": "secret://join/token"}
    kubernetes.apply(secret("join", "uvwxyz0123456789-uvwxyz0123456789"), manifest(
        "TeleportProvisionToken", "by-secret", token, "v2")).good()  # fmt: skip
    refused = kubernetes.wait_condition("TeleportProvisionToken", "by-secret", lambda one: one["status"] == "False")

    kubernetes.apply(secret("join", "uvwxyz0123456789-uvwxyz0123456789", **{ALLOW: "by-secret"})).good()

    kubernetes.wait_ready("ttoken/by-secret")
    assert "secret" in refused["message"].lower()
    assert "uvwxyz" not in refused["message"]


def secret(name: str, token: str, **annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Secret",
        "data": {"token": base64.b64encode(token.encode()).decode()},
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations},
    }  # fmt: skip


def test_of_two_operators_one_works_and_the_other_takes_over(governed: Governed) -> None:
    kubernetes = governed.kubernetes
    second = OperatorProcess(governed.operator.home, governed.operator.kubeconfig, governed.operator.environment, "two")
    second.start()
    try:
        both = {"operator": governed.operator, "two": second}
        leader = wait_until(lambda: leading(kubernetes, set(both)), what="two operators that know of each other")
        both[leader].kill()

        kubernetes.apply(user("lea")).good()

        kubernetes.wait_ready("tuser/lea", timeout=40)
    finally:
        second.kill()
        governed.operator.kill()
        governed.operator.start()


def leading(kubernetes: Cluster, names: set[str]) -> str:
    """Who works, as soon as all are known."""
    peers = kubernetes.get("kopfpeering", "teleport-operator").get("status") or {}
    return max(names, key=lambda name: peers[name]["priority"]) if names <= peers.keys() else ""


def test_a_deleted_definition_takes_nothing_out_of_force(governed: Governed, ann: Person) -> None:
    kubernetes = governed.kubernetes

    kubernetes.kubectl("delete", "crd", "teleportusers.resources.teleport.dev", "--timeout=60s").good()

    governed.operator.wait_for(
        "the definition of TeleportUser is gone|Unresolved resources.*teleportusers", restarting=True
    )
    assert governed.in_force("user/ann")
    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 0
    kubernetes.kubectl("create", "-f", str(REPOSITORY / "crds" / "resources.teleport.dev_teleportusers.yaml"),
                       "--validate=false").good()  # fmt: skip


def test_the_operator_asks_for_what_its_roles_give_and_they_give_nothing_else(governed: Governed) -> None:
    server = imitated(governed)
    account = f"system:serviceaccount:{NAMESPACE}:teleport-operator"

    async def look() -> tuple[list[Grant], set[Asked], set[Asked]]:
        kept = [one for kind in server.emulation.kinds for one in server.emulation.objects.all_of(kind)]
        return grants_of(account, kept), server.emulation.asked, server.emulation.refused

    grants, asked, refused = server.run(look())

    assert refused == set()
    assert [one for one in grants if not any(one.covers(request) for request in asked)] == []


def test_a_deleted_namespace_takes_nothing_out_of_force(governed: Governed, ann: Person) -> None:
    governed.kubernetes.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s").good()

    governed.operator.wait_for(f"the namespace {NAMESPACE} goes|HTTP 40[13]|Unauthorized|Forbidden")
    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 0
    assert governed.in_force("user/ann")

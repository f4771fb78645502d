"""A Kubernetes cluster as people with kubectl see it: imitated, or the real one that KUBECONFIG names.

Whatever a test does with it is done by the real kubectl; what only an imitation can be made to do (to fail, to forget)
hangs on `imitated`.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from teleport.core.generated import REPOSITORY
from tests.kubernetes.hosted import Hosted, hosted

__all__ = ["NAMESPACE", "REAL", "Answer", "Cluster", "cluster", "kubeconfig", "manifest"]

NAMESPACE: Final = "teleport"
REAL: Final = os.environ.get("TELEPORT_TEST_KUBECONFIG", "")
"""The kubeconfig of a real cluster, whose namespace `teleport` the tests may make and delete."""
_RUNS: Final = frozenset({"Deployment", "PersistentVolumeClaim", "Service"})
"""What is left out: the operator of the tests is a process beside them."""

Manifest = dict[str, Any]


def manifest(kind: str, name: str, spec: Any, version: str = "v1", **metadata: Any) -> Manifest:
    return {
        "apiVersion": f"resources.teleport.dev/{version}", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, **metadata}, "spec": spec,
    }  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """A kubectl that has ended."""

    status: int
    output: str
    errors: str

    def good(self) -> str:
        """What it printed; it is a failure of the test if it failed."""
        assert self.status == 0, self.errors or self.output
        return self.output


@dataclass(frozen=True)
class Cluster:
    """See the module."""

    home: Path
    kubeconfig: Path
    imitated: Hosted | None

    def kubectl(self, *arguments: str, stdin: str = "", patience: float = 600) -> Answer:
        done = subprocess.run(
            ["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=patience, check=False,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)},
        )  # fmt: skip
        return Answer(done.returncode, done.stdout, done.stderr)

    def apply(self, *manifests: Mapping[str, Any], validate: bool = True) -> Answer:
        """`kubectl apply`. An imitated server has no schemas to validate with; a real one is asked to be strict."""
        strict = "--validate=strict" if validate and self.imitated is None else "--validate=false"
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        return self.kubectl("apply", strict, "-f", "-", stdin=text)

    def get(self, kind: str, name: str) -> Manifest:
        """An object; empty if there is none."""
        found = self.kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json", "--ignore-not-found").good()
        return json.loads(found) if found.strip() else {}

    def delete(self, kind: str, *names: str, more: Sequence[str] = ()) -> Answer:
        """`kubectl delete`, which waits until they are gone; for at most a few seconds here."""
        return self.kubectl("delete", kind, *names, "-n", NAMESPACE, "--timeout=20s", "--ignore-not-found", *more)

    def wait_ready(self, *objects: str, timeout: int = 20) -> str:
        """`kubectl wait` until objects (`KIND/NAME`) are ready."""
        return self.wait("condition=Ready", *objects, timeout=timeout)

    def wait(self, what: str, *objects: str, timeout: int = 20) -> str:
        return self.kubectl(
            "wait", f"--for={what}", *objects, "-n", NAMESPACE, f"--timeout={timeout}s", patience=timeout + 60
        ).good()

    def all_ready(self, *objects: Mapping[str, Any]) -> bool:
        """Whether all of some manifests are ready, in one look."""
        kinds = ",".join(sorted({one["kind"] for one in objects}))
        listed = json.loads(self.kubectl("get", kinds, "-n", NAMESPACE, "-o", "json").good())["items"]
        return {_place(one) for one in objects} <= {_place(one) for one in listed if _ready(one)}

    def wait_all_ready(self, *objects: Mapping[str, Any], timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not self.all_ready(*objects):
            if time.monotonic() > deadline:
                late = [self.get(one["kind"], one["metadata"]["name"]) for one in objects if not self.all_ready(one)]
                raise AssertionError(json.dumps([(_place(one), one.get("status")) for one in late], indent=1))
            time.sleep(0.1)

    def events(self, kind: str, name: str) -> list[Manifest]:
        """What was told about an object, by `kubectl get events`."""
        chosen = f"involvedObject.kind={kind},involvedObject.name={name}"
        found = self.kubectl("get", "events", "-n", NAMESPACE, "--field-selector", chosen, "-o", "json").good()
        return list(json.loads(found)["items"])

    def condition(self, kind: str, name: str, type_: str = "Ready") -> Manifest:
        """One condition of an object; empty if it is not told yet."""
        conditions = (self.get(kind, name).get("status") or {}).get("conditions") or []
        return next((one for one in conditions if one["type"] == type_), {})

    def wait_condition(self, kind: str, name: str, says: Callable[[Manifest], bool], type_: str = "Ready") -> Manifest:
        """A condition as soon as it says something about how the object is now."""
        deadline = time.monotonic() + 20
        while True:
            found = self.get(kind, name)
            for one in (found.get("status") or {}).get("conditions") or []:
                current = one["observedGeneration"] == found["metadata"]["generation"]
                if one["type"] == type_ and current and says(one):
                    return dict(one)
            assert time.monotonic() < deadline, json.dumps(found.get("status"))
            time.sleep(0.05)

    def login(self, account: str) -> Path:
        """A kubeconfig with the token of a service account, made by `kubectl create token`."""
        token = self.kubectl("create", "token", account, "-n", NAMESPACE, "--duration=2h").good().strip()
        shown = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json").good())
        shown["users"] = [{"name": "account", "user": {"token": token}}]
        shown["contexts"] = [
            {"name": "test", "context": {"cluster": shown["clusters"][0]["name"], "user": "account",
                                         "namespace": NAMESPACE}}
        ]  # fmt: skip
        path = self.home / f"{account}.kubeconfig"
        path.write_text(json.dumps({**shown, "current-context": "test"}))
        return path

    def install(self) -> None:
        """What `kubectl apply -k operator/` installs, without what would run there."""
        made = self.kubectl("kustomize", str(REPOSITORY / "operator")).good()
        objects = [one for one in YAML(typ="safe").load_all(made) if one["kind"] not in _RUNS]
        if self.imitated is not None:
            for one in objects:
                self.imitated.run(self.imitated.emulation.create(one))
            return
        definitions = [one for one in objects if one["kind"] in ("CustomResourceDefinition", "Namespace")]
        self.apply(*definitions).good()
        names = [one["metadata"]["name"] for one in definitions if one["kind"] == "CustomResourceDefinition"]
        self.kubectl("wait", "--for=condition=Established", *(f"crd/{name}" for name in names)).good()
        self.apply(*(one for one in objects if one not in definitions)).good()


@contextmanager
def cluster(home: Path) -> Iterator[Cluster]:
    """A cluster with the operator's definitions and rights in it; a real one is left as it was."""
    if REAL:
        found = Cluster(home, Path(REAL), None)
        if found.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found").good():
            pytest.fail(f"the cluster of {REAL} has a namespace {NAMESPACE} already")
        try:
            found.install()
            yield found
        finally:
            found.kubectl("delete", "-k", str(REPOSITORY / "operator"), "--ignore-not-found")
        return
    with hosted() as server:
        path = home / "kubeconfig"
        path.write_text(json.dumps(kubeconfig(server.emulation.url)))
        found = Cluster(home, path, server)
        found.install()
        yield found


def _place(one: Mapping[str, Any]) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def _ready(one: Mapping[str, Any]) -> bool:
    """Whether an object's status says so of how it is now."""
    return any(
        (said["type"], said["status"], said["observedGeneration"]) == ("Ready", "True", one["metadata"]["generation"])
        for said in (one.get("status") or {}).get("conditions") or ()
    )


def kubeconfig(url: str) -> Manifest:
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "admin", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": NAMESPACE}}],
    }  # fmt: skip

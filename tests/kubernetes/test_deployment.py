"""What `kubectl apply -k` is given: everything that is there stands in it, and runs with as little as it needs."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from teleport.core.generated import REPOSITORY
from teleport.resources.custom_kinds import CUSTOM_KINDS, GROUP
from teleport.resources.load import load
from teleport.service.config import checked
from tests.kubernetes.clusters import kubeconfig
from tests.kubernetes.hosted import hosted

OPERATOR = REPOSITORY / "operator"

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@pytest.fixture(scope="module", params=["operator", "operator/cluster"])
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    command = ["kubectl", "kustomize", str(REPOSITORY / request.param)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return list(YAML(typ="safe").load_all(done.stdout))


def of_kind(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in manifests if one["kind"] == kind]


@needs_kubectl
def test_every_kind_comes_with_its_definition_and_its_policy(manifests: list[dict[str, Any]]) -> None:
    definitions = {one["metadata"]["name"] for one in of_kind(manifests, "CustomResourceDefinition")}
    bound = {one["spec"]["policyName"] for one in of_kind(manifests, "ValidatingAdmissionPolicyBinding")}

    assert definitions >= {f"{kind.plural}.{GROUP}" for kind in CUSTOM_KINDS}
    assert bound == {f"teleport-fields-{kind.plural}" for kind in CUSTOM_KINDS}


@needs_kubectl
def test_what_belongs_to_no_namespace_has_none_and_all_else_has_one(manifests: list[dict[str, Any]]) -> None:
    of_clusters = {
        "Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }  # fmt: skip

    for one in manifests:
        assert ("namespace" in one["metadata"]) is (one["kind"] not in of_clusters), one["metadata"]["name"]


@needs_kubectl
def test_pods_run_as_nobody_special_and_write_nowhere_but_where_they_must(manifests: list[dict[str, Any]]) -> None:
    for one in of_kind(manifests, "Deployment"):
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        assert container["resources"]["limits"]["memory"]
        assert container["livenessProbe"]
        assert container["readinessProbe"]


@needs_kubectl
def test_the_operator_may_read_secrets_one_by_one_and_only_in_namespaces_it_is_bound_to(
    manifests: list[dict[str, Any]],
) -> None:
    everywhere = [rule for one in of_kind(manifests, "ClusterRole") for rule in one["rules"]]
    there = [rule for one in of_kind(manifests, "Role") for rule in one["rules"] if "secrets" in rule["resources"]]

    assert [rule for rule in everywhere if {"secrets", "*"}.intersection(rule["resources"])] == []
    assert [rule["verbs"] for rule in there] == [["get", "watch"]]


@needs_kubectl
def test_the_operator_may_change_no_secret_and_no_definition(manifests: list[dict[str, Any]]) -> None:
    rules = [rule for kind in ("Role", "ClusterRole") for one in of_kind(manifests, kind) for rule in one["rules"]]

    for rule in rules:
        assert "*" not in rule["verbs"]
        assert "*" not in rule["apiGroups"]
        assert not {"create", "update", "patch", "delete"}.intersection(rule["verbs"]) or rule["apiGroups"] in (
            [GROUP], ["kopf.dev"]
        ) or rule["resources"] in (["events"], ["tokenreviews"])  # fmt: skip


@needs_kubectl
def test_what_pods_refer_to_is_there_or_documented(manifests: list[dict[str, Any]]) -> None:
    documented = {("Secret", "teleport-operator"), ("ConfigMap", "teleport-ca-pin")}
    names = {(one["kind"], one["metadata"]["name"]) for one in manifests} | documented
    accounts = {name for kind, name in names if kind == "ServiceAccount"}

    for one in of_kind(manifests, "Deployment"):
        pod = one["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] in accounts
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names


def test_the_configuration_of_the_cluster_is_valid() -> None:
    config = checked((OPERATOR / "cluster" / "teleport.yaml").read_bytes(), file="teleport.yaml")

    assert config.roles == ("auth", "proxy")
    assert list(config.without_effect()) == []


def test_the_token_of_the_cluster_lets_its_operator_join_and_nobody_else(manifests: list[dict[str, Any]]) -> None:
    loaded = load((OPERATOR / "cluster" / "token.yaml").read_bytes(), file="token.yaml")
    config = checked((OPERATOR / "cluster" / "teleport.yaml").read_bytes(), file="teleport.yaml")
    (account,) = (
        one["metadata"] for one in of_kind(manifests, "ServiceAccount") if "operator" in one["metadata"]["name"]
    )

    (token,) = loaded.resources
    spec = token.to_dict()["spec"]
    assert loaded.problems == ()
    assert spec["kubernetes"]["allow"] == [{"service_account": f"{account['namespace']}:{account['name']}"}]
    assert config.policies is not None
    assert spec["policy_sources"] == [one.name for one in config.policies.sources]


@needs_kubectl
def test_kubectl_applies_the_tree_in_one_go(tmp_path: Path) -> None:
    with hosted() as server:
        config = tmp_path / "kubeconfig"
        config.write_text(json.dumps(kubeconfig(server.emulation.url)))
        command = ["kubectl", "apply", "--validate=false", "-k", str(OPERATOR)]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "KUBECONFIG": str(config)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=environment)

    assert (done.returncode, done.stderr) == (0, "")
    assert "deployment.apps/teleport-operator created" in done.stdout
    assert "role.rbac.authorization.k8s.io/teleport-operator created" in done.stdout


def test_the_page_about_kubernetes_names_every_kind_by_its_short_name_too() -> None:
    page = (REPOSITORY / "docs" / "kubernetes.md").read_text()

    assert [kind.kind for kind in CUSTOM_KINDS if f"`{kind.short}`" not in page] == []
    assert [kind.kind for kind in CUSTOM_KINDS if f"`{kind.kind}`" not in page and f"`{kind.suffix}`" not in page] == []

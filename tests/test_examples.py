"""The example policies: they load without a remark, and grant what their README says."""

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from teleport.access.decide import AccessRequest, decide
from teleport.access.judge import judge
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.core.identity import Identity
from teleport.gitops.folder import read_folder
from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.load import Loader
from teleport.resources.schema import kind_schema
from teleport.resources.yaml_reader import read
from tests.access.builders import NOW, policy

POLICIES = Path(__file__).parent.parent / "examples" / "policies"
FILES = sorted(POLICIES.rglob("*.yaml"))


def resources() -> list[AnyResource]:
    files, problems = read_folder(POLICIES)
    loaded = Loader("folder").load(files)
    assert (*problems, *loaded.problems) == ()
    return list(loaded.resources)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return policy(*resources())


def test_the_set_has_no_faults_and_holds_no_surprises() -> None:
    judgement = judge(resources())

    assert (judgement.problems, judgement.warnings) == ((), ())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(POLICIES)))
def test_a_file_names_its_schema_says_what_it_is_for_and_is_valid_to_editors(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    (document,), _ = read(path.read_bytes(), file=path.name)

    schema = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)

    assert schema is not None
    assert (path.parent / schema[1]).resolve().name == f"{document.value['kind']}.json"
    assert (path.parent / schema[1]).is_file()
    assert second.startswith("# ")
    Draft202012Validator(kind_schema(KINDS[document.value["kind"]])).validate(document.value)


def test_there_are_four_teams_and_three_environments(snapshot: Snapshot) -> None:
    readme = (POLICIES / "README.md").read_text()
    environments = {node.metadata.labels.get("env") for node in snapshot.nodes.values()} - {None}

    teams = re.findall(r"^\| (platform|web|data|security) \|", readme, re.MULTILINE)

    assert len(teams) == 4
    assert environments == {"dev", "staging", "prod"}
    assert all(re.search(rf"\b{name}\b", readme) for name in snapshot.users)


@pytest.mark.parametrize(
    ("user", "login", "host", "mfa", "allowed"),
    [
        ("ben", "ben", "web-dev-1", False, True),
        ("ben", "deploy", "web-staging-1", False, True),
        ("ben", "deploy", "web-prod-1", True, True),
        ("ben", "deploy", "web-prod-1", False, False),
        ("ben", "ben", "web-prod-1", True, False),
        ("ben", "ben", "db-staging-1", True, False),
        ("ben", "ben", "laptop", False, True),
        ("cleo", "cleo", "web-staging-1", False, True),
        ("cleo", "deploy", "web-prod-1", True, False),
        ("ada", "root", "db-prod-1", True, True),
        ("ada", "root", "db-prod-1", False, False),
        ("ada", "ada", "build-1", True, True),
        ("dora", "dora", "notebook-1", False, True),
        ("dora", "deploy", "db-prod-1", True, True),
        ("emil", "emil", "notebook-1", False, True),
        ("emil", "emil", "db-staging-1", True, False),
        ("fay", "fay", "notebook-1", True, False),
        ("gus", "gus", "web-dev-1", False, True),
        ("gus", "deploy", "web-prod-1", True, False),
        ("deployer", "deploy", "web-prod-1", False, True),
        ("deployer", "deploy", "db-prod-1", False, False),
    ],
)
def test_people_reach_what_the_readme_says(
    snapshot: Snapshot, user: str, login: str, host: str, mfa: bool, allowed: bool
) -> None:
    labels = snapshot.nodes[host].metadata.labels if host in snapshot.nodes else {}
    identity = Identity("user", user, snapshot.users[user].uid, "acme", mfa_verified=mfa, expires=NOW + 60)

    decision = decide(snapshot, AccessRequest(identity, Target("node", host, host, labels), login), now=NOW)

    assert decision.allowed is allowed, decision.because

"""`tctl policy new` and `tctl policy schemas`: what is written where, and what is never overwritten."""

import json
from pathlib import Path

import pytest

from teleport.resources.kinds import KINDS
from tests.cli.programs import tctl


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "policies").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_of_each_kind_is_printed(kind: str) -> None:
    result = tctl("policy", "new", kind)

    assert (result.status, result.errors) == (0, "")
    assert f"\nkind: {kind}\n" in result.output


def test_a_document_gets_its_place_in_the_folder_and_a_cluster_would_take_it(repository: Path) -> None:
    written = [tctl("policy", "new", *words, "--file", "policies") for words in (("role", "a/b"), ("users",), ("cap",))]

    assert [one.output for one in written] == [
        "wrote policies/roles/a%2Fb.yaml\n",
        "wrote policies/users/ann@example.com.yaml\n",
        "wrote policies/settings/cluster_auth_preference.yaml\n",
    ]
    assert tctl("policy", "validate", "policies").status == 0


def test_nothing_is_overwritten(repository: Path) -> None:
    tctl("policy", "new", "role", "x", "-f", "policies")
    (repository / "policies/roles/x.yaml").write_text("mine")

    again = tctl("policy", "new", "role", "x", "-f", "policies")
    named = tctl("policy", "new", "role", "y", "-f", "policies/roles/x.yaml")

    assert (again.status, named.status) == (1, 1)
    assert "tctl: error: policies/roles/x.yaml exists" in again.errors
    assert (repository / "policies/roles/x.yaml").read_text() == "mine"


def test_a_document_names_the_schema_that_was_written_above_it(repository: Path) -> None:
    without = tctl("policy", "new", "role", "x", "-f", "policies")

    schemas = tctl("policy", "schemas", ".schemas")
    tctl("policy", "new", "role", "y", "-f", "policies")

    assert "`tctl policy schemas .schemas`" in without.errors
    assert json.loads(schemas.output) == {"yaml.schemas": {".schemas/resource.json": ["policies/**/*.yaml"]}}
    first = (repository / "policies/roles/y.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../../.schemas/role.json"
    schema = (repository / "policies/roles" / first.partition("=")[2]).resolve()
    assert json.loads(schema.read_text())["title"] == "role"


def test_schemas_of_all_kinds_are_written_and_written_again() -> None:
    for _ in range(2):
        assert tctl("policy", "schemas", ".schemas").status == 0

    assert sorted(path.stem for path in Path(".schemas").iterdir()) == sorted([*KINDS, "resource"])


def test_hidden_schemas_within_the_policy_are_no_policy(repository: Path) -> None:
    tctl("policy", "schemas", "policies/.schemas")
    tctl("policy", "new", "role", "-f", "policies")

    assert tctl("policy", "validate", "policies").output == "policies is valid: 1 role\n"


def test_a_kind_that_is_not_known_is_told_with_the_likely_right_one() -> None:
    result = tctl("policy", "new", "rol")

    assert (result.status, "did you mean role?" in result.errors) == (2, True)

"""The hooks that this repository offers, run by the real pre-commit in a repository of policy."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cli.programs import tctl
from tests.gitops.test_revision import git

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
HOOKS: list[dict[str, Any]] = YAML(typ="safe").load((ROOT / ".pre-commit-hooks.yaml").read_text())
PRESENT = [hook for hook in HOOKS if tctl(*hook["entry"].split()[1:], "--help").status == 0]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The example policies, with the hooks as somebody would name them, but found on PATH instead of installed."""
    root = tmp_path / "repository"
    shutil.copytree(ROOT / "examples/policies", root / "policies")
    hooks = [{**hook, "language": "system"} for hook in PRESENT]
    with (root / ".pre-commit-config.yaml").open("w") as file:
        YAML(typ="safe").dump({"repos": [{"repo": "local", "hooks": hooks}]}, file)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    return root


def pre_commit(folder: Path, *arguments: str, cache: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PRE_COMMIT_HOME": str(cache)}
    return subprocess.run(
        ["pre-commit", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def outcomes(output: str) -> dict[str, str]:
    return dict(re.findall(r"^(.*?)\.{3,}(?:\(.*\))?(Passed|Failed|Skipped)$", output, re.MULTILINE))


def test_the_manifest_is_one_that_pre_commit_takes(tmp_path: Path) -> None:
    result = pre_commit(ROOT, "validate-manifest", ".pre-commit-hooks.yaml", cache=tmp_path)

    assert (result.returncode, result.stdout) == (0, ""), result.stdout
    assert [hook["id"] for hook in HOOKS] == [f"teleport-policy-{name}" for name in ("fmt", "validate", "test")]
    assert {hook["language"] for hook in HOOKS} == {"python"}


def test_policy_that_is_right_passes(repository: Path, tmp_path: Path) -> None:
    result = pre_commit(repository, "run", "--all-files", cache=tmp_path)

    assert result.returncode == 0, result.stdout
    assert outcomes(result.stdout) == {hook["name"]: "Passed" for hook in PRESENT}


def test_what_is_wrong_is_told_and_what_is_untidy_is_laid_out(repository: Path, tmp_path: Path) -> None:
    broken, untidy = repository / "policies/users/ben.yaml", repository / "policies/users/ada.yaml"
    broken.write_text(broken.read_text().replace("developer", "develper"))
    tidy = untidy.read_text()
    untidy.write_text(tidy.replace("metadata:\n  name", "metadata:\n     name"))

    result = pre_commit(repository, "run", "--all-files", cache=tmp_path)

    assert result.returncode == 1
    assert {"lay out policy files": "Failed", "judge the policy": "Failed"}.items() <= outcomes(result.stdout).items()
    assert "unknown role develper (did you mean developer?)" in result.stdout
    assert untidy.read_text() == tidy


def test_files_that_are_no_policy_concern_no_hook(repository: Path, tmp_path: Path) -> None:
    (repository / "notes.yaml").write_text("::")
    git(repository, "add", "-A")

    result = pre_commit(repository, "run", "--files", "notes.yaml", cache=tmp_path)

    assert set(outcomes(result.stdout).values()) == {"Skipped"}

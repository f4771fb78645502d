"""One commit of a repository read as a folder is, without a working tree; and repositories that are up to no good."""

import os
import subprocess
from pathlib import Path

import pytest

from teleport.core.errors import BadInput
from teleport.gitops.folder import read_folder
from teleport.gitops.revision import Repository

AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(folder), *AUTHOR, *arguments], capture_output=True, text=True, check=True, timeout=20,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"},
    )  # fmt: skip
    return result.stdout


def commit(folder: Path, message: str = "m") -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    for name, text in {
        "policies/roles/b.yaml": "b", "policies/roles/a.yml": "a", "policies/z.json": "z", "policies/README.md": "no",
        "policies/.hidden/x.yaml": "no", "policies/roles/.x.yaml": "no", "elsewhere.yaml": "no",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    commit(tmp_path)
    return tmp_path


def read(folder: Path, revision: str = "main", path: str = "policies") -> tuple[list[tuple[str, bytes]], list[str]]:
    found = Repository(folder)
    files, problems = found.read(found.commit(revision, path))
    return files, [f"{one.file}: {one.message}" for one in problems]


def test_a_commit_is_read_as_the_folder_it_was_made_of(repository: Path) -> None:
    assert read(repository)[0] == read_folder(repository / "policies")[0]


def test_what_is_in_the_working_tree_alone_does_not_count(repository: Path) -> None:
    (repository / "policies/z.json").write_text("changed")
    (repository / "policies/new.yaml").write_text("new")

    files, _ = read(repository)

    assert dict(files)["z.json"] == b"z"
    assert "new.yaml" not in dict(files)


def test_an_older_commit_stays_as_it_was(repository: Path) -> None:
    (repository / "policies/z.json").write_text("changed")
    commit(repository)

    assert dict(read(repository, "main~1")[0])["z.json"] == b"z"


@pytest.mark.parametrize("revision", ["nowhere", "--help", "-n1", "", "main:policies/z.json", "main^{tree}", "a\0b"])
def test_what_names_no_commit_is_refused_and_is_never_an_option(repository: Path, revision: str) -> None:
    with pytest.raises(BadInput):
        Repository(repository).commit(revision)


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../../x"])
def test_a_path_outside_of_the_repository_is_refused(repository: Path, path: str) -> None:
    with pytest.raises(BadInput, match="outside"):
        Repository(repository).commit("main", path)


@pytest.mark.parametrize("path", ["nothing", "policies/z.json"])
def test_a_path_that_is_no_folder_of_the_commit_is_told(repository: Path, path: str) -> None:
    with pytest.raises(BadInput, match="is no folder of commit"):
        read(repository, path=path)


def test_a_folder_that_is_in_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no commit of the repository"):
        read(tmp_path)


def test_links_lead_to_files_of_the_commit_or_nowhere(repository: Path) -> None:
    policies = repository / "policies"
    (policies / "inside.yaml").symlink_to("roles/b.yaml")
    (policies / "out.yaml").symlink_to("../elsewhere.yaml")
    (policies / "absolute.yaml").symlink_to("/etc/hostname")
    (policies / "folder").symlink_to("roles")
    (policies / "chain.yaml").symlink_to("inside.yaml")
    commit(repository)

    files, problems = read(repository)

    assert dict(files)["inside.yaml"] == b"b"
    assert problems == [
        "absolute.yaml: a link that leads out of the folder",
        "chain.yaml: a link that leads out of the folder",
        "folder: a link to a folder, which is not followed in a commit",
        "out.yaml: a link that leads out of the folder",
    ]


@pytest.mark.parametrize("target", ["../shared", "..", "/srv/shared", "../../shared", "../chain"])
def test_a_link_to_a_folder_elsewhere_is_named_as_in_a_folder(repository: Path, target: str) -> None:
    (repository / "shared").mkdir()
    (repository / "shared/x.yaml").write_text("x")
    (repository / "chain").symlink_to("shared")
    (repository / "policies/shared").symlink_to(target)
    (repository / "policies/LICENSE").symlink_to("../elsewhere.yaml")
    (repository / "policies/.hidden/shared").symlink_to("../../shared")
    commit(repository)

    _, problems = read(repository)

    assert problems == ["shared: a link that leads out of the folder"]


def test_submodules_and_pointers_to_large_files_are_named_rather_than_missed(repository: Path) -> None:
    (repository / "policies/big.yaml").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    git(repository, "add", "-A")
    head = git(repository, "rev-parse", "HEAD").strip()
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{head},policies/sub")
    git(repository, "commit", "-q", "-m", "m")

    _, problems = read(repository)

    assert problems == ["sub: a submodule, which is not read", "big.yaml: a pointer to git LFS, not the file"]


def test_nothing_that_the_repository_configures_is_run(repository: Path) -> None:
    trap = repository / "trap"
    script = repository / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {trap}\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "core.sshCommand", "filter.x.smudge", "diff.external", "core.askPass"):
        git(repository, "config", key, str(script))
    (repository / ".gitattributes").write_text("* filter=x\n")
    git(repository, "config", "core.hooksPath", str(repository))
    (repository / "post-checkout").write_text(script.read_text())
    (repository / "post-checkout").chmod(0o755)

    files, _ = read(repository)

    assert len(files) == 3
    assert not trap.exists()


def test_a_blob_that_a_partial_clone_lacks_is_named_and_not_fetched(repository: Path, tmp_path: Path) -> None:
    blob = git(repository, "rev-parse", "main:policies/z.json").strip()
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()
    marker = tmp_path / "fetched"
    git(repository, "config", "remote.origin.url", f"ext::sh -c 'touch {marker}'")
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "extensions.partialClone", "origin")

    files, problems = read(repository)

    assert problems == ["z.json: is not in this clone"]
    assert len(files) == 2
    assert not marker.exists()


def test_the_environment_of_a_hook_leads_to_no_other_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))

    assert len(read(repository)[0]) == 3


def test_more_than_is_read_of_a_folder_is_not_read_of_a_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teleport.gitops.revision.MAX_FILES", 2)
    _, many = read(repository)
    monkeypatch.setattr("teleport.gitops.revision.MAX_FILES", 10)
    monkeypatch.setattr("teleport.gitops.revision.MAX_BYTES", 1)
    _, large = read(repository)

    assert many == ["policies: more than 2 files"]
    assert large == ["roles/a.yml: more than 1 bytes"]

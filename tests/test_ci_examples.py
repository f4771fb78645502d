"""The example pipelines: valid, with few rights, and their steps do what they say, run against a forge's API."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cli.folders import ANN, DEV, HOSTS, folder
from tests.cli.programs import tctl
from tests.e2e.world import missing
from tests.gitops.test_revision import commit, git

EXAMPLES = Path(__file__).resolve().parents[1] / "examples/ci"
BIN = Path(sys.executable).parent
GITHUB, COMMENTING = EXAMPLES / "github/policy.yml", EXAMPLES / "github/policy-comment.yml"
GITLAB = EXAMPLES / "gitlab/policy.gitlab-ci.yml"
MARK = "<!-- policy-impact -->"
BASE = "kind: role\nversion: v7\nmetadata:\n  name: base\nspec: {}\n"


def parsed(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    (job,) = parsed(path)["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def step(path: Path, name: str) -> str:
    (text,) = [one["run"] for one in steps(path) if one.get("name") == name]
    return str(text)


@pytest.mark.parametrize(
    ("path", "schema"), [(GITHUB, "github-workflows"), (COMMENTING, "github-workflows"), (GITLAB, "gitlab-ci")]
)
def test_a_pipeline_is_one_that_its_forge_takes(path: Path, schema: str) -> None:
    result = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", path], capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", [GITHUB, COMMENTING], ids=lambda path: path.stem)
def test_a_workflow_has_few_rights_and_takes_actions_by_their_version(path: Path) -> None:
    used = [one["uses"] for one in steps(path) if "uses" in one]

    assert set(parsed(path)["permissions"].items()) <= {("contents", "read"), ("pull-requests", "write")}
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", one) for one in used)
    assert "secrets." not in path.read_text()
    assert not any("${{" in one["run"] for one in steps(path) if "run" in one), "an expression would become code"


def test_what_a_stranger_may_have_changed_runs_without_the_right_to_write() -> None:
    assert list(parsed(GITHUB)["on"]) == ["pull_request"]
    assert parsed(GITHUB)["permissions"] == {"contents": "read"}


def test_what_may_write_checks_out_nothing_of_the_pull_request() -> None:
    (checkout,) = [one for one in steps(COMMENTING) if one.get("uses", "").startswith("actions/checkout@")]

    assert list(parsed(COMMENTING)["on"]) == ["pull_request_target"]
    assert "with" not in checkout
    assert not re.search(r"git (checkout|restore|switch|merge|worktree|archive)", COMMENTING.read_text())


# The steps, run


@dataclass
class Forge:
    """The part of GitHub's and GitLab's APIs that comments take."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, body: Any) -> Any:
        self.asked.append(method)
        if path.startswith("/user"):
            return {"id": 1}
        if method == "GET":
            return self.comments
        if method == "POST":
            author = {"login": "github-actions[bot]", "id": 1}
            self.comments.append(
                {"id": 100 + len(self.comments), "body": body["body"], "user": author, "author": author}
            )
            return self.comments[-1]
        (edited,) = [one for one in self.comments if str(one["id"]) == path.rpartition("/")[2]]
        edited["body"] = body["body"]
        return edited


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A forge where somebody else has already written something that looks like ours."""
    stranger = {"login": "eve", "id": 2}
    forge = Forge([{"id": 7, "body": f"{MARK}\nnothing to see here", "user": stranger, "author": stranger}])

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            assert "token" in (self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or "")
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = json.dumps(forge.answer(self.command, self.path, json.loads(data or b"null"))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = do_PUT = handle_any

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    forge.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield forge
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Checkout:
    """A repository of policy on its base branch, and a pull request for it."""

    root: Path

    def propose(self, files: Mapping[str, str], beside: Mapping[str, str] | None = None) -> None:
        """What would be merged: as a forge offers it, on top of what it would be merged into."""
        git(self.root, "checkout", "-q", "-b", "proposal")
        for path in (self.root / "policies").glob("*.yaml"):
            if path.stem not in files:
                path.unlink()
        folder(self.root / "policies", **files)
        for name, text in {"README": "changed", **(beside or {})}.items():
            (self.root / name).write_text(text)
            (self.root / name).chmod(0o755)
        commit(self.root)
        git(self.root, "checkout", "-q", "-b", "merge", "main")
        git(self.root, "-c", "user.name=forge", "-c", "user.email=f@example.com", "merge", "-q", "--no-ff", "proposal")
        git(self.root, "update-ref", "refs/pull/7/merge", "merge")
        git(self.root, "checkout", "-q", "main")

    def run(self, script: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=self.root, capture_output=True,
            text=True, timeout=60, check=False,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "POLICY": "policies", **environment},
        )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if reason := missing("jq", "curl", "git"):
        pytest.skip(reason)
    root = tmp_path / "repository"
    (root / "policies").mkdir(parents=True)
    folder(root / "policies", ann=ANN, base=BASE, dev=DEV, hosts=HOSTS)
    git(root, "init", "-q", "-b", "main")
    commit(root)
    git(root, "remote", "add", "origin", str(root))
    return Checkout(root)


UNCHANGED: Mapping[str, str] = {"ann": ANN, "base": BASE, "dev": DEV, "hosts": HOSTS}
WIDER = {**UNCHANGED, "dev": DEV.replace("[dev, staging]", "[dev, prod]")}
BROKEN = {**UNCHANGED, "dev": DEV.replace("allow", "alow")}
EMPTIED = {"notes": "# nothing\n"}


@pytest.mark.parametrize(
    ("files", "status", "told"),
    [(UNCHANGED, 0, "nothing changes"), (WIDER, 0, "ann"), (EMPTIED, 4, "declares nothing any more"), (BROKEN, 1, "")],
    ids=["nothing", "something", "refused", "broken"],
)
def test_the_pull_request_passes_if_a_cluster_would_take_it(
    checkout: Checkout, files: Mapping[str, str], status: int, told: str
) -> None:
    checkout.propose(files)
    git(checkout.root, "checkout", "-q", "--detach", "merge")
    summary = checkout.root / "summary.md"

    result = checkout.run(step(GITHUB, "Impact"), GITHUB_STEP_SUMMARY=str(summary))

    assert result.returncode == status, result.stderr
    assert told.lower() in summary.read_text().lower()


@pytest.mark.parametrize("name", ["Layout", "Judge", "Test"])
def test_layout_faults_and_tests_fail_the_pull_request(checkout: Checkout, name: str) -> None:
    script = step(GITHUB, name)
    if tctl(*script.split()[1:3], "--help").status:
        pytest.skip("this tctl has no such command")
    tctl("policy", "fmt", str(checkout.root / "policies"))

    right = checkout.run(script)
    (checkout.root / "policies/dev.yaml").write_text(DEV.replace("allow", "alow"))
    wrong = checkout.run(script)

    assert (right.returncode, wrong.returncode != 0) == (0, True), right.stderr


def test_the_comment_is_written_once_and_edited_afterwards(checkout: Checkout, forge: Forge) -> None:
    checkout.propose(WIDER)
    environment = {"NUMBER": "7", "TOKEN": "token", "API": forge.address, "REPOSITORY": "acme/policy"}

    for name in ("Impact", "Comment", "Impact", "Comment"):
        result = checkout.run(step(COMMENTING, name), **environment)
        assert result.returncode == 0, result.stderr

    stranger, ours = forge.comments
    assert stranger["body"].endswith("nothing to see here")
    assert ours["body"].startswith(f"{MARK}\n")
    assert "ann" in ours["body"]
    assert forge.asked == ["GET", "POST", "GET", "PATCH"]


@pytest.mark.parametrize(
    ("files", "told"),
    [(EMPTIED, "declares nothing any more"), (BROKEN, "unknown field alow"), (None, "cannot be merged")],
    ids=["refused", "broken", "conflict"],
)
def test_the_comment_says_what_stands_in_the_way(
    checkout: Checkout, files: Mapping[str, str] | None, told: str
) -> None:
    if files is not None:
        checkout.propose(files)

    result = checkout.run(step(COMMENTING, "Impact"), NUMBER="7")

    assert result.returncode == 0, result.stderr
    assert told in (checkout.root / "impact.md").read_text()


def test_a_pull_request_cannot_change_what_its_comment_is_made_with(checkout: Checkout) -> None:
    beside = {
        ".gitattributes": "* export-ignore\n*.yaml filter=evil\n", "fleet.yaml": "kind: nonsense\n",
        "tctl": "#!/bin/sh\necho forged\n", "pip.py": "raise SystemExit(1)\n",
    }  # fmt: skip
    checkout.propose(WIDER, beside)

    result = checkout.run(step(COMMENTING, "Impact"), NUMBER="7")

    assert result.returncode == 0, result.stderr
    assert "ann" in (checkout.root / "impact.md").read_text()


def test_a_merge_request_is_judged_and_its_note_is_written_once(checkout: Checkout, forge: Forge) -> None:
    jobs = parsed(GITLAB)
    checkout.propose(WIDER)
    git(checkout.root, "checkout", "-q", "proposal")
    environment = {
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": git(checkout.root, "rev-parse", "main").strip(), "CI_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_IID": "7", "CI_API_V4_URL": forge.address, "POLICY_COMMENT_TOKEN": "token",
    }  # fmt: skip

    for name in ("policy:impact", "policy:comment") * 2:
        result = checkout.run("\n".join(jobs[name]["script"]), **environment)
        assert result.returncode == 0, result.stderr

    stranger, ours = forge.comments
    assert (stranger["id"], "ann" in ours["body"]) == (7, True)
    assert forge.asked == ["GET", "GET", "POST", "GET", "GET", "PUT"]


def test_a_merge_request_that_a_cluster_would_refuse_fails_and_leaves_its_report(checkout: Checkout) -> None:
    script = "\n".join(parsed(GITLAB)["policy:impact"]["script"])
    checkout.propose(EMPTIED)
    git(checkout.root, "checkout", "-q", "proposal")

    result = checkout.run(script, CI_MERGE_REQUEST_DIFF_BASE_SHA="main")

    assert result.returncode == 4
    assert "declares nothing any more" in (checkout.root / "impact.md").read_text()

"""Patches of policy files: the change that was meant, the rest of the file as it was, and `git apply` takes it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleport.cli.patching import patched, unified
from teleport.core.errors import NotFound, Refused
from teleport.resources.codec import from_dict
from teleport.resources.load import load
from teleport.resources.yaml_writer import to_yaml
from tests.sessions.policies import role, user

TEXT = """\
# Who looks after the databases.
kind:   role        # laid out by hand
version: v8
metadata: {name: dba, labels: {team: data}}
spec:
    options:
        max_session_ttl: 8h   # a working day
    allow:
        logins: ["postgres", admin]   # never root
        node_labels:
            # Only test for now.
            env: [test, "dev"]
---
kind: user
version: v2
metadata:
  name: ann
spec:
  roles:
  - dba   # since May
  - oncall
"""


def documents(text: str) -> dict[str, Any]:
    loaded = load(text.encode(), file="roles/dba.yaml")
    assert not loaded.problems, loaded.problems
    return {one.ref: one.to_dict() for one in loaded.resources}


def changed(ref: str, *path: str, to: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A document of the text as it is, and with one field changed."""
    before, after = documents(TEXT)[ref], documents(TEXT)[ref]
    here = after
    for step in path[:-1]:
        here = here.setdefault(step, {})
    here[path[-1]] = to
    return before, after


def diff(text: str) -> tuple[list[str], list[str]]:
    """Lines that went and lines that came."""
    lines = unified("x", TEXT, text).splitlines()[2:]
    return [one[1:] for one in lines if one[0] == "-"], [one[1:] for one in lines if one[0] == "+"]


@pytest.mark.parametrize(
    ("ref", "path", "to", "gone", "come"),
    [
        ("role/dba", ("spec", "allow", "node_labels", "env"), ["test", "dev", "prod"],
         ['            env: [test, "dev"]'], ['            env: [test, "dev", prod]']),
        ("user/ann", ("spec", "roles"), ["dba"], ["  - oncall"], []),
        ("role/dba", ("spec", "options", "max_session_ttl"), "1h",
         ["        max_session_ttl: 8h   # a working day"], ["        max_session_ttl: 1h   # a working day"]),
        ("role/dba", ("spec", "allow", "logins"), ["postgres", "admin", "root"],
         ['        logins: ["postgres", admin]   # never root'],
         ['        logins: ["postgres", admin, root]   # never root']),
    ],
)  # fmt: skip
def test_only_the_lines_that_mean_something_else_change(
    ref: str, path: tuple[str, ...], to: Any, gone: list[str], come: list[str]
) -> None:
    before, after = changed(ref, *path, to=to)

    text = patched(TEXT, ref, before, after, file="roles/dba.yaml")

    assert diff(text) == (gone, come)


ODD = """\
kind: role
version: v7
metadata: {name: dba}
spec:
    allow:
        logins: [ann,
                 bob,   # bob, by night
                 cy]
        node_labels: {env:   'test', team: [ a,b ]}
        host_groups:
        # first
        - one
        # second
        - two   # not three
        # third
        - three
"""


@pytest.mark.parametrize(
    ("path", "to", "gone", "come"),
    [
        (("logins",), ["ann", "bob", "dora"], ["                 cy]"], []),
        (("logins",), ["bob", "cy"], ["        logins: [ann,"], ["        logins: [", "        logins: [bob"]),
        (("node_labels", "env"), "prod", ["env:   'test'"], ["env:   prod"]),
        (("node_labels", "env"), ["test", "prod"], ["env:   'test'"], ["env:   [test, prod]"]),
        (("node_labels", "team"), ["a", "b", "c d"], ["[ a,b ]"], ['[ a,b, "c d" ]']),
        (("host_groups",), ["one", "three"], ["        - two   # not three"], []),
        (("host_groups",), ["one", "two", "three", "four"], [], ["        - four"]),
    ],
)
def test_a_value_changes_where_it_stands_and_no_other_comment_goes(
    path: tuple[str, ...], to: Any, gone: list[str], come: list[str]
) -> None:
    loaded = load(ODD.encode(), file="x")
    before, after = loaded.resources[0].to_dict(), loaded.resources[0].to_dict()
    here = after["spec"]["allow"]
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = to

    result = patched(ODD, "role/dba", before, after, file="x")

    assert load(result.encode(), file="x").resources[0].to_dict() == after
    assert [one for one in gone if one in result] == []
    assert not come or any(one in result for one in come)
    comments = {line.partition("#")[2] for line in ODD.splitlines() if "#" in line and line not in gone}
    assert comments <= {line.partition("#")[2] for line in result.splitlines()}


def test_json_stays_json_and_its_layout_its_own(tmp_path: Path) -> None:
    text = json.dumps(role("dba", logins="root").to_dict(), indent=2) + "\n"
    before, after = json.loads(text), json.loads(text)
    after["spec"]["allow"]["logins"] = ["root", "ann"]

    result = patched(text, "role/dba", before, after, file="dba.json")

    assert json.loads(result) == after
    assert len(set(result.splitlines()) - set(text.splitlines())) <= 2


def test_a_field_that_was_not_written_is_written() -> None:
    before, after = changed("user/ann", "spec", "traits", to={"team": ["data"]})

    text = patched(TEXT, "user/ann", before, after, file="roles/dba.yaml")

    assert documents(text)["user/ann"] == after
    assert text.startswith(TEXT.partition("---")[0])


def test_the_patch_is_one_that_git_takes(tmp_path: Path) -> None:
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles/dba.yaml").write_text(TEXT.rstrip("\n"))
    before, after = changed("user/ann", "spec", "roles", to=["dba", "oncall", "web"])

    text = patched(TEXT.rstrip("\n"), "user/ann", before, after, file="roles/dba.yaml")
    patch = unified("roles/dba.yaml", TEXT.rstrip("\n"), text)
    subprocess.run(["git", "apply"], input=patch, text=True, cwd=tmp_path, check=True)

    assert documents((tmp_path / "roles/dba.yaml").read_text())["user/ann"] == after


def test_lines_that_end_as_on_windows_stay_so() -> None:
    before, after = changed("user/ann", "spec", "roles", to=["dba"])

    text = patched(TEXT.replace("\n", "\r\n"), "user/ann", before, after, file="roles/dba.yaml")

    assert text.replace("\r\n", "\n").count("\n") == text.count("\r\n") == TEXT.count("\n") - 1


def test_a_file_that_says_something_else_than_the_cluster_is_left_alone() -> None:
    before, after = changed("user/ann", "spec", "roles", to=["dba"])

    with pytest.raises(Refused, match="declares user/ann otherwise than the cluster has it"):
        patched(TEXT.replace("oncall", "web"), "user/ann", before, after, file="roles/dba.yaml")
    with pytest.raises(NotFound, match="does not declare user/ann"):
        patched(TEXT.partition("---")[0], "user/ann", before, after, file="roles/dba.yaml")


_NAMES = st.sampled_from(["root", "admin", "web-1", "on", "1.5", "no: colon", "{{internal.logins}}", "日本"])


@settings(max_examples=20, deadline=None)
@given(
    st.lists(_NAMES, unique=True, max_size=4), st.lists(_NAMES, unique=True, max_size=4),
    st.dictionaries(st.sampled_from(["env", "team", "a b"]), _NAMES, max_size=3),
)  # fmt: skip
def test_whatever_changes_is_written_so_that_it_is_read_as_meant(
    held: list[str], wanted: list[str], labels: dict[str, str]
) -> None:
    one = user("ann", roles="dev", labels=labels) if labels else user("ann", roles="dev")
    before = one.to_dict() | {"spec": {"roles": ["dev"], "traits": {"logins": held}}}
    after = one.to_dict() | {"spec": {"roles": ["dev"], "traits": {"logins": wanted, "more": ["x"]}}}
    before, after = (_canonical(body) for body in (before, after))
    text = to_yaml(_loaded(before), role("dev"))

    result = patched(text, "user/ann", before, after, file="ann.yaml")

    loaded = load(result.encode(), file="ann.yaml")
    assert [one.to_dict() for one in loaded.resources] == [after, role("dev").to_dict()]


def _loaded(body: dict[str, Any]) -> Any:
    return from_dict(body)


def _canonical(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _loaded(body).to_dict()
    return found

"""Addresses of repositories: what they mean, and whatever could be an option or another transport is refused."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.core.errors import BadInput
from teleport.gitops.address import GitAddress, branch_fault


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("git+file:///srv/policy", GitAddress("file:///srv/policy", "main", "")),
        ("git+https://h/r.git#live", GitAddress("https://h/r.git", "live", "")),
        ("git+ssh://git@h:22/r#a/b:p/q", GitAddress("ssh://git@h:22/r", "a/b", "p/q")),
        ("git+https://h/r#:p/", GitAddress("https://h/r", "main", "p")),
        ("git+https://h/r#", GitAddress("https://h/r", "main", "")),
    ],
)
def test_branch_and_folder_follow_the_url(text: str, found: GitAddress) -> None:
    assert GitAddress.parse(text) == found
    assert GitAddress.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "policies", "https://h/r", "git+", "git+r", "git+ext::sh -c id", "git+ext://h/r", "git+fd::3",
        "git+--upload-pack=x",
        "git+ssh://-oProxyCommand=id/r", "git+ssh://-l@h/r", "git+https://user:secret@h/r", "git+https://user@h/r",
        "git+https:///r", "git+file://host/r", "git+file://../r", "git+h:r", "git+ftp://h/r", "git+https://h/a b",
        "git+https://h/a\n", "git+HTTPS:h", "git+https://[h/r", "git+file:////h/r",
        "git+https://h/r#-x", "git+https://h/r#a..b", "git+https://h/r#a b", "git+https://h/r#a*",
        "git+https://h/r#a.lock",
        "git+https://h/r#/a", "git+https://h/r#a//b", "git+https://h/r#@", "git+https://h/r#a@{1}", "git+https://h/r#.a",
        "git+https://h/r#main:/etc", "git+https://h/r#main:../x", "git+https://h/r#main:a/../../x",
        "git+https://h/r#m:a\0b",
    ],
)  # fmt: skip
def test_what_could_lead_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        GitAddress.parse(text)


@given(st.text(alphabet="ab-@{}.~^:?*[\\/ \x7flock", min_size=1, max_size=8))
def test_no_branch_passes_that_git_itself_would_refuse(name: str) -> None:
    if not branch_fault(name):
        known = subprocess.run(["git", "check-ref-format", f"refs/heads/{name}"], check=False, timeout=20)

        assert known.returncode == 0

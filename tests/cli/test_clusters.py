"""`--cluster`: one's own, another that can be reached, and what is written down of that one's authority."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from teleport.api.models import ClusterRow
from teleport.cli import clusters
from teleport.cli import profile as p
from teleport.cli.tsh_commands.builtin_ssh import connected
from teleport.cli.tsh_commands.ssh import Call
from teleport.core.errors import BadInput
from tests.cli.programs import tsh

SID = "0a3c9d6e-0000-4000-8000-000000000001"
PROFILE = p.Profile(proxy="127.0.0.1:1", user="ann", cluster="acme.test", expires=time.time() + 3600, logins=("root",))


def known(monkeypatch: pytest.MonkeyPatch, *leaves: ClusterRow) -> None:
    """The cluster tells these, besides itself."""
    own = ClusterRow(name="acme.test", kind="root", status="online")
    monkeypatch.setattr(clusters, "known_clusters", lambda _: (own, *leaves))


def leaf(name: str = "leaf.test", *keys: str) -> ClusterRow:
    return ClusterRow(name=name, kind="leaf", status="online", ssh_authorities=keys or ("ssh-ed25519 AAAA",))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELEPORT_HOME", str(tmp_path))
    p.save(PROFILE)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "rest"), [("ls", ""), ("config", ""), ("scp", "a db-1:"), ("ssh", "root@db-1")]
)  # fmt: skip
def test_a_cluster_that_cannot_be_reached_is_not_known(
    command: str, rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, leaf())
    monkeypatch.setattr(f"teleport.cli.tsh_commands.{command}.keep_fresh", lambda profile: profile, raising=False)

    ended = tsh(command, "--cluster", "other", *rest.split())

    assert ended.status == 1
    assert ended.output == ""
    assert ended.errors == (
        "tsh: error: cluster other is not known to acme.test\ntsh: hint: tsh clusters lists those you can go to\n"
    )


@pytest.mark.parametrize(("command", "rest"), [("sessions ls", ""), ("join", SID)])
def test_what_is_done_in_ones_own_cluster_alone_asks_nobody_about_another(command: str, rest: str) -> None:
    ended = tsh(*command.split(), "--cluster", "leaf.test", *rest.split())

    assert ended.status == 2
    assert ended.errors.startswith("tsh: error: this command is about acme.test alone, not about leaf.test\n")


def test_what_is_done_in_ones_own_cluster_alone_does_not_take_it_for_the_one_that_was_chosen() -> None:
    p.choose(PROFILE, "leaf.test")

    with pytest.raises(BadInput, match=r"about acme\.test alone, not about leaf\.test"):
        clusters.check_cluster(PROFILE, "")
    clusters.check_cluster(PROFILE, "acme.test")


@pytest.mark.parametrize("name", ["", "acme.test"])
def test_the_own_cluster_may_be_named(name: str) -> None:
    clusters.check_cluster(PROFILE, name)

    assert clusters.meant(PROFILE, name) == ""


def test_the_authority_of_another_cluster_is_trusted_below_its_own_name_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, leaf())

    meant = clusters.meant(PROFILE, "leaf.test")

    assert meant == "leaf.test"
    assert clusters.known_hosts_of(PROFILE, "leaf.test").read_text() == "@cert-authority *.leaf.test ssh-ed25519 AAAA\n"


@pytest.mark.parametrize(
    "lying",
    [leaf("test"), leaf("a/b"), leaf("*"), leaf("leaf.test", "ssh-ed25519 AAAA\n@cert-authority * ssh-ed25519 B")],
)
def test_a_cluster_that_would_vouch_for_others_is_not_written_down(
    lying: ClusterRow, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, lying)

    with pytest.raises(BadInput, match="cannot have"):
        clusters.meant(PROFILE, lying.name)

    assert not list(home.rglob("*known_hosts*"))


def test_a_leaf_is_trusted_by_way_of_the_proxy_that_told_of_it_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another organisation may have a leaf of that name, or say that it has; or be called like the leaf itself."""
    known(monkeypatch, leaf("leaf.test"))
    clusters.meant(PROFILE, "leaf.test")
    other = replace(PROFILE, proxy="127.0.0.1:2", cluster="other.test")
    other.folder.mkdir(parents=True)
    (home / "known_hosts.acme.test").write_text("as `tsh config` has it\n")
    known(monkeypatch, leaf("leaf.test", "ssh-ed25519 EVIL"), leaf("acme.test", "ssh-ed25519 EVIL"))

    for name in ("leaf.test", "acme.test"):
        clusters.meant(other, name)

    assert "AAAA" in clusters.known_hosts_of(PROFILE, "leaf.test").read_text()
    assert (home / "known_hosts.acme.test").read_text() == "as `tsh config` has it\n"


def test_what_another_cluster_lists_are_names_of_hosts_and_nothing_that_a_script_would_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known(monkeypatch, leaf())
    lying = ("db-1\nroot@bank", "-oProxyCommand=id", "\x1b]0;owned\x07", "", "a b")
    rows = [{"hostname": name, "uuid": "u", "labels": {}, "logins": []} for name in (*lying, "db-1")]
    monkeypatch.setattr("teleport.cli.way.listing", lambda *_: rows)

    ended = tsh("ls", "--cluster", "leaf.test", "-o", "names")

    assert ended.output == "db-1\n"


def test_without_the_systems_ssh_the_host_is_the_other_clusters_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its namesake at home would be another machine."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr("asyncssh.connect", lambda name, **options: asked.update(options, name=name))

    connected(Call(PROFILE, "root", "db-1", (), (), cluster="leaf.test"))

    assert asked["name"] == "db-1.leaf.test"
    assert asked["known_hosts"] == str(clusters.known_hosts_of(PROFILE, "leaf.test"))
    words = asked["proxy_command"]
    assert words[words.index("--cluster") + 1] == "leaf.test"


def test_the_cluster_that_was_chosen_is_meant_until_another_is(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, leaf())

    first = tsh("login", "leaf.test")

    assert first.status == 0, first.errors
    assert clusters.meant(PROFILE, "") == "leaf.test"
    assert clusters.meant(PROFILE, "acme.test") == ""
    tsh("login", "acme.test")
    assert clusters.meant(PROFILE, "") == ""

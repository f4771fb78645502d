"""`--cluster`: one's own may be named, any other is not known, whatever the command."""

import time
from pathlib import Path

import pytest

from teleport.cli import profile as p
from teleport.cli.clusters import check_cluster
from tests.cli.programs import tsh

SID = "0a3c9d6e-0000-4000-8000-000000000001"
PROFILE = p.Profile(proxy="127.0.0.1:1", user="ann", cluster="acme", expires=time.time() + 3600, logins=("root",))


@pytest.mark.parametrize(
    ("command", "rest"),
    [
        ("ls", ""), ("config", ""), ("ssh", "root@db-1"), ("ssh", "root@env=prod true"), ("scp", "a db-1:"),
        ("sessions ls", ""), ("join", SID), ("proxy ssh", "root@db-1:22"),
    ],
)  # fmt: skip
def test_another_cluster_is_not_known_and_nobody_is_asked_about_it(
    command: str, rest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEPORT_HOME", str(tmp_path))
    p.save(PROFILE)

    ended = tsh(*command.split(), "--cluster", "leaf", *rest.split())

    assert ended.status == 1
    assert ended.output == ""
    assert ended.errors == (
        "tsh: error: cluster leaf is not known to acme\n"
        "tsh: hint: you are logged in to acme, which trusts no other cluster\n"
    )


@pytest.mark.parametrize("name", ["", "acme"])
def test_the_own_cluster_may_be_named(name: str) -> None:
    check_cluster(PROFILE, name)

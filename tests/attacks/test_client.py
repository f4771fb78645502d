"""Attacks on the people who use `tsh`: by a cluster that lies, and by others on the same machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from teleport.api import models as m
from teleport.cli import profile as p
from teleport.cli.tsh_commands import config
from teleport.cli.tsh_commands.login import keep
from teleport.core.errors import BadInput
from tests.proxy.badges import Authorities

PROXY = "proxy.example.com:3080"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is open to everybody, as some are."""
    folder = tmp_path / "people" / "ann" / ".tsh"
    folder.mkdir(parents=True, mode=0o777)
    monkeypatch.setenv("TELEPORT_HOME", str(folder))
    return folder


def answer(**more: Any) -> m.Certificates:
    authorities = tuple(one.encode().decode() for one in Authorities().public)
    fields = {
        "user": "ann", "cluster": "example.com", "ssh_certificate": "ssh", "tls_certificate": "tls",
        "authorities": authorities, "expires": 2e9, "logins": ("root",), "roles": ("dev",), **more,
    }  # fmt: skip
    return m.Certificates.model_validate(fields)


def test_what_a_login_leaves_can_be_read_by_its_owner_alone(home: Path) -> None:
    keep(PROXY, answer(), "private", "private")

    modes = {path.stat().st_mode & 0o777 for path in home.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in [home, *home.rglob("*")] if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})


def test_a_link_that_somebody_laid_is_replaced_and_not_followed(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    profile = keep(PROXY, answer(), "private", "private")
    profile.ssh_key.unlink()
    profile.ssh_key.symlink_to(elsewhere)

    keep(PROXY, answer(), "private", "private")

    assert elsewhere.read_text() == "untouched"
    assert not profile.ssh_key.is_symlink()


@pytest.mark.parametrize(
    "lie",
    [
        {"user": "../../../.ssh/id"}, {"user": "/tmp/x"}, {"user": ""}, {"user": ".."}, {"user": "-oProxyCommand=x"},
        {"user": "a\nb"}, {"cluster": "../../x"}, {"cluster": "x\n@cert-authority * ssh-ed25519 AAAA"},
        {"cluster": "* !x"}, {"cluster": "*"}, {"cluster": ""}, {"cluster": "a,*"},
    ],
    ids=lambda lie: next(iter(lie.values())),
)  # fmt: skip
def test_a_cluster_that_lies_about_names_writes_nothing(home: Path, lie: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        keep(PROXY, answer(**lie), "private", "private")

    assert list(home.rglob("*")) == []


def test_a_key_of_an_authority_that_would_be_several_lines_is_not_written(home: Path) -> None:
    hosts = json.loads(next(text for text in answer().authorities if json.loads(text)["kind"] == "host"))
    hosts["keys"][0]["ssh_public"] += "\n@cert-authority * ssh-ed25519 AAAA"

    with pytest.raises(BadInput):
        keep(PROXY, answer(authorities=(json.dumps(hosts),)), "private", "private")

    assert list(home.rglob("*")) == []


def test_an_authority_is_trusted_for_its_own_clusters_hosts_alone(home: Path) -> None:
    keep(PROXY, answer(), "private", "private")
    profile = keep("other.example.org:443", answer(cluster="other.org"), "private", "private")

    lines = profile.known_hosts.read_text().splitlines()

    assert [line.split()[:2] for line in lines] == [
        ["@cert-authority", "*.example.com"], ["@cert-authority", "*.other.org"],
    ]  # fmt: skip


def test_the_host_authority_alone_vouches_for_hosts(home: Path) -> None:
    authorities = Authorities()

    profile = keep(PROXY, answer(authorities=tuple(one.encode().decode() for one in authorities.public)), "k", "k")

    assert authorities.users.public.keys[0].ssh_public not in profile.known_hosts.read_text()
    assert authorities.users.public.certificates not in profile.host_authorities.read_text()


def test_a_host_name_that_would_be_a_line_of_its_own_stays_out_of_the_configuration_of_ssh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["db-1", "x\n    ProxyCommand evil", "*", "-oProxyCommand=evil", "a b", ""]
    rows = tuple(m.HostRow(hostname=name, uuid=name, labels={}, logins=()) for name in names)

    def asked(question: Any) -> m.Hosts:
        question.close()
        return m.Hosts(hosts=rows)

    monkeypatch.setattr("teleport.cli.connect.run", asked)

    assert config._short_names() == ["db-1"]


@pytest.mark.parametrize("proxy", ["../../etc/passwd:22", "a/b:22", "x y:22", ":22", "h:99999", "h:-1", "[::1]/x:22"])
def test_a_proxy_that_is_no_address_names_no_file(proxy: str) -> None:
    with pytest.raises(BadInput):
        p.profile_name(proxy)

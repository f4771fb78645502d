"""From a file and flags to one configuration: flags beat the file, and wrong ones are called by name."""

from pathlib import Path

import pytest

from teleport.core.errors import BadInput, Invalid
from teleport.service.start import chosen_roles, configured

FILE = """\
version: v3
teleport: {nodename: from-file, data_dir: /from/file, join_params: {token_name: of-the-file}}
auth_service: {cluster_name: from-file}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "teleport.yaml"
    path.write_text(FILE)
    return path


def test_without_anything_all_services_run_on_loopback() -> None:
    config = configured({})

    assert config.roles == ("auth", "proxy", "node")
    assert str(config.listen) == "127.0.0.1:3080"


def test_a_flag_beats_the_file_and_the_rest_of_the_file_holds(file: Path) -> None:
    config = configured({"config_file": file, "nodename": "from-flag", "demo": True, "diag_addr": "127.0.0.1:1"})

    assert (config.nodename, config.teleport.data_dir) == ("from-flag", "/from/file")
    assert (config.demo, config.teleport.diag_addr) == (True, "127.0.0.1:1")


def test_a_token_given_as_flag_replaces_the_files(file: Path) -> None:
    assert configured({"config_file": file}).token == "of-the-file"
    assert configured({"config_file": file, "token": "of-the-flag"}).token == "of-the-flag"


def test_what_listens_is_the_proxy_or_where_there_is_none_auth() -> None:
    together = configured({"listen": "127.0.0.1:1"})
    alone = configured({"listen": "127.0.0.1:1", "roles": "auth"})

    assert (str(together.listen), together.auth_service.listen_addr) == ("127.0.0.1:1", None)
    assert (str(alone.listen), alone.auth_service.listen_addr) == ("127.0.0.1:1", "127.0.0.1:1")


def test_a_folder_is_taken_as_an_absolute_path_and_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policies").mkdir()
    monkeypatch.chdir(tmp_path)

    policies = configured({"policies": "policies"}).policies

    assert policies is not None
    assert policies.dir == str(tmp_path / "policies")
    with pytest.raises(BadInput, match="the policy folder nowhere does not exist"):
        configured({"policies": "nowhere"})


def test_a_link_to_the_policy_folder_stays_a_link_because_it_may_lead_elsewhere_tomorrow(tmp_path: Path) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "current").symlink_to("release-1")

    policies = configured({"policies": str(tmp_path / "current")}).policies

    assert policies is not None
    assert policies.dir == str(tmp_path / "current")


def test_a_repository_is_taken_with_branch_and_folder_and_the_rest_of_the_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "teleport.yaml"
    file.write_text("version: v3\npolicies: {dir: /x, name: ops}\n")
    again = tmp_path / "again.yaml"
    again.write_text("version: v3\npolicies: {git: {url: 'file:///y', interval: 5s}}\n")

    instead = configured({"config_file": file, "policies": "git+file:///srv/policy#live:p"}).policies
    changed = configured({"config_file": again, "policies": "git+file:///srv/policy"}).policies

    assert instead is not None
    assert instead.git is not None
    assert (instead.dir, instead.source, str(instead.git.address)) == (None, "ops", "git+file:///srv/policy#live:p")
    assert changed is not None
    assert changed.git is not None
    assert (changed.source, changed.git.interval, changed.git.branch) == ("git", 5.0, "main")
    with pytest.raises(BadInput, match="no URL of a repository"):
        configured({"policies": "git+ext::sh"})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"listen": "everywhere:high"}, "--listen: 'everywhere:high' is not HOST:PORT"),
        ({"cluster_name": "a b"}, "--cluster-name: a b is no name for a cluster"),
        ({"nodename": "-x"}, "--nodename: "),
        ({"roles": "node"}, "set proxy_server: --proxy-server HOST:PORT"),
        ({"roles": "proxy", "proxy_server": "gate:443"}, "set auth_server: --auth-server HOST:PORT"),
    ],
)
def test_a_wrong_flag_is_called_by_its_name(options: dict[str, str], problem: str) -> None:
    with pytest.raises(Invalid) as caught:
        configured(options)

    assert problem in " ".join(str(one) for one in caught.value.problems)


def test_roles_are_those_listed() -> None:
    assert chosen_roles("auth, node") == {"auth": True, "proxy": False, "node": True}
    with pytest.raises(BadInput, match="unknown role db"):
        chosen_roles("auth,db")
    with pytest.raises(BadInput, match="unknown role"):
        chosen_roles(",")

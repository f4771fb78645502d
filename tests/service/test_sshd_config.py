"""Our file in sshd's configuration: where it goes, that sshd judges it, and that nothing of it stays."""

from pathlib import Path

import pytest

from teleport.core.errors import BadInput, Unavailable
from teleport.service.sshd_config import SshdConfig
from tests.e2e.world import missing

pytestmark = pytest.mark.skipif(bool(missing("sshd", "ssh-keygen")), reason=missing("sshd", "ssh-keygen"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import os
    import subprocess

    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    (tmp_path / "teleport").mkdir()
    return tmp_path


def written(folder: Path, *lines: str) -> SshdConfig:
    path = folder / "sshd_config"
    path.write_text("".join(f"{line}\n" for line in (*lines, f"HostKey {folder}/key")))
    return SshdConfig(path)


def test_what_ours_says_is_believed_before_the_rest_and_is_gone_afterwards(folder: Path) -> None:
    config = written(folder, "AuthorizedPrincipalsCommandUser root", "Port 2222")
    before = config.path.read_text()

    first = config.install("AuthorizedPrincipalsCommandUser nobody\n", folder / "teleport")
    again = config.install("AuthorizedPrincipalsCommandUser nobody\n", folder / "teleport")

    assert (first, again) == (True, False)
    assert config.effective()["authorizedprincipalscommanduser"] == ["nobody"]
    assert config.uninstall(folder / "teleport")
    assert config.path.read_text() == before
    assert list((folder / "teleport").iterdir()) == []


def test_where_a_folder_is_included_the_configuration_itself_is_left_alone(folder: Path) -> None:
    (folder / "sshd_config.d").mkdir()
    config = written(folder, f"Include {folder}/sshd_config.d/*.conf")
    before = config.path.read_text()

    config.install("AuthorizedPrincipalsCommandUser nobody\n", folder / "teleport")

    assert config.path.read_text() == before
    assert config.effective()["authorizedprincipalscommanduser"] == ["nobody"]
    assert config.uninstall(folder / "teleport")
    assert list((folder / "sshd_config.d").iterdir()) == []


def test_what_sshd_objects_to_is_taken_back(folder: Path) -> None:
    config = written(folder)
    before = config.path.read_text()

    with pytest.raises(BadInput, match="Nonsense"):
        config.install("Nonsense yes\n", folder / "teleport")

    assert config.path.read_text() == before
    assert list((folder / "teleport").iterdir()) == []


def test_what_somebody_wrote_who_was_killed_before_sshd_judged_it_is_judged_later(folder: Path) -> None:
    config = written(folder)
    ours = folder / "teleport/sshd.conf"
    ours.write_text("NoSuchOption yes\n")
    config.path.write_text(f"# teleport join openssh\nInclude {ours}\n{config.path.read_text()}")

    with pytest.raises(BadInput, match="NoSuchOption"):
        config.install("NoSuchOption yes\n", folder / "teleport")


def test_what_cannot_be_judged_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = written(folder)
    before = config.path.read_text()
    monkeypatch.setattr("teleport.service.sshd_config.shutil.which", lambda *_args, **_more: None)

    with pytest.raises(Unavailable):
        config.install("Port 2222\n", folder / "teleport")

    assert config.path.read_text() == before
    assert list((folder / "teleport").iterdir()) == []

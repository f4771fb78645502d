"""Variables: what a client may set, and what a host sets for everybody."""

from pathlib import Path

import pytest

from teleport.agents.ssh.environment import host_variables, sent_variables


def test_a_client_sets_its_language_and_colours_and_nothing_that_changes_what_runs() -> None:
    sent = {
        "LANG": "C.UTF-8", "LC_ALL": "C", "TZ": "UTC", "LANGUAGE": "de", "LD_PRELOAD": "x", "PATH": "/x",
        "LC_X": "\x00",
    }  # fmt: skip

    assert sent_variables(sent) == {"LANG": "C.UTF-8", "LC_ALL": "C", "TZ": "UTC"}


def test_variables_of_the_host_are_those_of_its_files_the_later_file_winning(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("PATH=/usr/bin:/snap/bin\nLANG=C\n")
    (tmp_path / "locale").write_text("LANG=de_DE.UTF-8\n")

    found = host_variables([tmp_path / "environment", tmp_path / "none", tmp_path / "locale"])

    assert found == {"PATH": "/usr/bin:/snap/bin", "LANG": "de_DE.UTF-8"}


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("A=b", {"A": "b"}),
        ('A="b c" # why', {"A": "b c"}),
        ("export A='b#c'", {"A": "b#c"}),
        ("  A = b # why", {"A": "b"}),
        ("A=", {"A": ""}),
        ("# A=b", {}),
        ("A", {}),
        ("=b", {}),
        ("A-B=c", {}),
        ("A=b\x00c", {}),
    ],
)
def test_a_line_assigns_as_pam_env_reads_it(tmp_path: Path, line: str, variables: dict[str, str]) -> None:
    (tmp_path / "environment").write_text(line + "\n")

    assert host_variables([tmp_path / "environment"]) == variables

"""`tctl policy fmt`: which files it writes, how, and what it leaves alone."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.folders import DEV, folder
from tests.cli.programs import tctl

UNTIDY = "version: v7  # the version\nkind: role\nmetadata:\n    name: x\nspec: {}\n"
TIDY = "kind: role\nversion: v7  # the version\nmetadata:\n  name: x\nspec: {}\n"


def test_files_of_a_folder_are_laid_out_and_named(tmp_path: Path) -> None:
    policies = folder(tmp_path, untidy=UNTIDY, dev=DEV)

    result = tctl("policy", "fmt", policies)

    assert (result.status, result.errors) == (0, "")
    assert result.output == f"laid out {tmp_path}/untidy.yaml\n"
    assert (tmp_path / "untidy.yaml").read_text() == TIDY
    assert (tmp_path / "dev.yaml").read_text() == DEV


def test_what_is_laid_out_stays_untouched_to_the_second(tmp_path: Path) -> None:
    policies = folder(tmp_path, tidy=TIDY)
    os.utime(tmp_path / "tidy.yaml", (1, 1))

    result = tctl("policy", "fmt", policies)

    assert result.output == "1 file is laid out already\n"
    assert (tmp_path / "tidy.yaml").stat().st_mtime == 1


def test_checking_writes_nothing_and_exits_with_1(tmp_path: Path) -> None:
    policies = folder(tmp_path, untidy=UNTIDY)

    result = tctl("policy", "fmt", "--check", policies)

    assert (result.status, result.output) == (1, f"would lay out {tmp_path}/untidy.yaml\n")
    assert (tmp_path / "untidy.yaml").read_text() == UNTIDY
    assert tctl("policy", "fmt", "--check", folder(tmp_path, untidy=TIDY)).status == 0


def test_the_difference_is_one_that_can_be_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, untidy=UNTIDY)
    monkeypatch.chdir(tmp_path)

    result = tctl("policy", "fmt", "--diff", "untidy.yaml")

    assert (result.status, (tmp_path / "untidy.yaml").read_text()) == (1, UNTIDY)
    subprocess.run(["git", "apply"], input=result.output, text=True, check=True)
    assert (tmp_path / "untidy.yaml").read_text() == TIDY


def test_standard_input_goes_to_standard_output() -> None:
    assert tctl("policy", "fmt", "-", stdin=UNTIDY).output == TIDY
    assert tctl("policy", "fmt", "-", "--check", stdin=UNTIDY).status == 1
    assert tctl("policy", "fmt", "-", "--check", stdin=TIDY).status == 0


def test_a_file_with_faults_is_told_and_left_while_the_others_are_laid_out(tmp_path: Path) -> None:
    policies = folder(tmp_path, broken=UNTIDY.replace("spec", "spek"), untidy=UNTIDY)

    result = tctl("policy", "fmt", policies)

    assert result.status == 2
    assert f"tctl: error: {tmp_path}/broken.yaml:5:1: unknown field spek (did you mean spec?)" in result.errors
    assert "spek" in (tmp_path / "broken.yaml").read_text()
    assert (tmp_path / "untidy.yaml").read_text() == TIDY


def test_what_cannot_be_laid_out_is_told_and_left(tmp_path: Path) -> None:
    policies = folder(tmp_path, old=f"%YAML 1.1\n---\n{UNTIDY}")

    result = tctl("policy", "fmt", policies)

    assert result.status == 2
    assert f"{tmp_path}/old.yaml: is left as it is: it begins with a line" in result.errors


def test_the_mode_of_a_file_and_a_link_to_it_stay(tmp_path: Path) -> None:
    folder(tmp_path, untidy=UNTIDY)
    (tmp_path / "untidy.yaml").chmod(0o640)
    (tmp_path / "link.yaml").symlink_to("untidy.yaml")

    result = tctl("policy", "fmt", str(tmp_path))

    assert result.output.count("laid out") == 1
    assert (tmp_path / "link.yaml").is_symlink()
    assert stat.S_IMODE((tmp_path / "untidy.yaml").stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "untidy.yaml"]


def test_a_file_that_cannot_be_replaced_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, untidy=UNTIDY)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    result = tctl("policy", "fmt", str(tmp_path))

    assert (result.status, "No space left on device" in result.errors) == (2, True)
    assert (tmp_path / "untidy.yaml").read_text() == UNTIDY
    assert [path.name for path in tmp_path.iterdir()] == ["untidy.yaml"]


def test_json_stays_json_also_if_it_is_named(tmp_path: Path) -> None:
    text = json.dumps({"version": "v7", "kind": "role", "metadata": {"name": "x"}, "spec": {}})
    (tmp_path / "x.json").write_text(text)

    result = tctl("policy", "fmt", str(tmp_path / "x.json"))

    assert (result.status, (tmp_path / "x.json").read_text()) == (0, text)


def test_json_and_hidden_files_of_a_folder_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"version": "v7", "kind": "role", "spec": {}}))
    (tmp_path / ".x.yaml").write_text("::")

    assert tctl("policy", "fmt", str(tmp_path)).output == "0 files are laid out already\n"


def test_programs_read_which_files_changed(tmp_path: Path) -> None:
    result = tctl("policy", "fmt", "-o", "json", folder(tmp_path, untidy=UNTIDY, tidy=TIDY.replace("x", "y")))

    assert json.loads(result.output) == {"changed": [f"{tmp_path}/untidy.yaml"], "unchanged": 1}


@pytest.mark.parametrize(
    ("arguments", "message"), [(("nowhere",), "nowhere is neither a file nor a folder"), (("-", "x"), "- stands alone")]
)
def test_what_is_nothing_to_lay_out_is_refused(arguments: tuple[str, ...], message: str) -> None:
    result = tctl("policy", "fmt", *arguments)

    assert (result.status, message in result.errors) == (2, True)

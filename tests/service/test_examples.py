"""The files in examples/ that install the program are true: systemd reads them, and the program what they say."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from teleport.service.config import load_config
from tests.service.test_docs import understood

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
UNITS = sorted((EXAMPLES / "systemd").glob("*.service"))
CONTAINER = (EXAMPLES / "Containerfile").read_text()
BIN = Path(sys.executable).parent


def settings(unit: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))


def test_the_commented_configuration_is_valid() -> None:
    assert load_config(EXAMPLES / "teleport.yaml").roles == ("auth", "proxy", "node")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="not installed: systemd-analyze")
def test_systemd_understands_the_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/opt/teleport/bin", str(BIN)))

    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True, check=False
    )

    assert (result.returncode, [line for line in result.stderr.splitlines() if unit.name in line]) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_what_there_is_and_leaves_draining_to_the_process(unit: Path) -> None:
    found = settings(unit)
    program, *words = shlex.split(found["ExecStart"])

    assert (Path(program).name, understood("teleport", words).name) == ("teleport", "start")
    assert (found["Type"], found["KillMode"]) == ("notify", "mixed")
    assert "-HUP" in found["ExecReload"]


def test_the_container_file_copies_what_exists_and_starts_what_there_is() -> None:
    sources = [
        word for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINER, re.MULTILINE) for word in line.split()[:-1]
    ]
    started = re.search(r'^CMD \["(.*)"\]$', CONTAINER, re.MULTILINE)

    assert started is not None
    assert [name for name in sources if not (ROOT / name).exists()] == []
    assert understood("teleport", started[1].split('", "')).name == "start"


def test_everything_beside_the_code_is_installed_with_it() -> None:
    """Templates, grammars and the like; the list of what to install is in pyproject.toml."""
    import tomllib

    package = ROOT / "teleport"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["teleport"]
    installed = {path for pattern in patterns for path in package.glob(pattern)}

    present = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}

    assert present <= installed

"""The shape of the project: what may lie where, and who may import whom."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OPERATOR = ROOT / "operator"


OWN = ("teleport.core", "teleport.resources", "teleport.api", "teleport.gitops", "teleport.service.operator")
"""What the operator's handlers may use of ours: they are thin, and their process is built where all are (ADR 10)."""


def imports_of(source: str) -> set[str]:
    """What a file imports, by its full name; relative imports begin with a dot."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {f"{module}.{alias.name}" if module == "teleport" else module for alias in node.names}
    return found


def allowed_in_operator(name: str) -> bool:
    """kopf, the standard library, the process it starts, and the packages below the services."""
    return name.split(".")[0] in {"kopf", *sys.stdlib_module_names} or any(
        name == own or name.startswith(f"{own}.") for own in OWN
    )


def faults_of_operator(folder: Path) -> list[str]:
    """What is wrong with the operator's folder; nothing is where there is none.

    An `__init__.py` would make it a package that shadows the standard library's module of that name for everybody.
    """
    files = sorted(folder.rglob("*.py"))
    packages = [f"{file.relative_to(folder)} must not exist" for file in files if file.name == "__init__.py"]
    return packages + [
        f"{file.relative_to(folder)} imports {name}"
        for file in files
        for name in sorted(imports_of(file.read_text()))
        if not allowed_in_operator(name)
    ]


def test_the_operator_is_no_package_and_imports_only_its_own_process_and_what_lies_below() -> None:
    assert faults_of_operator(OPERATOR) == []


def test_a_thin_operator_has_no_faults(tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text(
        "import os.path\nimport kopf\nfrom teleport.gitops import plan\nfrom teleport.resources.kinds import KINDS\n"
    )

    assert faults_of_operator(tmp_path) == []


def test_an_operator_that_is_a_package_has_a_fault(tmp_path: Path) -> None:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "__init__.py").touch()
    (tmp_path / "handlers" / "__init__.py").touch()

    assert faults_of_operator(tmp_path) == ["__init__.py must not exist", "handlers/__init__.py must not exist"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import kubernetes.client", "kubernetes.client"),
        ("import teleport", "teleport"),
        ("from teleport import auth", "teleport.auth"),
        ("from teleport.auth.policy import PolicyWriter", "teleport.auth.policy"),
        ("from teleport.gitopsy import x", "teleport.gitopsy"),
        ("from . import handlers", "."),
        ("def late():\n    import aiohttp", "aiohttp"),
    ],
)
def test_an_operator_that_imports_anything_else_has_a_fault(tmp_path: Path, line: str, named: str) -> None:
    (tmp_path / "handlers.py").write_text(f"import kopf\n{line}\n")

    assert faults_of_operator(tmp_path) == [f"handlers.py imports {named}"]


def test_the_standard_library_is_not_shadowed() -> None:
    import operator

    assert Path(operator.__file__).is_relative_to(Path(ast.__file__).parent)


def test_every_package_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "teleport").rglob("*.py"))
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]

    assert silent == []


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [
        *project["project"]["dependencies"],
        *(one for extra in project["project"]["optional-dependencies"].values() for one in extra),
        *project["build-system"]["requires"],
    ]
    names = {re.split(r"[^A-Za-z0-9._-]", one)[0] for one in needed}
    page = (ROOT / "docs" / "dependencies.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    explained = set(re.findall(r"[a-z0-9._-]*[a-z0-9]", " ".join([*rows, page.partition("For development only:")[2]])))

    assert len(names) > 20
    assert names - explained == set()

"""The shape of the project: what may lie where, and who may import whom."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OPERATOR = ROOT / "operator"


def imports_of(source: str) -> set[str]:
    """The top-level packages that a file imports, with teleport's own packages in full."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name if name.startswith("teleport.") else name.split(".")[0] for name in found}


def allowed_in_operator(name: str) -> bool:
    """The operator's handlers are thin: kopf, the standard library, and the packages below the services."""
    own = ("teleport.core", "teleport.resources", "teleport.api", "teleport.gitops")
    return name == "kopf" or name in sys.stdlib_module_names or name.startswith(own)


def operator_files() -> list[Path]:
    return sorted(OPERATOR.rglob("*.py")) if OPERATOR.is_dir() else []


def test_the_operator_folder_is_no_package() -> None:
    """An `__init__.py` there would shadow the standard library's module of that name for everybody."""
    packages = list(OPERATOR.rglob("__init__.py")) if OPERATOR.is_dir() else []

    assert packages == []


def test_the_standard_library_is_not_shadowed() -> None:
    import operator

    assert Path(operator.__file__).is_relative_to(Path(ast.__file__).parent)


@pytest.mark.parametrize("path", operator_files(), ids=str)
def test_the_operator_imports_kopf_and_what_lies_below_the_services(path: Path) -> None:
    assert [name for name in imports_of(path.read_text()) if not allowed_in_operator(name)] == []


def test_the_check_of_imports_finds_what_is_not_allowed() -> None:
    source = "import kopf, os, x\nfrom teleport.gitops import plan\nfrom teleport.auth.policy import PolicyWriter"

    stray = {name for name in imports_of(source) if not allowed_in_operator(name)}

    assert stray == {"teleport.auth.policy", "x"}


def test_every_package_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "teleport").rglob("*.py"))
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]

    assert silent == []

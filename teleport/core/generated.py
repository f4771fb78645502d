"""Files of the repository that are generated from the code: written, or compared with what the code says now."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from teleport.core.errors import Refused
from teleport.core.output import complain, write

__all__ = ["REPOSITORY", "generate"]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
"""The checkout that this package is in."""


def generate(program: str, files: Mapping[str, str], argv: Sequence[str], *, owned: Sequence[str] = ()) -> int:
    """Write the files, or with `--check` report those that differ; the exit status.

    `owned` are patterns of files that only this program makes: others that match them are stale, and removed.
    """
    parser = argparse.ArgumentParser(
        prog=program, description="Write the generated files.", epilog=f"Example: {program} --check"
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file differs")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="the repository (default: this one)")
    arguments = parser.parse_args(argv)
    root: Path = arguments.root
    stale = [name for name, text in files.items() if _read(root / name) != text]
    orphans = sorted({path for pattern in owned for path in root.glob(pattern)} - {root / name for name in files})
    if arguments.check:
        return _report(program, [*stale, *(path.relative_to(root).as_posix() for path in orphans)])
    for name in stale:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(files[name], encoding="utf-8")
        write(f"wrote {name}")
    for path in orphans:
        path.unlink()
        write(f"removed {path.relative_to(root).as_posix()}")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _report(program: str, names: Sequence[str]) -> int:
    if not names:
        return 0
    error = Refused(
        "\n".join(f"{name} is not what the code generates" for name in names), hint=f"regenerate: {program}"
    )
    return complain(program, error)

"""What a cluster has in force, as a folder of policy: a file an object, and nothing secret. Never over other work.

A hidden list of what was written, with digests, tells an export from anything else: only what is in it and unchanged
since is replaced or removed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from teleport.cli.files import put_file
from teleport.cli.policy_layout import file_of
from teleport.core.errors import BadInput, Conflict, Refused
from teleport.resources.kinds import AnyResource
from teleport.resources.yaml_format import formatted
from teleport.resources.yaml_writer import to_yaml

__all__ = ["check_free", "texts", "write_export"]

LIST: Final = ".export.json"


def texts(resources: Iterable[AnyResource]) -> dict[str, str]:
    """The files of an export by their paths. Names that differ in case alone get files that differ in more."""
    files: dict[str, str] = {}
    taken: set[str] = set()
    for resource in sorted(resources, key=lambda one: (one.kind, one.name)):
        path, number = file_of(resource.kind, resource.name), 1
        while path.casefold() in taken:
            number += 1
            path = f"{file_of(resource.kind, resource.name).removesuffix('.yaml')}~{number}.yaml"
        taken.add(path.casefold())
        files[path] = _text(resource, path)
    return files


def _text(resource: AnyResource, path: str) -> str:
    text = to_yaml(resource)
    try:
        return formatted(text.encode(), file=path)
    except Refused:
        return text


def check_free(folder: Path) -> None:
    """Raises Conflict unless a folder is new, empty, or an export that nobody changed since."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder")
    earlier = _earlier(folder)
    found = {path.relative_to(folder).as_posix(): path for path in _visible(folder)}
    hint = "export into a folder of its own, and compare with `git diff --no-index`"
    strangers = sorted(set(found) - set(earlier))
    if strangers:
        raise Conflict(f"{folder} holds what no export wrote: {_few(strangers)}", hint=hint)
    changed = sorted(name for name, path in found.items() if _digest(path.read_bytes()) != earlier[name])
    if changed:
        raise Conflict(f"{folder} is an export that was changed since: {_few(changed)}", hint=hint)


def write_export(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files, and remove those of an earlier export that are no longer; see `check_free`."""
    earlier = _earlier(folder)
    digests = {name: _digest(text.encode()) for name, text in files.items()}
    put_file(folder / LIST, json.dumps({"files": {**earlier, **digests}}, indent=2) + "\n")
    for name, text in files.items():
        put_file(folder / name, text)
    for name in set(earlier) - set(files):
        (folder / name).unlink(missing_ok=True)
    put_file(folder / LIST, json.dumps({"files": digests}, indent=2, sort_keys=True) + "\n")


def _earlier(folder: Path) -> dict[str, str]:
    """What the list in a folder says; nothing if there is none."""
    path = folder / LIST
    if not path.is_file():
        return {}
    try:
        files = json.loads(path.read_text())["files"]
        found = {str(name): str(digest) for name, digest in files.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BadInput(f"{path} is not the list of an export") from None
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in found):
        raise BadInput(f"{path} names files outside of the folder")
    return found


def _visible(folder: Path) -> Sequence[Path]:
    """Everything that is no folder and not hidden, at any depth."""
    return [
        path for path in folder.rglob("*")
        if (path.is_symlink() or not path.is_dir())
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]  # fmt: skip


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

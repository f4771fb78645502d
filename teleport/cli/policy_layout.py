"""Where a resource's file stands in a folder of policy: a folder a kind, a file a name that every system takes."""

import hashlib
import re
from pathlib import Path
from typing import Final

from teleport.resources.kinds import KINDS

__all__ = ["file_of", "schema_beside"]

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._@+-]|\A\.")
_LONGEST: Final = 200
_SCHEMA_FOLDERS: Final = (".schemas", "schemas")


def file_of(kind: str, name: str) -> str:
    """The path of a resource's file, relative to the folder of policy."""
    if KINDS[kind].singleton:
        return f"settings/{kind}.yaml"
    safe = _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)
    if len(safe) > _LONGEST:
        safe = f"{safe[: _LONGEST - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{kind}s/{safe}.yaml"


def schema_beside(folder: Path, kind: str) -> str:
    """The schema that `tctl policy schemas` wrote nearest above a folder, relative to that; empty if none."""
    here, steps = folder.resolve(), ""
    while True:
        for name in _SCHEMA_FOLDERS:
            if (here / name / f"{kind}.json").is_file():
                return f"{steps or './'}{name}/{kind}.json"
        if (here / ".git").exists() or here == here.parent:
            return ""
        here, steps = here.parent, f"{steps}../"

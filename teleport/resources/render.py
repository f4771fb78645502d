"""What is generated from the kinds: `schemas/*.json` for editors, and the reference page.

`python -m teleport.resources.render` writes them, `--check` compares.
"""

import json
import sys
from typing import Any

from teleport.core.generated import generate
from teleport.resources.kinds import KINDS
from teleport.resources.reference import reference
from teleport.resources.schema import any_kind_schema, kind_schema

__all__ = ["rendered"]


def rendered() -> dict[str, str]:
    """Every generated file: its name within the repository, and its text."""
    schemas = {f"schemas/{cls.kind}.json": _json(kind_schema(cls)) for cls in KINDS.values()}
    return {**schemas, "schemas/resource.json": _json(any_kind_schema()), "docs/resources.md": reference()}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(generate("python -m teleport.resources.render", rendered(), sys.argv[1:], owned=["schemas/*.json"]))

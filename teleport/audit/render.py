"""What is generated from the catalogue of events: its reference page.

`python -m teleport.audit.render` writes it, `--check` compares.
"""

import sys

from teleport.audit.reference import reference
from teleport.core.generated import generate

__all__ = ["rendered"]


def rendered() -> dict[str, str]:
    """Every generated file: its name within the repository, and its text."""
    return {"docs/audit-events.md": reference()}


if __name__ == "__main__":
    sys.exit(generate("python -m teleport.audit.render", rendered(), sys.argv[1:]))

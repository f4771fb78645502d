"""`python -m tests.fuzz`: the whole budget, and the table of what was spent, as it is published."""

import argparse
import sys
from collections.abc import Iterator
from typing import Final

from tests.fuzz.budget import Spent, on_api, on_properties, on_ssh, on_target, table
from tests.fuzz.targets import TARGETS

_ROUNDS: Final = 150
_REQUESTS: Final = 15
_PARTS: Final = ("properties", "ssh", "api", *(target.name for target in TARGETS))


def main(arguments: list[str]) -> int:
    """Exit status 1 if anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only this: {', '.join(_PARTS)}")
    parser.add_argument("--share", type=float, default=1.0, help="how much of the budget to spend (default: 1.0)")
    given = parser.parse_args(arguments)
    unknown = set(given.parts) - set(_PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    rows = []
    for row in _spend(given.parts or _PARTS, given.share):
        rows.append(row)
        print(f"{row.executions:>9,} {row.tool}: {row.target}{' FAILED' if row.failed else ''}", file=sys.stderr)
    print(table(rows))
    return int(any(row.failed for row in rows))


def _spend(parts: list[str] | tuple[str, ...], share: float) -> Iterator[Spent]:
    for target in TARGETS:
        if target.name in parts:
            yield on_target(target, max(1, int(target.runs * share)))
    if "ssh" in parts:
        yield on_ssh(max(1, int(_ROUNDS * share)))
    if "api" in parts:
        yield on_api(max(1, int(_REQUESTS * share)))
    if "properties" in parts:
        yield on_properties("thorough" if share >= 1 else "moment")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

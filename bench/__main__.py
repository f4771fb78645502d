"""Runs every measurement and prints one table."""

import sys

from bench import access, bulk, command_line, sessions
from bench.rows import Row, show


def main() -> None:
    wanted = set(sys.argv[1:])
    rows: list[Row] = []
    for module in (command_line, access, sessions, bulk):
        name = module.__name__.removeprefix("bench.")
        if not wanted or name in wanted:
            sys.stderr.write(f"measuring {name} …\n")
            rows += module.measure()
    sys.stdout.write(show(rows))


main()

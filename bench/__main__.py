"""Runs every measurement, or those that are named, and prints one table."""

import os
import sys

from bench import access, bulk, command_line, fleet, impact, plain_hosts, sessions, spliced, trust, tunnelled, tunnels
from bench.rows import Row, show

MEASUREMENTS = {"command_line": command_line, "access": access, "impact": impact, "sessions": sessions,
                "fleet": fleet, "bulk": bulk, "spliced": spliced, "plain_hosts": plain_hosts, "tunnelled": tunnelled,
                "tunnels": tunnels, "trust": trust}  # fmt: skip


def main() -> None:
    wanted = sys.argv[1:] or [*MEASUREMENTS]
    if not set(wanted) <= set(MEASUREMENTS):
        sys.exit(f"usage: python -m bench [{'] ['.join(MEASUREMENTS)}]")
    rows: list[Row] = []
    for name in wanted:
        sys.stderr.write(f"measuring {name} …\n")
        os.sync()  # what the one before has written would slow the disk of this one
        rows += MEASUREMENTS[name].measure()
    sys.stdout.write(show(rows))


main()

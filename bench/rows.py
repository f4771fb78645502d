"""One measured thing: ours, the peer's, and the ratio; and the table of them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from teleport.core.output import table


@dataclass(frozen=True)
class Row:
    """`better` says which way the ratio should go; the goal is what we aim at."""

    what: str
    ours: float
    peer_name: str
    peer: float
    unit: str
    goal: str = ""

    @property
    def ratio(self) -> str:
        return f"{self.ours / self.peer:.2f} ×" if self.peer else "–"


def show(rows: Iterable[Row]) -> str:
    cells = [
        (row.what, f"{row.ours:,.3g} {row.unit}", row.peer_name, f"{row.peer:,.3g} {row.unit}" if row.peer else "–",
         row.ratio, row.goal)
        for row in rows
    ]  # fmt: skip
    return table(("What", "Ours", "Peer", "Peer's", "Ratio", "Goal"), cells)


def best_of(times: int, work: Callable[[], object]) -> float:
    """Seconds of the quickest of several runs."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)

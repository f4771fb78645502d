"""Verifies the log in a directory: the chain, its own checkpoints, and checkpoints that were kept elsewhere."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from teleport.audit.chain import Checkpoint, Verdict, verify_chain
from teleport.audit.log import CHECKPOINTS, day_files

__all__ = ["verify_directory"]


async def verify_directory(directory: Path, kept: Sequence[Checkpoint], *, key: str) -> Verdict:
    """Hold the files against the chain and all checkpoints at hand."""
    return await asyncio.to_thread(_verify, directory, kept, key)


def _verify(directory: Path, kept: Sequence[Checkpoint], key: str) -> Verdict:
    path = directory / CHECKPOINTS
    own: list[Checkpoint] = []
    broken: list[str] = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            own.append(Checkpoint.of_line(line))
        except ValueError:
            broken.append("a line of the checkpoint file is not a checkpoint")
    verdict = verify_chain(_lines(directory), [*own, *kept], key=key)
    return Verdict(
        verdict.events, verdict.first, verdict.last, verdict.head, (*broken, *verdict.faults), verdict.checkpoints
    )


def _lines(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every line with its place; not the beginning of one that is being written, or that a crash left."""
    files = day_files(directory)
    for path in files:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n") or path != files[-1]:
                    yield f"{path.name}:{number}", line

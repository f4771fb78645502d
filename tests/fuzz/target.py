"""What a target is: a check that must hold for any bytes, where to begin, and how often it is tried. No I/O."""

import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Target", "mutations", "pieces"]


@dataclass(frozen=True)
class Target:
    """One entry into the program that takes bytes from others."""

    name: str
    about: str
    """What is tried, for people."""
    holds: str
    """What is asserted of every input, for people."""
    check: Callable[[bytes], object]
    """Raises whatever it likes where something does not hold."""
    seeds: Callable[[], Iterable[bytes]]
    """Inputs to begin with; others come from changing them."""
    runs: int
    """Inputs of one `make fuzz`."""
    words: tuple[bytes, ...] = ()
    """Pieces of the language, to be put in."""
    longest: int = 4096
    """Bytes of one input."""


def pieces(data: bytes) -> Iterator[bytes]:
    """The bytes cut at places that depend on nothing but them, so that an input is the same attack each time."""
    chance, at = random.Random(zlib.crc32(data)), 0
    while at < len(data):
        size = chance.choice((1, 1, 2, 3, 7, 40, len(data)))
        yield data[at : at + size]
        at += size


def mutations(target: Target, count: int, *, seed: int) -> Iterator[bytes]:
    """Changed seeds, without looking at what they reach: for where there is no time or no atheris."""
    chance, seeds = random.Random(seed), sorted(target.seeds())
    words = (*target.words, b"\0", b"\xff" * 4, b"\n")
    for _ in range(count):
        data = chance.choice(seeds)
        for _ in range(chance.randint(1, 4)):
            start = chance.randint(0, len(data))
            end = min(len(data), start + chance.choice((0, 1, 1, 4, 30)))
            middle = chance.choice((b"", chance.randbytes(1), chance.choice(words), data[start:end] * 2))
            data = data[:start] + middle + data[end:]
        yield data[: target.longest]

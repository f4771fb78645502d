"""What a source's reconciler has counted since the process started, for whoever watches it."""

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Tally"]


@dataclass
class Tally:
    """Counts only grow."""

    reads: int = 0
    """Times that the source was read, whatever it said."""
    read_seconds: float = 0.0
    """How long that took in all; of a repository it is mostly fetching."""
    read_failures: int = 0
    """Times that it could not be read."""
    applied: int = 0
    """Times that something new came into force."""
    apply_failures: int = 0
    """Times that it could not be applied though nobody refused it."""
    refused: Counter[str] = field(default_factory=Counter)
    """Times that something new was refused, by reason."""

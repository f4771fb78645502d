"""What an object asks of the reconciler, by labels of its own: to be kept, to be left alone, to be taken over. Pure.

They are labels because the format has no annotations: every tool that reads it keeps them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from teleport.resources.kinds import AnyResource
from teleport.resources.references import Ref

__all__ = ["ADOPT", "IGNORE", "KEEP", "WISHES", "Settled", "settled", "wishes"]

KEEP: Final = "teleport.dev/keep"
"""When it disappears from its source it stays in force, and belongs to the API from then on."""
IGNORE: Final = "teleport.dev/ignore"
"""It stays as it is in the cluster, whatever its source says, also if it is not there."""
ADOPT: Final = "teleport.dev/adopt"
"""Its source takes it over from the API."""

WISHES: Final = frozenset({KEEP, IGNORE, ADOPT})


def wishes(resource: AnyResource, label: str) -> bool:
    return resource.metadata.labels.get(label) == "true"


@dataclass(frozen=True)
class Settled:
    """What becomes of what a source declares and of what it owns."""

    wanted: Mapping[Ref, AnyResource]
    """To be in force as declared."""
    ignored: frozenset[Ref]
    """Declared, and left as it is, whoever owns it."""
    kept: tuple[Ref, ...]
    """Owned, declared no more, and left in force for the API."""
    gone: tuple[Ref, ...]
    """Owned, declared no more, and to be deleted."""


def settled(desired: Iterable[AnyResource], owned: Mapping[Ref, AnyResource]) -> Settled:
    """From what a source declares and what it owns."""
    declared = {(one.kind, one.name): one for one in desired}
    ignored = frozenset(ref for ref, one in declared.items() if wishes(one, IGNORE))
    missing = [ref for ref in owned if ref not in declared]
    kept = tuple(ref for ref in missing if wishes(owned[ref], KEEP))
    return Settled(
        {ref: one for ref, one in declared.items() if ref not in ignored},
        ignored, kept, tuple(ref for ref in missing if ref not in kept),
    )  # fmt: skip

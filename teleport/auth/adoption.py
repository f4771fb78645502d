"""Taking over what another source owns: by an administrator's word, or by a label where that suffices."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from teleport.auth import keys
from teleport.resources.kinds import AnyResource
from teleport.resources.references import Ref
from teleport.resources.wishes import ADOPT, wishes
from teleport.store.base import Store

__all__ = ["API_SOURCE", "Adoptions", "MayAdopt", "Stored"]

API_SOURCE = "api"

MayAdopt = Callable[[str, str], bool]
"""Whether a source, by its name, may take over by a label what another one owns."""


@dataclass(frozen=True)
class Stored:
    """A resource as the store has it."""

    resource: AnyResource
    revision: int

    @property
    def owner(self) -> str:
        return self.resource.origin.source or API_SOURCE


class Adoptions:
    """An administrator's permission holds once, for one source, and only while the same one owns the object."""

    def __init__(self, store: Store, may_adopt: MayAdopt) -> None:
        self._store, self._may_adopt = store, may_adopt

    async def permit(self, ref: Ref, source: str, owner: str) -> None:
        await self._store.put(keys.adoption(*ref), json.dumps({"source": source, "owner": owner}).encode())

    async def permitted(
        self, source: str, wanted: Mapping[Ref, AnyResource], foreign: Mapping[Ref, Stored]
    ) -> frozenset[Ref]:
        """What of others' a source may take over now."""
        return frozenset([ref for ref, one in foreign.items() if await self._may(source, wanted[ref], one.owner)])

    async def _may(self, source: str, resource: AnyResource, owner: str) -> bool:
        if wishes(resource, ADOPT) and self._may_adopt(source, owner):
            return True
        record = await self._store.get(keys.adoption(resource.kind, resource.name))
        return record is not None and json.loads(record.value) == {"source": source, "owner": owner}

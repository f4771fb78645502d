"""How an organisation sets its guards, and the checks that come of it. Only teleport.yaml says so, never a source."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from teleport.gitops.guards.administration import administration
from teleport.gitops.guards.beneficiary import beneficiary
from teleport.gitops.guards.budget import pairs, people
from teleport.gitops.guards.emptied import emptied
from teleport.gitops.guards.promises import Weakened, promises_kept
from teleport.gitops.review import Check
from teleport.resources.values import Switch, Texts, Vocabulary

__all__ = ["GUARDS", "GuardSettings", "checks"]

GUARDS: Final = ("administration", "beneficiary", "emptied", "pairs", "people", "weakened")


class GuardSettings(BaseModel):
    """Frozen; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_people: int | None = Field(
        default=None, ge=0, description="how many people may lose access by one change; left out, any number",
        examples=[20],
    )  # fmt: skip
    max_pairs_percent: float | None = Field(
        default=None, ge=0, le=100, examples=[25],
        description="how much of all logins on hosts may be lost by one change; left out, everything",
    )  # fmt: skip
    own_writes: Switch = Field(
        default=True, description="whether who writes through the API may gain by what they write"
    )
    disabled: Annotated[Texts, Vocabulary("guard", GUARDS)] = Field(
        default=(), description="guards that are not asked", examples=[["emptied"]]
    )


def checks(
    settings: GuardSettings, known: Mapping[str, str] | None = None, *, weakened: Weakened | None = None
) -> tuple[Check, ...]:
    """The guards as checks. `known` maps principals to users; `weakened` says what is taken back of tests."""
    found: dict[str, Check] = {
        "administration": administration,
        "emptied": emptied,
        "beneficiary": beneficiary(known or {}, own_writes=settings.own_writes),
    }
    if settings.max_people is not None:
        found["people"] = people(settings.max_people)
    if settings.max_pairs_percent is not None:
        found["pairs"] = pairs(settings.max_pairs_percent)
    if weakened is not None:
        found["weakened"] = promises_kept(weakened)
    return tuple(check for name, check in found.items() if name not in settings.disabled)

"""The guards that teleport.yaml sets, made checks; set anew when the file is read again."""

from collections.abc import Mapping, Sequence
from functools import partial

from teleport.gitops.ceiling_check import within_ceilings
from teleport.gitops.guards.settings import checks
from teleport.gitops.policytest import promises
from teleport.gitops.review import Check
from teleport.gitops.weakened import weakened
from teleport.service.config import Config
from teleport.service.policies import Guards, ceiling_of, has_ceiling
from teleport.service.review import Reviewer

__all__ = ["guarded", "new_guards"]


def guarded(config: Config) -> tuple[Sequence[Check], Mapping[str, str]]:
    """The checks, and who those are who sign."""
    policies = config.policies
    people = policies.people if policies is not None else {}
    guards = checks(policies.guards if policies is not None else Guards(), people, weakened=weakened)
    kept = partial(promises, bounded=partial(has_ceiling, policies))
    return (*guards, within_ceilings(partial(ceiling_of, policies)), kept), people


def new_guards(reviewer: Reviewer, config: Config) -> "partial[None]":
    """What makes those of another configuration take effect."""
    return partial(_set, reviewer, *guarded(config))


def _set(reviewer: Reviewer, found: Sequence[Check], people: Mapping[str, str]) -> None:
    reviewer.checks, reviewer.people = found, people

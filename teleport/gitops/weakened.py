"""Which tests and invariants a change deletes or weakens. Pure; what follows from it is for a guard to say.

Whatever cannot be seen to ask for at least as much counts as weaker.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from teleport.gitops.order import Ref
from teleport.resources.access_invariant import AccessInvariant, AccessInvariantSpec
from teleport.resources.access_test import AccessTest, AccessTestSpec
from teleport.resources.kinds import AnyResource

__all__ = ["Weakening", "weakened"]

Values = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Weakening:
    """A test or invariant that no longer promises what it promised."""

    resource: AccessTest | AccessInvariant
    """As it is in force."""
    how: Literal["deleted", "weakened"]
    what: str
    """In which respect."""


def weakened(before: Mapping[Ref, AnyResource], after: Mapping[Ref, AnyResource]) -> tuple[Weakening, ...]:
    """What the promises of a policy lose, in order of kind and name; moved is not lost."""
    return tuple(_weakened(before, after))


def _weakened(before: Mapping[Ref, AnyResource], after: Mapping[Ref, AnyResource]) -> Iterator[Weakening]:
    for ref in sorted(before):
        old, new = before[ref], after.get(ref)
        if not isinstance(old, AccessTest | AccessInvariant):
            continue
        if new is None:
            yield Weakening(old, "deleted", f"{old.ref} is deleted")
            continue
        what = _shorter_lived(old, new) or _less(old, new)
        if what:
            yield Weakening(old, "weakened", f"{old.ref}: {what}")


def _shorter_lived(old: AnyResource, new: AnyResource) -> str:
    was, will = old.metadata.expires, new.metadata.expires
    return f"it ends at {will}" if will is not None and (was is None or will < was) else ""


def _less(old: AnyResource, new: AnyResource) -> str:
    if isinstance(old, AccessTest) and isinstance(new, AccessTest):
        return _less_expected(old.spec, new.spec)
    if isinstance(old, AccessInvariant) and isinstance(new, AccessInvariant):
        return "; ".join(_less_certain(old.spec, new.spec))
    return "it is of another kind"


def _less_expected(old: AccessTestSpec, new: AccessTestSpec) -> str:
    if old.expect and old.given != new.given:
        return "it is about somebody else"
    lost = [str(row) for row in (*old.expect, *old.exactly) if row not in (*new.expect, *new.exactly)]
    return f"it no longer expects {' nor '.join(lost)}" if lost else ""


def _less_certain(old: AccessInvariantSpec, new: AccessInvariantSpec) -> Iterator[str]:
    if not _no_more(old, new):
        yield "others may"
    if not new.may.every_login and not set(old.may.logins) <= set(new.may.logins):
        yield "it speaks of fewer logins"
    if not _as_wide(old.may.labels, new.may.labels):
        yield "it speaks of other hosts"
    if not (_assumes_no_more(old.assume.traits, new.assume.traits)
            and _assumes_no_more(old.assume.labels, new.assume.labels)):  # fmt: skip
        yield "it assumes more"
    if (old.on_unknown, new.on_unknown) == ("fail", "warn"):
        yield "what cannot be proved only warns"


def _no_more(old: AccessInvariantSpec, new: AccessInvariantSpec) -> bool:
    """Whether nobody is inside now who was not."""
    was, will = old.only, new.only
    if not set(will.roles) <= set(was.roles) or not set(will.users) <= set(was.users):
        return False
    if not will.traits:
        return True
    return bool(was.traits) and all(
        name in will.traits and set(will.traits[name]) <= set(values) for name, values in was.traits.items()
    )


def _as_wide(old: Values, new: Values) -> bool:
    """Whether a selector means every host that the other means."""
    if "*" in new:
        return True
    if "*" in old:
        return False
    return all(key in old and ("*" in values or set(old[key]) <= set(values)) for key, values in new.items())


def _assumes_no_more(old: Values, new: Values) -> bool:
    return all(key in old and set(old[key]) <= set(values) for key, values in new.items())

"""What somebody gains though nothing is added for them: by something that is taken away, or by an object's label.

Knows one user, before and after. Errs towards a gain, as `gains` does.
"""

from collections.abc import Iterator
from typing import Final

from teleport.access.expressions import LABELS, WHERE, compile_expression
from teleport.access.impact import differences
from teleport.access.options import Conditions, Matching, combine
from teleport.access.roles import TARGETS, CompiledRole
from teleport.access.rules import may
from teleport.access.snapshot import BoundUser, Snapshot
from teleport.access.widening import is_stricter
from teleport.core.identity import Identity
from teleport.gitops.guards.words import named
from teleport.gitops.review import Proposed

__all__ = ["milder_as_written", "ruled", "turned"]

_VERBS: Final = ("create", "read", "update", "delete")
_ROLES: Final = "user.spec.roles"
_LABELLED: Final = "resource.metadata.labels"
_MANY: Final = 200
"""Objects with other labels that are each asked about."""


def turned(before: BoundUser, after: BoundUser) -> Iterator[str]:
    """Traits and roles that are lost and that something looked at which denies, or may do so."""
    roles = [role.role for role in after.roles]
    reads = frozenset[str]().union(*map(_traits, roles))
    for trait, values in sorted(before.traits.items()):
        lost = [value for value in values if value not in after.traits.get(trait, ())]
        if lost and trait in reads:
            yield f"{named(lost)} no longer in the trait {trait}"
    looking = [role.name for role in roles if any(_ROLES in text for text in _expressions(role))]
    for name in before.role_names:
        if looking and name not in after.role_names:
            yield f"role/{name} no longer, which role/{looking[0]} looks at"


def _traits(role: CompiledRole) -> frozenset[str]:
    """The traits of which a value can take something away."""
    found = frozenset[str]()
    for rule in (*role.allow.condition.rules, *role.deny.condition.rules):
        found |= compile_expression(rule.where, WHERE).reads.traits if rule.where else frozenset()
    for target in TARGETS:
        expression = role.allow.selectors[target].expression
        found |= compile_expression(expression, LABELS).reads.traits if expression else frozenset()
        found |= role.deny.selectors[target].reads.traits
    return found.union(*(one.reads for names in role.deny.names.values() for one in names))


def _expressions(role: CompiledRole) -> Iterator[str]:
    for side in (role.allow, role.deny):
        yield from (rule.where for rule in side.condition.rules)
        yield from (side.selectors[target].expression for target in TARGETS)


def milder_as_written(was: Snapshot, will: Snapshot, before: BoundUser, after: BoundUser) -> Iterator[str]:
    """The conditions of whoever logs in somewhere that are not plainly stricter, for whatever hosts there may be."""
    if not before.roles or not after.roles:
        return
    roles: list[tuple[CompiledRole | None, CompiledRole | None]] = [(None, None)]
    old, new = ({role.name: role.role for role in user.roles} for user in (before, after))
    roles += [(old[name], new[name]) for name in sorted(old.keys() & new.keys())]
    for one, other in roles:
        for difference in differences(_conditions(was, before, one), _conditions(will, after, other)):
            if not is_stricter(difference):
                yield difference.name


def _conditions(snapshot: Snapshot, user: BoundUser, role: CompiledRole | None) -> Conditions:
    """Those of a host that one role alone means, or none."""
    held = [one.role for one in user.roles]
    alone = () if role is None else (role,)
    return combine(
        held, held, auth=snapshot.auth, network=snapshot.network, recording=snapshot.recording,
        matching=Matching("node", alone, alone),
    )  # fmt: skip


def ruled(proposed: Proposed, after: BoundUser) -> Iterator[str]:
    """Objects that somebody may administer by the labels that they have now."""
    rules = [
        rule for role in after.roles for side in (role.role.allow, role.role.deny) for rule in side.condition.rules
    ]
    if not any(_LABELLED in rule.where for rule in rules):
        return
    turned = [ref for ref in proposed.changed if ref in proposed.before and ref in proposed.after]
    turned = [ref for ref in turned if proposed.before[ref].metadata.labels != proposed.after[ref].metadata.labels]
    if len(turned) > _MANY:
        yield f"other labels of {len(turned)} objects"
    for kind, name in turned[:_MANY]:
        for verb in _VERBS:
            may_now, may_then = (
                may(snapshot, Identity("user", after.name, after.uid, ""), verb, kind, now=proposed.now,
                    subject=side[kind, name]).allowed
                for snapshot, side in zip(proposed.snapshots, (proposed.before, proposed.after), strict=True)
            )  # fmt: skip
            if may_then and not may_now:
                yield f"{verb} of {kind}/{name}"

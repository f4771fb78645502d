"""Whether one side of a role says more than it said before, as it is written: for whatever resources there may be.

Errs towards yes: where two ways of writing cannot be compared, the newer one counts as wider.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from teleport.resources.role import Condition, Rule

__all__ = ["widened"]

_LABELS: Final = "_labels"
_EXPRESSION: Final = "_labels_expression"
_OURS: Final = "require_session_join"
"""What a holder needs, and does not get."""
_BY_VERSION: Final = "kubernetes_resources"
"""Left out, it may mean everything."""
_LEGACY: Final = frozenset({"namespaces"})


def widened(old: Condition, new: Condition, *, known: Iterable[str] = ()) -> Iterator[str]:
    """The fields by which the new side says more; of `known` kinds of target it is seen elsewhere what they reach."""
    sighted = {f"{kind}{_EXPRESSION}" for kind in known}
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if before == after or name in _LEGACY or name in sighted:
            continue
        if _says_more(name, before, after):
            yield name


def _says_more(name: str, before: Any, after: Any) -> bool:
    if name.endswith(_LABELS):
        return _selects_more(before or {}, after or {})
    if name == "rules":
        return any(not _covered(rule, before) for rule in after)
    if name == _OURS:
        return any(one not in after for one in before)
    if isinstance(after, tuple) and isinstance(before, tuple):
        return any(one not in before for one in after)
    return bool(after) or name.endswith(_EXPRESSION) or name == _BY_VERSION


def _selects_more(before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]) -> bool:
    """Fewer keys select more, and so do more values; nothing at all selects nothing."""
    if not after or "*" in before:
        return False
    if not before:
        return True
    return any(
        key not in after or ("*" not in values and not set(after[key]) <= set(values)) for key, values in before.items()
    )


def _covered(rule: Rule, rules: Sequence[Rule]) -> bool:
    """Whether these rules permitted everything of a rule."""
    return all(
        any(_permits(one, noun, verb, rule.where) for one in rules) for noun in rule.resources for verb in rule.verbs
    )


def _permits(rule: Rule, noun: str, verb: str, where: str) -> bool:
    verbs = {verb, "*"} | ({"read"} if verb == "readnosecrets" else set())
    return bool({noun, "*"} & set(rule.resources)) and bool(verbs & set(rule.verbs)) and rule.where in ("", where)

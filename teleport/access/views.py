"""A role as somebody holds it of whom not everything is known: what it gives for certain, and what it might give.

Knows one role, no users, no hosts. What it might give is never too little; what it denies is never too much.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from teleport.access.choices import OneOf
from teleport.access.expressions import Part
from teleport.access.labels import Selector, SelectorTemplate
from teleport.access.partial import parts, possible_sets
from teleport.access.patterns import ANY, Any_, Exact, Glob, Matcher, is_expression
from teleport.access.roles import BoundRole, CompiledRole, valid_login
from teleport.access.scope import Values
from teleport.access.templates import Template

__all__ = ["Block", "Possible", "View", "declared_view", "imagined_view", "login_possible", "selector_block"]

_KIND: Final = "node"
_NAMES: Final = "logins"
_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`')

Possible = Mapping[str, Values]
"""Traits of which every value is known that anybody may have; of others, any."""


@dataclass(frozen=True, eq=False)
class Block:
    """Which hosts are meant: those that fulfil all demands, and an expression where there is one."""

    demands: tuple[tuple[str, OneOf], ...] = ()
    everything: bool = False
    written: bool = False
    expression: Part | None = None
    words: tuple[str, ...] = ()
    """Texts that the expression names."""
    depends: frozenset[str] = frozenset()
    """The traits of which any value was supposed."""

    @property
    def empty(self) -> bool:
        """Whether it means no host at all, being not there."""
        return not self.written and self.expression is None


@dataclass(frozen=True, eq=False)
class View:
    """A role in the hands of somebody."""

    role: CompiledRole
    logins: frozenset[str]
    """Those it gives for certain."""
    patterns: tuple[Matcher, ...]
    """Those it might give, by traits that nobody knows."""
    login_traits: frozenset[str]
    sure: Block
    """The hosts it allows for certain."""
    widest: Block
    """The hosts it might allow."""
    deny: Block
    """The hosts that it denies to every holder."""
    traits: Mapping[str, Sequence[Values]] = field(default_factory=dict)
    """What an expression may know of the holder's traits."""
    user: str | None = None
    roles: Values = ()


def declared_view(bound: BoundRole) -> View:
    """In the hands of somebody declared, all of whose traits are known."""
    role, every = bound.role, bound.deny.names[_NAMES].every
    denied = bound.deny.names[_NAMES].entries
    logins = () if every is not None else (one for one in bound.allow.names[_NAMES].entries if one not in denied)
    allow = _bound_block(bound.allow.selector(_KIND), role.allow.selectors[_KIND])
    return View(
        role, frozenset(logins), (), frozenset(), allow, allow,
        _bound_block(bound.deny.selector(_KIND), role.deny.selectors[_KIND]),
        {name: (bound.traits.get(name, ()),) for name in _reads(role)}, bound.user, bound.roles,
    )  # fmt: skip


def imagined_view(role: CompiledRole, possible: Possible) -> View:
    """In the hands of anybody: traits have the possible values, or whichever where nobody bounds them."""
    denied = denied_logins(role)
    logins: set[str] = set()
    patterns: list[Matcher] = []
    traits: set[str] = set()
    for entry in role.allow.names[_NAMES]:
        unknown = entry.reads - possible.keys()
        if unknown:
            patterns.append(_around(entry))
            traits |= unknown
        else:
            logins.update(entry.expand(possible))
    if "*" in denied:
        logins, patterns = set(), []
    return View(
        role, frozenset(one for one in logins - denied if valid_login(one)), tuple(patterns), frozenset(traits),
        _block(role.allow.selectors[_KIND], possible, wide=False),
        _block(role.allow.selectors[_KIND], possible, wide=True),
        _denied(role.deny.selectors[_KIND]), _sets(role, possible),
    )  # fmt: skip


def selector_block(selector: Selector) -> Block:
    """Labels without templates, as an invariant has them."""
    return Block(_demands(selector), selector.everything, selector.written)


def denied_logins(role: CompiledRole) -> frozenset[str]:
    """The logins that are denied to every holder."""
    return frozenset(one.text for one in role.deny.names[_NAMES] if one.values is None)


def _reads(role: CompiledRole) -> frozenset[str]:
    return role.allow.selectors[_KIND].reads.traits | role.deny.selectors[_KIND].reads.traits


def _sets(role: CompiledRole, possible: Possible) -> Mapping[str, Sequence[Values]]:
    found = {name: possible_sets(possible[name]) for name in _reads(role) if name in possible}
    return {name: sets for name, sets in found.items() if sets is not None}


def _demands(selector: Selector) -> tuple[tuple[str, OneOf], ...]:
    return tuple((key, OneOf(matchers)) for key, matchers in selector.keys)


def _bound_block(selector: Selector, written: SelectorTemplate) -> Block:
    return Block(
        _demands(selector), selector.everything, selector.written, *_expression(written),
    )  # fmt: skip


def _expression(written: SelectorTemplate) -> tuple[Part | None, tuple[str, ...]]:
    if not written.expression:
        return None, ()
    words = tuple(first or second for first, second in _WORD.findall(written.expression))
    return parts(written.expression), words


def _block(written: SelectorTemplate, possible: Possible, *, wide: bool) -> Block:
    """What a selector allows; of values that nobody knows, any if `wide`, else none."""
    demands: list[tuple[str, OneOf]] = []
    depends: set[str] = set()
    for key, values in written.keys:
        if key.values is not None:
            depends |= key.reads
            if not wide:
                demands.append((key.text, OneOf(())))
            continue
        matchers, unknown = _matchers(values, possible, wide=wide)
        depends |= unknown
        demands.append((key.text, OneOf(matchers)))
    return Block(tuple(demands), written.everything, written.written, *_expression(written), frozenset(depends))


def _matchers(
    values: Iterable[Template], possible: Possible, *, wide: bool
) -> tuple[tuple[Matcher, ...], frozenset[str]]:
    found: dict[Matcher, None] = {}
    depends: frozenset[str] = frozenset()
    for value in values:
        unknown = value.reads - possible.keys()
        if not unknown:
            found.update(dict.fromkeys(value.matchers(possible)))
            if value.values is not None:
                found[Exact("")] = None  # somebody who lacks the trait
            continue
        depends |= unknown
        found[Exact("")] = None
        if wide:
            found[_around(value)] = None
    return ((ANY,) if any(isinstance(one, Any_) for one in found) else tuple(found)), depends


def _around(value: Template) -> Matcher:
    """Every text that a template may become."""
    prefix, suffix = value.prefix, value.suffix
    if is_expression(prefix + suffix) or not (prefix or suffix):
        return ANY
    return Glob((*prefix.split("*"), *suffix.split("*")))


def _denied(written: SelectorTemplate) -> Block:
    """What a selector denies to whoever holds the role, whatever the traits: what is written without them."""
    demands: list[tuple[str, OneOf]] = []
    sure = written.written
    for key, values in written.keys:
        matchers, _ = _matchers([one for one in values if one.values is None], {}, wide=False)
        sure = sure and key.values is None and bool(matchers)
        demands.append((key.text, OneOf(matchers)))
    return Block(tuple(demands) if sure else (), sure and written.everything, sure, *_expression(written))


def login_possible(view: View, login: str) -> bool:
    """Whether a login might be given, by traits that nobody knows."""
    return login not in denied_logins(view.role) and any(one.matches(login) for one in view.patterns)

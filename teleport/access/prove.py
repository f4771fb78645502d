"""Whether an invariant holds: of everybody and every host there is, exactly, and of those that could be, at worst.

Each role that somebody outside can come to hold is taken singly, because roles never add up to a right. Only what it
denies to every holder counts; a template or a pattern may be any value that nobody excludes. So *proved* is never
wrong; *violated* comes with an example that `decide` allows; *not provable* says what would have to be assumed.
Locks prove nothing: they come and go without anybody judging again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from teleport.access.decide import Decision
from teleport.access.everybody import Everybody
from teleport.access.fleet import positions
from teleport.access.holders import Traits, every_holder, examples, reads, reads_user
from teleport.access.imagined import Imagined, LabelsKnown, imagine
from teleport.access.labels import SelectorTemplate
from teleport.access.partners import held_here, partners
from teleport.access.proof import (
    Finding,
    Proof,
    Witness,
    counted,
    labels_shown,
    lacking,
    place_of_decision,
    place_of_role,
    traits_shown,
)  # fmt: skip
from teleport.access.roles import CompiledRole
from teleport.access.snapshot import Snapshot
from teleport.access.target import Target
from teleport.access.views import (
    Block,
    Possible,
    View,
    declared_view,
    imagined_view,
    login_possible,
    selector_block,
)
from teleport.access.ways import Elsewhere, Way, ways
from teleport.resources.access_invariant import AccessInvariant, AccessInvariantSpec
from teleport.resources.model import Metadata
from teleport.resources.user import User, UserSpec

__all__ = ["Prover"]

_SEEN: Final = 200
"""Values of a label, of those that hosts have, that are tried as examples."""
_KIND: Final = "node"


@dataclass(frozen=True, eq=False)
class _Question:
    """An invariant, prepared: what it means, and who is outside."""

    spec: AccessInvariantSpec
    meant: Block
    hosts: int
    outsiders: int
    labels: LabelsKnown
    possible: Possible


class Prover:
    """Judges invariants under one policy on one fleet; what they have in common is computed once."""

    def __init__(self, everybody: Everybody, *, elsewhere: Iterable[Elsewhere] = ()) -> None:
        """`elsewhere` are people who hold roles in ways the policy does not tell, beside those of trusted clusters."""
        self._everybody, self._elsewhere = everybody, (*_of_partners(everybody.snapshot), *elsewhere)
        self._snapshot, self._fleet, self._people = everybody.snapshot, everybody.fleet, everybody.people
        self._views: dict[str, View] = {}
        self._logins: dict[str, tuple[int, dict[str, int]]] = {}
        """By role the users that were looked at, and those to whom it gives each login."""
        self._seen: dict[str, Sequence[str]] = {}

    def prove(self, invariant: AccessInvariant) -> Proof:
        question = self._question(invariant.spec)
        findings = [*self._reached(question)]
        for way in ways(self._people, question.outsiders, invariant.spec.only.roles, self._elsewhere):
            found = self._by_role(question, way)
            findings += [found] if found is not None else []
        return Proof.of(findings)

    def _question(self, spec: AccessInvariantSpec) -> _Question:
        selector = SelectorTemplate.of(spec.may.labels, "").bind("", (), {})
        only, people = spec.only, self._people
        inside = people.named(only.users)
        for role in only.roles:
            inside |= people.holders.get(role, 0)
        if only.traits:
            having = people.everybody
            for trait, values in only.traits.items():
                having &= people.having(self._snapshot, trait, values)
            inside |= having
        hosts = self._fleet.allowed_by(selector) & self._everybody.real
        outsiders = people.everybody & ~inside
        return _Question(spec, selector_block(selector), hosts, outsiders, self._labels(spec), _possible(spec))

    def _labels(self, spec: AccessInvariantSpec) -> LabelsKnown:
        """Labels of hosts there are count beside those that are assumed."""
        bound = {
            key: tuple(dict.fromkeys((*values, *self._everybody.values_of(key))))
            for key, values in spec.assume.labels.items()
        }
        return LabelsKnown(bound, _Lazy(self._seen, self._everybody))

    def _reached(self, question: _Question) -> Iterator[Finding]:
        """Who reaches a host there is; exact."""
        may = question.spec.may
        opened = self._everybody.opened
        for login in sorted(opened) if may.every_login else may.logins:
            found: dict[int, int] = {}
            for hosts, users in opened.get(login, {}).items():
                if hosts & question.hosts and users & question.outsiders:
                    found[hosts & question.hosts] = (
                        found.get(hosts & question.hosts, 0) | users & question.outsiders
                    )  # fmt: skip
            for hosts, users in found.items():
                yield self._reaches(login, hosts, users)

    def _reaches(self, login: str, hosts: int, users: int) -> Finding:
        names, targets = self._people.listed(users), [self._fleet.at(one) for one in positions(hosts)]
        user, target = self._snapshot.users[names[0]], targets[0]
        decision = self._everybody.decide(user.name, login, target)
        who, where = counted(names, "user"), counted([one.name for one in targets], "host")
        return Finding(
            "violated", f"{who} may log in as {login} on {where}: {decision.because}", decision.role or "",
            place_of_decision(decision),
            witness=Witness(user.name, user.spec.roles, user.spec.traits, login, target.name, target.labels),
            key=("reached", login), about=frozenset([*names, *(one.uid for one in targets)]),
        )  # fmt: skip

    def _by_role(self, question: _Question, way: Way) -> Finding | None:
        """What speaks against the invariant if somebody outside holds a role."""
        role = self._snapshot.roles.get(way.role)
        if role is None:
            return self._unread(way)
        if self._everybody.sets.of(role).unprovable or self._everybody.holdings.never:
            return None
        widest = self._views.get(way.role)
        if widest is None:
            widest = self._views[way.role] = imagined_view(role, {})
        if self._against(question, widest) is None:
            return None
        found = self._of_anybody(question, way, role)
        if found is not None and found.answer == "violated":
            return found
        declared = self._of_declared(question, way, role)
        return declared if declared is not None and declared.answer == "violated" else found or declared

    def _unread(self, way: Way) -> Finding | None:
        why = self._snapshot.unreadable.get(f"role/{way.role}")
        if why is None:
            return None
        return Finding("not provable", f"role/{way.role} cannot be read: {why}", way.role, key=("unread", way.role))

    def _against(self, question: _Question, view: View) -> tuple[tuple[str, ...], Imagined] | None:
        """Logins, and a host, that a view might give against the invariant; None if it certainly gives none.

        A host has no labels where it depends on what nobody knows.
        """
        may = question.spec.may
        wanted = None if may.every_login else set(may.logins)
        logins = tuple(sorted(view.logins if wanted is None else view.logins & wanted))
        unsure = view.patterns if wanted is None else any(login_possible(view, login) for login in wanted)
        if not logins and not unsure:
            return None
        missing = frozenset() if logins else frozenset(f"traits.{name}" for name in view.login_traits)
        host = imagine(view, view.sure, question.meant, question.labels)
        if host is None or host.labels is None:
            host = imagine(view, view.widest, question.meant, question.labels)
            if host is None:
                return None
            missing |= host.missing | {f"traits.{name}" for name in view.widest.depends}
            return logins, Imagined(None, missing)
        return logins, Imagined(None, missing) if missing else host

    def _of_anybody(self, question: _Question, way: Way, role: CompiledRole) -> Finding | None:
        """Whether somebody who is not declared could do it by this role alone."""
        everybody = every_holder(role, question.possible)
        if everybody is None:
            view = imagined_view(role, question.possible)
            return self._of_holder(question, way, view, examples(role, question.possible))
        unproved: Finding | None = None
        for traits in everybody:
            if not _inside(question.spec, traits):
                found = self._of_holder(question, way, _supposed(role, traits), [traits])
                if found is not None and found.answer == "violated":
                    return found
                unproved = unproved or found
        return unproved

    def _of_holder(self, question: _Question, way: Way, view: View, such: Iterable[Traits]) -> Finding | None:
        """The same of whoever the view is of; `such` are examples of these."""
        found = self._against(question, view)
        if found is None:
            return None
        logins, host = found
        if host.labels is not None:
            for traits in such:
                if not _inside(question.spec, traits):
                    example = self._example(_holder("", way.role, traits=traits), logins[0], host.labels)
                    if example is not None:
                        return self._violated(way, *example)
        unknown = reads(view.role) - question.possible.keys()
        return self._unproved(question, way, view.role, host.missing or {f"traits.{name}" for name in unknown})

    def _of_declared(self, question: _Question, way: Way, role: CompiledRole) -> Finding | None:
        """Whether somebody declared, with just these traits, could do it by this role alone."""
        looked_at = reads(role)
        if not looked_at and not reads_user(role):
            return None
        may, tried = question.spec.may, set[object]()
        unproved: Finding | None = None
        for name in self._people.listed(self._given(way, role, () if may.every_login else may.logins)):
            user = self._snapshot.users[name]
            key = (name,) if reads_user(role) else tuple(user.spec.traits.get(trait, ()) for trait in sorted(looked_at))
            if key not in tried:
                tried.add(key)
                found = self._of_user(question, way, role, user)
                if found is not None and found.answer == "violated":
                    return found
                unproved = unproved or found
        return unproved

    def _given(self, way: Way, role: CompiledRole, logins: Sequence[str]) -> int:
        """Those among the users of a way to whom a role gives one of these logins, or any if there are none."""
        known, by_login = self._logins.setdefault(way.role, (0, {}))
        here = self._everybody.sets.of(role).allow
        for index in positions(way.users & ~known):
            for login in here.names(self._snapshot.users[self._people.names[index]].spec.traits).entries:
                by_login[login] = by_login.get(login, 0) | 1 << index
        self._logins[way.role] = known | way.users, by_login
        given = 0
        for login in logins or by_login:
            given |= by_login.get(login, 0)
        return given & way.users

    def _of_user(self, question: _Question, way: Way, role: CompiledRole, user: User) -> Finding | None:
        roles, traits = tuple(dict.fromkeys((*user.spec.roles, way.role))), user.spec.traits
        found = self._against(question, declared_view(role.bind(user.name, roles, traits)))
        if found is None:
            return None
        logins, host = found
        if host.labels is not None:
            for held in (roles, (way.role,)):
                example = self._example(_holder(user.name, *held, traits=traits), logins[0], host.labels)
                if example is not None:
                    return self._violated(way, *example)
        return self._unproved(question, way, role, host.missing)

    def _example(self, holder: User, login: str, labels: Mapping[str, str]) -> tuple[Witness, Decision] | None:
        """What `decide` says of somebody who does not exist, on a host that does not; None unless it allows."""
        decision = self._everybody.joined(holder).decide(holder.name, login, Target(_KIND, "", "", labels))
        spec = holder.spec
        return (
            (Witness(holder.name, spec.roles, spec.traits, login, "", labels), decision) if decision.allowed else None
        )

    def _violated(self, way: Way, witness: Witness, decision: Decision) -> Finding:
        who = witness.user
        if not witness.user:
            who = f"whoever holds role/{way.role}{traits_shown(witness.traits)}"
        elif witness.roles != self._snapshot.users[witness.user].spec.roles:
            alone = " alone" if witness.roles == (way.role,) else ""
            who = f"somebody like {witness.user}, with role/{way.role}{alone},"
        text = f"{who} may log in as {witness.login} on {labels_shown(witness.labels)}: {decision.because}"
        return Finding(
            "violated", f"{text}; {self._how(way)}", way.role, place_of_decision(decision), witness=witness,
            key=("role", way.role, _written(self._snapshot.roles[way.role]), "violated"), about=self._holders(way),
        )  # fmt: skip

    def _unproved(self, question: _Question, way: Way, role: CompiledRole, missing: Set[str]) -> Finding:
        assumed = {f"traits.{name}" for name in question.spec.assume.traits}
        assumed |= {f"labels.{key}" for key in question.spec.assume.labels}
        why = lacking(missing - assumed, many=missing & assumed)
        return Finding(
            "not provable", f"role/{way.role} might let its holders in, as {why}; {self._how(way)}",
            way.role, place_of_role(role), tuple(sorted(one for one in missing - assumed if "." in one)),
            key=("role", way.role, _written(role), "not provable"), about=self._holders(way),
        )  # fmt: skip

    def _holders(self, way: Way) -> frozenset[str]:
        return frozenset((*self._people.listed(way.users), *((way.through,) if not way.users else ())))

    def _how(self, way: Way) -> str:
        """Who outside comes to hold a role, and how."""
        names = self._people.listed(way.users)
        who = counted(names, "user")
        if way.through:
            return f"{who} may come to hold it, as {way.through}" if names else way.through
        return f"{who} {'holds' if len(names) == 1 else 'hold'} it"


def _of_partners(snapshot: Snapshot) -> Iterator[Elsewhere]:
    for one in partners(snapshot):
        through = f"trusted_cluster/{one.cluster} gives it to holders of {one.role} there"
        yield Elsewhere(held_here(snapshot, one).roles, through)


class _Lazy(Mapping[str, Sequence[str]]):
    """Some of the values that labels have, looked up when they are asked for."""

    def __init__(self, known: dict[str, Sequence[str]], everybody: Everybody) -> None:
        self._known, self._everybody = known, everybody

    def __getitem__(self, key: str) -> Sequence[str]:
        if key not in self._known:
            self._known[key] = tuple(islice(self._everybody.values_of(key), _SEEN))
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _possible(spec: AccessInvariantSpec) -> Possible:
    """The traits that anybody outside may have: who is inside by one trait alone has values that outsiders lack."""
    possible = dict(spec.assume.traits)
    only = spec.only.traits
    if len(only) == 1:
        for trait, values in only.items():
            if trait in possible:
                possible[trait] = tuple(one for one in possible[trait] if one not in values)
    return possible


def _supposed(role: CompiledRole, traits: Traits) -> View:
    """A role in the hands of somebody who has just these of the traits that are known, and any of the others."""
    if reads(role) <= traits.keys():
        return replace(declared_view(role.bind("", (role.name,), traits)), user=None, roles=())
    view = imagined_view(role, traits)
    return replace(view, traits={name: (values,) for name, values in traits.items()})


def _written(role: CompiledRole) -> str:
    """Equal for roles that mean the same on hosts."""
    spec = role.source.spec
    sides = [(one.logins, one.node_labels, one.node_labels_expression) for one in (spec.allow, spec.deny)]
    return f"{role.source.version == 'v3'} {sides}"


def _holder(user: str, *roles: str, traits: Mapping[str, tuple[str, ...]]) -> User:
    """Somebody who need not exist."""
    return User.model_construct(
        version="v2", metadata=Metadata.model_construct(name=user), spec=UserSpec(roles=roles, traits=traits)
    )


def _inside(spec: AccessInvariantSpec, traits: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether these traits alone make somebody one of those who may."""
    only = spec.only.traits
    return bool(only) and all(not set(values).isdisjoint(traits.get(name, ())) for name, values in only.items())

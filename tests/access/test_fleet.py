"""A fleet that hosts come to and go from: at every moment it answers as one made anew from the hosts that are there."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.access.fleet import Fleet, bits_of, positions
from teleport.access.labels import Selector, SelectorTemplate
from teleport.access.reach import reach
from teleport.access.target import Target
from tests.access.builders import NOW, identity, policy, role, rule, user

UIDS = ["u1", "u2", "u3"]
LABELS = st.sampled_from([{}, {"env": "dev"}, {"env": "prod"}, {"env": "dev", "team": "web"}])
STEPS = st.lists(
    st.tuples(st.sampled_from(UIDS), st.sampled_from(["h1", "h2"]), st.none() | LABELS), min_size=4, max_size=12
)
"""A host that comes or changes its labels, or goes where it has none."""
SELECTORS = st.sampled_from(
    [{}, {"*": ("*",)}, {"env": ("dev",)}, {"env": ("dev", "p*")}, {"env": ("*",), "team": ("web",)}]
)
EXPRESSIONS = st.sampled_from(["", "", 'labels.env == "dev"'])


def selected(fleet: Fleet, selector: Selector) -> list[set[str]]:
    """The hosts that an allow block and a deny block of this selector mean."""
    found = (fleet.allowed_by(selector), fleet.denied_by(selector))
    return [{fleet.at(position).uid for position in positions(bits)} for bits in found]


@given(STEPS, SELECTORS, EXPRESSIONS)
def test_after_every_change_it_selects_what_the_selector_itself_says_of_each_host(
    steps: list[tuple[str, str, Mapping[str, str] | None]], labels: Mapping[str, tuple[str, ...]], text: str
) -> None:
    selector = SelectorTemplate.of(labels, text).bind("ann", (), {})
    fleet, there = Fleet("node"), dict[str, Target]()
    for uid, name, new in steps:
        if new is None:
            fleet.remove(uid)
            there.pop(uid, None)
        else:
            there[uid] = Target("node", name, uid, new)
            fleet.put(there[uid])

        expected = [
            {one.uid for one in there.values() if selector.allows(one.labels)},
            {one.uid for one in there.values() if selector.denies(one.labels)},
        ]
        assert selected(fleet, selector) == expected
        assert {one.uid: one for one in fleet} == there
        assert len(fleet) == len(there)
        assert {one.uid for one in fleet.named("h1")} == {one.uid for one in there.values() if one.name == "h1"}


def test_what_was_computed_before_a_host_came_is_not_asked_after_it_came() -> None:
    snapshot = policy(role(allow=rule("root", env="*")), user())
    fleet = Fleet("node", [Target("node", "h1", "u1", {"env": "dev"})])
    before = reach(snapshot, identity(), fleet, now=NOW)

    fleet.put(Target("node", "h2", "u2", {"env": "dev"}))

    with pytest.raises(RuntimeError, match="has changed"):
        list(before.rows())
    after = reach(snapshot, identity(), fleet, now=NOW)
    assert [(host.name, logins) for host, logins in after.rows()] == [("h1", ["root"]), ("h2", ["root"])]


def test_a_host_that_says_the_same_again_changes_nothing() -> None:
    fleet = Fleet("node", [Target("node", "h1", "u1", {"env": "dev"})])
    before = fleet.version

    fleet.put(Target("node", "h1", "u1", {"env": "dev"}))
    fleet.remove("unknown")

    assert fleet.version == before


@given(st.sets(st.integers(0, 200)))
def test_a_set_of_positions_survives_being_an_integer(wanted: set[int]) -> None:
    assert list(positions(bits_of(wanted, 200))) == sorted(wanted)

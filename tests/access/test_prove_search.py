"""The prover against a random search: nobody is found whom it called impossible, and what it lacks has a name.

TELEPORT_FULL=1 makes it thousands of policies instead of a hundred.
"""

import os

import pytest

from teleport.access.everybody import Everybody
from teleport.access.fleet import Fleet
from teleport.access.judge import judge
from teleport.access.prove import Prover
from teleport.access.target import Target
from teleport.resources.access_invariant import AccessInvariant
from teleport.resources.codec import from_dict
from tests.access.builders import NOW, policy
from tests.access.searching import Drawing, Search

_MANY = 4000 if os.environ.get("TELEPORT_FULL") else 25
_NAMELESS = ("any label may count", "depends on who somebody is", "too many values to try")
"""What no assumption bounds."""


@pytest.mark.parametrize("part", range(4))
def test_nobody_is_found_who_breaks_what_is_proved_and_what_is_not_known_is_named(part: int) -> None:
    answers = set()
    for seed in range(part * _MANY, (part + 1) * _MANY):
        drawing = Drawing(seed)
        documents, invariant, hosts = drawing.documents(), from_dict(drawing.invariant()), drawing.hosts()
        assert isinstance(invariant, AccessInvariant)
        resources = [from_dict(one) for one in documents]
        assert judge([*resources, invariant]).problems == ()
        fleet = Fleet("node", [Target("node", f"h{index}", f"u{index}", one) for index, one in enumerate(hosts)])

        proof = Prover(Everybody(policy(*resources), fleet, now=NOW)).prove(invariant)

        answers.add(proof.answer)
        if proof.answer == "proved":
            assert Search(documents, invariant.spec, hosts, drawing).found() == "", seed
        for one in proof.findings:
            if one.answer == "not provable":
                assumed = {f"traits.{name}" for name in invariant.spec.assume.traits}
                assumed |= {f"labels.{key}" for key in invariant.spec.assume.labels}
                assert one.missing or any(words in one.text for words in _NAMELESS), (seed, one.text)
                assert assumed.isdisjoint(one.missing), (seed, one.text)
    assert answers == {"proved", "violated", "not provable"}

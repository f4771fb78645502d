"""The prover against all small worlds: what it calls proved has no counterexample, and its examples are real.

TELEPORT_FULL=1 makes it thousands of policies instead of dozens.
"""

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teleport.access.everybody import Everybody
from teleport.access.fleet import Fleet
from teleport.access.proof import Witness
from teleport.access.prove import Prover
from teleport.access.target import Target
from teleport.resources.access_invariant import AccessInvariant
from teleport.resources.codec import from_dict
from tests.access.builders import NOW, policy
from tests.access.strategies import DENY, EXPRESSIONS, LOCKS, TRAITS, VALUES, WRITTEN_LOGINS, document, maybe, merged
from tests.access.worlds import Counterexample, World

_MANY = 3000 if os.environ.get("TELEPORT_FULL") else 40

Document = dict[str, Any]

KEYS = st.sampled_from(["env", "team", "{{internal.key}}"])
NARROW = st.one_of(
    st.sampled_from(["prod", "dev", "web", "p*"]).map(lambda value: {"env": value}),
    st.dictionaries(KEYS, VALUES, min_size=1, max_size=2),
    st.just({"*": "*"}),
)
ALLOW = merged(
    st.lists(st.sampled_from([*WRITTEN_LOGINS, "root", "root"]), min_size=1, max_size=2).map(
        lambda logins: {"logins": logins}
    ),
    st.one_of(NARROW.map(lambda labels: {"node_labels": labels}), st.just({})),
    maybe("node_labels_expression", EXPRESSIONS),
    maybe(
        "request", st.builds(dict, roles=st.lists(st.sampled_from(["r2", "r4", "r*", "^r[34]$"]), max_size=1)), absent=3
    ),
)


@st.composite
def roles(draw: st.DrawFn) -> list[Document]:
    found = []
    for name in ("r1", "r2", "r3", "r4"):
        spec: Document = {"allow": draw(ALLOW)} | draw(maybe("deny", DENY, absent=2))
        found.append(document("role", draw(st.sampled_from(["v3", "v7"])), name, spec))
    return found


@st.composite
def policies(draw: st.DrawFn) -> list[Document]:
    held = st.lists(st.sampled_from(["r1", "r2", "r3", "gone"]), min_size=1, max_size=2, unique=True)
    people = [
        document("user", "v2", name, {"roles": draw(held), "traits": draw(TRAITS)}) for name in ("ann", "bob")
    ]  # fmt: skip
    return [*draw(roles()), *people, *draw(LOCKS)]


ONLY: st.SearchStrategy[Document] = st.one_of(
    st.sampled_from(["r1", "r2"]).map(lambda role: {"roles": [role]}),
    st.just({"users": ["ann"]}),
    st.sampled_from([{"team": ["web"]}, {"team": ["dev"], "env": ["prod"]}]).map(lambda traits: {"traits": traits}),
    st.just({}),
)
MAY: st.SearchStrategy[Document] = st.builds(
    dict,
    logins=st.sampled_from([["root"], ["web", "root"], ["*"]]),
    labels=st.sampled_from(
        [
            {"env": "prod"},
            {"env": "prod"},
            {"env": ["prod", "x"], "team": "*"},
            {"*": "*"},
            {"team": "w*"},
            {"env": "^p.*$"},
        ]
    ),
)
ASSUME = merged(
    maybe("traits", st.sampled_from([{"team": ["dev"]}, {"team": ["web", "dev"], "env": ["pro"]}, {"team": []}])),
    maybe(
        "labels", st.sampled_from([{"env": ["dev", "prod"]}, {"team": ["web"]}, {"env": ["x"], "team": ["web", "dev"]}])
    ),
)
INVARIANTS = st.tuples(ONLY, MAY, ASSUME).map(
    lambda drawn: document(
        "access_invariant", "v1", "i", {"only": drawn[0], "may": drawn[1], "assume": drawn[2]}
    )
)  # fmt: skip
HOSTS = st.lists(
    st.dictionaries(st.sampled_from(["env", "team"]), st.sampled_from(["prod", "dev", "web", "x"])), max_size=2
)


@settings(max_examples=_MANY, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies(), INVARIANTS, HOSTS)
def test_what_is_proved_has_no_counterexample_and_every_example_is_real(
    documents: list[Document], invariant: Document, hosts: list[dict[str, str]]
) -> None:
    world = World(documents, invariant, hosts)
    declared = from_dict(invariant)
    assert isinstance(declared, AccessInvariant)
    fleet = Fleet("node", [Target("node", f"h{index}", f"uid-{index}", labels) for index, labels in enumerate(hosts)])

    proof = Prover(Everybody(policy(*map(from_dict, documents)), fleet, now=NOW)).prove(declared)

    if proof.answer == "proved":
        assert world.counterexample() is None
    for finding in proof.findings:
        assert (finding.witness is not None) == (finding.answer == "violated")
        if finding.witness is not None:
            assert world.real(_example(finding.witness)), finding.text


def _example(witness: Witness) -> Counterexample:
    traits = {name: list(values) for name, values in witness.traits.items()}
    spec = {"roles": list(witness.roles), "traits": traits}
    return Counterexample(document("user", "v2", witness.user or "zed", spec), witness.labels, witness.login)

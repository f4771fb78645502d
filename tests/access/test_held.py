"""How much everybody reaches together, and how much is lost, is what deciding every user, login and host adds up to."""

from hypothesis import given

from teleport.access.decide import AccessRequest, decide
from teleport.access.held import lost, pairs_held
from teleport.access.impact import impact
from tests.access.builders import NOW, identity
from tests.access.strategies import FLEETS, policies
from tests.access.test_impact import EDITED, MOVES, edits, logins, pair_by_pair, targets
from tests.access.test_oracle import Documents, Hosts, compiled


@given(policies(), FLEETS)
def test_all_that_is_held_is_the_sum_of_all_decisions(documents: Documents, hosts: Hosts) -> None:
    snapshot, fleet = compiled(documents), {one.uid: one for one in targets(hosts)}

    total = pairs_held(snapshot, targets(hosts), now=NOW)

    asked = [
        AccessRequest(identity(name, mfa_verified=True), one, login)
        for name in EDITED for login in logins(snapshot) for one in fleet.values()
    ]  # fmt: skip
    assert total == sum(decide(snapshot, one, now=NOW).allowed for one in asked)


@given(edits(), MOVES)
def test_what_is_lost_is_the_sum_of_what_everybody_loses(
    documents: tuple[Documents, Documents], moves: tuple[Hosts, Hosts]
) -> None:
    before, after = (compiled(one) for one in documents)

    found = lost(impact(before, after, (targets(moves[0]), targets(moves[1])), now=NOW))

    pairs = [pair for pair, (change, _) in pair_by_pair(before, after, moves).items() if change == "lost"]
    assert (found.people, found.pairs) == (frozenset(name for name, _, _ in pairs), len(pairs))

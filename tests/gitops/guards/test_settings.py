"""Which guards there are, as an organisation sets them."""

from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from teleport.gitops.guards.settings import GuardSettings, checks
from teleport.gitops.review import review
from teleport.resources.kinds import AnyResource
from tests.gitops.guards.proposals import ADMIN, proposed, role, user

CLUSTER = [role("ops", rules=ADMIN), user("ann", "ops"), *(user(f"u{one}", "access") for one in range(9))]


@dataclass(frozen=True)
class Lost:
    """Stands for a test that is no more."""

    resource: AnyResource
    what: str


def refusing(settings: GuardSettings, *, weakened: bool = False) -> set[str]:
    """The guards that refuse a source that falls silent."""
    promised = (lambda before, after: [Lost(CLUSTER[0], "it is deleted")]) if weakened else None
    return {one.guard for one in review(proposed(CLUSTER, []), checks(settings, weakened=promised)).violations}


def test_no_number_is_the_limit_until_somebody_sets_one() -> None:
    assert refusing(GuardSettings()) == {"administration", "emptied"}


def test_each_guard_can_be_set_and_disabled() -> None:
    assert refusing(GuardSettings(max_people=9)) == {"administration", "emptied", "people"}
    assert refusing(GuardSettings(max_people=10, disabled=("emptied",))) == {"administration"}
    assert refusing(GuardSettings(disabled=("administration", "emptied", "weakened")), weakened=True) == set()


def test_what_is_promised_is_guarded_where_somebody_can_tell() -> None:
    assert refusing(GuardSettings(), weakened=True) == {"administration", "emptied", "weakened"}


def test_a_guard_of_another_name_is_no_guard() -> None:
    with pytest.raises(ValidationError):
        GuardSettings.model_validate({"disabled": ["everything"]})


def test_a_change_of_nothing_is_not_looked_at() -> None:
    same = proposed(CLUSTER, CLUSTER)

    review(same, checks(GuardSettings(max_people=0, max_pairs_percent=0)))

    assert "snapshots" not in vars(same)

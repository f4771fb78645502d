"""What `kubectl get` and dashboards read of a verdict."""

from typing import Any

from teleport.api.models import ObjectVerdict
from teleport.service.operator.status import differs, status_of

NOW, LATER = "2027-01-01T00:00:00Z", "2027-01-01T00:01:00Z"
READY = ObjectVerdict(place="TeleportRoleV7/dev", state="Ready", reason="Applied", reach="4 people, 12 nodes")
BROKEN = ObjectVerdict(
    place="TeleportRoleV7/dev", state="Stalled", reason="Invalid", message="spec.dney: unknown field", valid=False
)


def manifest(status: Any = None) -> dict[str, Any]:
    return {"metadata": {"name": "dev", "generation": 3}, **({"status": status} if status else {})}


def told(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def test_what_is_in_force_is_ready_by_all_names() -> None:
    status = status_of(READY, manifest(), revision=7, now=NOW)

    assert told(status) == {
        "Ready": ("True", "Applied"), "Reconciling": ("False", "Settled"), "Stalled": ("False", "NotStalled"),
        "ValidStructure": ("True", "NoError"), "TeleportResourceOwned": ("True", "OriginLabelMatching"),
        "SuccessfullyReconciled": ("True", "NoError"),
    }  # fmt: skip
    assert (status["observedGeneration"], status["appliedRevision"], status["reach"]) == (3, 7, "4 people, 12 nodes")


def test_what_cannot_be_read_says_why_and_keeps_the_revision_that_is_in_force() -> None:
    before = status_of(READY, manifest(), revision=7, now=NOW)

    status = status_of(BROKEN, manifest(before), revision=9, now=LATER)

    assert told(status)["Stalled"] == ("True", "Invalid")
    assert told(status)["ValidStructure"] == ("False", "FailedToDecode")
    assert status["conditions"][0]["message"] == "spec.dney: unknown field"
    assert status["appliedRevision"] == 7


def test_a_condition_keeps_the_time_since_when_it_holds() -> None:
    before = status_of(READY, manifest(), revision=7, now=NOW)

    again = status_of(READY, manifest(before), revision=8, now=LATER)
    broken = status_of(BROKEN, manifest(before), revision=8, now=LATER)

    assert {one["lastTransitionTime"] for one in again["conditions"]} == {NOW}
    assert {one["type"]: one["lastTransitionTime"] for one in broken["conditions"]}["Ready"] == LATER


def test_the_same_again_is_nothing_new() -> None:
    status = status_of(READY, manifest(), revision=7, now=NOW)

    assert not differs(status_of(READY, manifest(status), revision=7, now=LATER), manifest(status))
    assert differs(status_of(BROKEN, manifest(status), revision=7, now=LATER), manifest(status))


def test_a_message_is_no_longer_than_the_schema_takes() -> None:
    long = BROKEN.model_copy(update={"message": "x" * 100_000})

    assert len(status_of(long, manifest(), revision=1, now=NOW)["conditions"][0]["message"]) == 32768


def test_a_later_revision_of_others_is_no_news_and_one_of_its_own_is() -> None:
    before = status_of(READY, manifest(), revision=7, now=NOW)

    others = status_of(READY, manifest(before), revision=9, now=LATER)
    own = status_of(READY, {"metadata": {"name": "dev", "generation": 4}, "status": before}, revision=9, now=LATER)

    assert not differs(others, manifest(before))
    assert own["appliedRevision"] == 9

"""Routes for emergency changes: what is shown of them to whom, taking the place of one, ending one."""

from typing import Any

import pytest

from teleport.api import models as m
from teleport.auth.emergency import EmergencyLimits
from teleport.core.errors import AccessDenied, BadInput, Conflict, NotFound
from tests.auth.cluster import Cluster, role, user

READER = "{resources: [policy], verbs: [read]}"
POLICY = (role("dev"), role("reader", rules=READER), user("ann"), user("bob", "reader"))
WIDER = role("dev", logins="root, postgres")


async def begin(cluster: Cluster, text: str = WIDER, **more: Any) -> m.EmergencyRow:
    """As root on the auth host."""
    given = {"reason": "a test", "ttl": 60.0, **more}
    row: m.EmergencyRow = await cluster.call(
        "begin_emergency", m.EmergencyRequest(file=m.PolicyFile(file="edited", text=text), **given)
    )
    return row


@pytest.fixture
async def permitting(cluster: Cluster) -> Cluster:
    cluster.auth.emergencies.limits = EmergencyLimits(enabled=True, longest=3600.0)
    await cluster.declare(*POLICY)
    return cluster


async def test_it_is_shown_as_drift_with_who_why_until_when_and_which_fields(permitting: Cluster) -> None:
    await begin(permitting)

    status: m.PolicyStatus = await permitting.call("policy_status")

    (row,) = status.emergencies
    assert (row.kind, row.name, row.actor, row.reason) == ("role", "dev", "root (uid 0)", "a test")
    assert (row.expires, row.fields) == (permitting.clock.time() + 60, ("spec.allow.logins",))
    assert (row.source, row.file) == ("folder", "policy.yaml")
    assert row.resource is None


async def test_the_audit_log_keeps_what_was_changed_and_over_which_declaration(permitting: Cluster) -> None:
    await begin(permitting)

    event = permitting.events("policy.break_glass")[-1]
    assert event["changes"] == [{"path": "spec.allow.logins", "old": ["root"], "new": ["root", "postgres"]}]
    assert (event["source"], event["file"], event["line"]) == ("folder", "policy.yaml", 1)


async def test_documents_are_for_those_who_may_read_the_resource(permitting: Cluster) -> None:
    await begin(permitting)

    whole: m.EmergencyChanges = await permitting.call("emergencies")
    for_bob: m.EmergencyChanges = await permitting.call("emergencies", None, permitting.user("bob"))

    assert whole.emergencies[0].beneath is not None
    assert whole.emergencies[0].resource is not None
    assert whole.emergencies[0].resource["spec"]["allow"]["logins"] == ["root", "postgres"]
    assert (for_bob.emergencies[0].resource, for_bob.emergencies[0].beneath) == (None, None)


async def test_a_second_one_takes_the_place_of_the_first_that_its_author_has_seen(permitting: Cluster) -> None:
    first = await begin(permitting)

    with pytest.raises(Conflict):
        await begin(permitting, role("dev", logins="admin"))
    second = await begin(permitting, role("dev", logins="admin"), replaces=first.id)

    assert [one.id for one in permitting.auth.policy.current.overlays] == [second.id]
    assert permitting.events("policy.break_glass")[-1]["replaces"] == first.id


async def test_over_a_declaration_that_was_read_before_it_changed_there_is_none(permitting: Cluster) -> None:
    revision = await permitting.auth.writer.revision_of("role", "dev")
    await permitting.declare(role("dev", logins="admin"), *POLICY[1:])

    with pytest.raises(Conflict, match="was changed since it was read"):
        await begin(permitting, expected_revision=revision)


async def test_what_is_declared_like_that_already_needs_no_emergency(permitting: Cluster) -> None:
    with pytest.raises(BadInput, match="declared just like that"):
        await begin(permitting, role("dev"))


async def test_it_is_ended_by_those_who_could_make_it_and_at_its_time_by_auth(permitting: Cluster) -> None:
    end = m.EmergencyEnd(kind="role", name="dev")
    await begin(permitting)

    with pytest.raises(AccessDenied):
        await permitting.call("end_emergency", end, permitting.user("bob"))
    await permitting.call("end_emergency", end)
    with pytest.raises(NotFound):
        await permitting.call("end_emergency", end)
    again = await begin(permitting)
    permitting.clock.advance(60)
    await permitting.auth.emergencies.clear()

    told = permitting.events("policy.break_glass.end")
    assert [(one["user"], one["reason"]) for one in told] == [
        ("root (uid 0)", "root (uid 0) ended it"), ("auth", "its time is over"),
    ]  # fmt: skip
    assert told[-1]["id"] == again.id


async def test_what_the_api_is_closed_for_can_be_changed_in_an_emergency_whoever_owns_it(tmp_path: Any) -> None:
    async with Cluster.open(tmp_path) as cluster:
        await cluster.apply(role("dev"))
    async with Cluster.open(tmp_path, closed=["role"]) as cluster:
        cluster.auth.emergencies.limits = EmergencyLimits(enabled=True, longest=3600.0)

        row = await begin(cluster)

        assert row.source == "api"
        assert cluster.auth.policy.current.roles["dev"].source.spec.allow.logins == ("root", "postgres")

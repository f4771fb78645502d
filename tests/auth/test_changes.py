"""A change of any kind of resource is told by an event."""

import pytest

from teleport.audit.events import Actor
from teleport.auth.changes import change_event
from teleport.resources.kinds import KINDS
from teleport.resources.load import load


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", ["create", "update", "delete"])
def test_every_change_of_every_kind_has_its_event(kind: str, action: str) -> None:
    (resource,) = load(KINDS[kind].example.encode(), file="example.yaml").resources

    event = change_event(action, resource, Actor("ann", 1), source="api")

    assert event.to_dict()["file"] == "example.yaml"

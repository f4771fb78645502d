"""Routes for operators: each feeds the sources of its token, and those of their namespaces."""

from dataclasses import dataclass, replace

import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.core.errors import AccessDenied, NotFound
from tests.auth.cluster import Cluster


@dataclass
class Fed:
    namespace: str

    async def feed(self, request: m.FeedRequest) -> m.FeedAnswer:
        return m.FeedAnswer(revision=len(request.source), objects=())


def operator(cluster: Cluster, *sources: str) -> Caller:
    caller = cluster.host("Operator")
    return Caller(replace(caller.known, allowed_resources=sources), caller.address)


@pytest.fixture
def fed(cluster: Cluster) -> Cluster:
    cluster.auth.surroundings.fed = {
        "ops": Fed("ops"), "team-b": Fed("team-b"), "teams": Fed("*"), "teams/c": Fed("c"),
    }  # fmt: skip
    return cluster


async def test_an_operator_sees_the_sources_of_its_token_and_their_namespaces(fed: Cluster) -> None:
    one = await fed.call("fed_sources", m.Empty(), operator(fed, "team-b"))
    all_of_them = await fed.call("fed_sources", m.Empty(), operator(fed, "teams", "gone"))

    assert [(found.name, found.namespace) for found in one.sources] == [("team-b", "team-b")]
    assert [(found.name, found.namespace) for found in all_of_them.sources] == [("teams", "*"), ("teams/c", "c")]


@pytest.mark.parametrize("source", ["ops", "teams", "teams/c", "team", "team-bb", "", "/team-b", "ops/team-b"])
async def test_an_operator_feeds_no_other_source(fed: Cluster, source: str) -> None:
    with pytest.raises(AccessDenied):
        await fed.call("feed", m.FeedRequest(source=source, manifests=()), operator(fed, "team-b"))


async def test_a_namespace_that_is_new_is_brought_to_the_source_of_all(fed: Cluster) -> None:
    answer = await fed.call("feed", m.FeedRequest(source="teams/new", manifests=()), operator(fed, "teams"))

    assert answer.revision == len("teams/new")


async def test_a_source_that_teleport_yaml_does_not_name_is_not_fed(fed: Cluster) -> None:
    with pytest.raises(NotFound):
        await fed.call("feed", m.FeedRequest(source="gone", manifests=()), operator(fed, "gone"))


async def test_whoever_is_no_operator_with_sources_feeds_none(fed: Cluster) -> None:
    caller = fed.host("Operator")

    assert (await fed.call("fed_sources", m.Empty(), caller)).sources == ()
    with pytest.raises(AccessDenied):
        await fed.call("feed", m.FeedRequest(source="team-b", manifests=()), caller)

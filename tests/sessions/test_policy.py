"""What services see of the policy and of the fleet, and when they hear of it."""

import json

from teleport.pki.authority import new_authority
from teleport.sessions.policy import policy_prefix
from tests.sessions.live import live
from tests.sessions.policies import CLUSTER, node, role, setting, user

NOW = 1_700_000_000.0


async def test_a_written_policy_is_compiled_and_told() -> None:
    async with live(role("dev")) as seen:
        heard: list[int] = []
        seen.policy.subscribe(lambda snapshot: heard.append(snapshot.revision))

        await seen.write(user("ann"))

        assert heard == [seen.policy.current.revision]
        assert set(seen.policy.current.users) == {"ann"}


async def test_what_cannot_be_read_is_known_to_be_missing() -> None:
    async with live(role("dev"), user("ann")) as seen:
        newer = {"resource": {"kind": "role", "version": "v99", "metadata": {"name": "dev"}}}

        await seen._commit({policy_prefix("role") + "dev": json.dumps(newer).encode()})

        assert "role/dev" in seen.policy.current.unreadable
        ann = seen.policy.current.user("ann")
        assert ann is not None
        assert ann.unreadable == ("dev",)


async def test_an_unreadable_setting_blinds_everybody() -> None:
    async with live() as seen:
        await seen._commit({policy_prefix("lock") + "freeze": b"{not json"})

        assert seen.policy.current.blind == ("lock/freeze",)


async def test_the_authorities_are_those_of_the_store() -> None:
    async with live() as seen:
        authority = new_authority("user", CLUSTER, now=NOW).public

        await seen.trust(authority)

        assert seen.policy.authorities == (authority,)


async def test_a_reporting_host_is_in_the_fleet_until_it_vanishes() -> None:
    async with live() as seen:
        await seen.report(node("db-1", uid="h-1", env="prod"))
        found = seen.fleet.fleet.get("h-1")
        assert found is not None
        assert (found.name, dict(found.labels)) == ("db-1", {"env": "prod"})

        await seen.vanish("h-1")

        assert seen.fleet.fleet.get("h-1") is None


async def test_a_declared_hosts_labels_win_over_what_the_host_says_of_itself() -> None:
    async with live(node("db-1", env="prod")) as seen:
        await seen.report(node("db-1", uid="h-1", env="test", rack="7"))

        found = seen.fleet.fleet.get("h-1")
        assert found is not None
        assert dict(found.labels) == {"env": "prod", "rack": "7"}


async def test_who_judges_by_the_fleet_hears_after_it_has_followed_an_edit() -> None:
    async with live(node("db-1", env="prod")) as seen:
        await seen.report(node("db-1", uid="h-1"))
        heard: list[str] = []

        def look() -> None:
            found = seen.fleet.fleet.get("h-1")
            heard.append(found.labels["env"] if found is not None else "gone")

        stop = seen.fleet.subscribe(look)
        await seen.write(node("db-1", env="test"))
        await seen.report(node("db-1", uid="h-1", env="ignored"))
        await seen.write(setting("cluster_networking_config", client_idle_timeout="5m"))
        await seen.vanish("h-1")
        stop()
        await seen.report(node("db-1", uid="h-1"))

        assert heard == ["test", "gone"]

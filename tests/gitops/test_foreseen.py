"""What a change gives that nobody could use yet, because the hosts, services or people for it are still to come."""

from typing import Any

import pytest

from teleport.access.snapshot import Snapshot
from teleport.gitops.foreseen import foreseen, plainly
from teleport.gitops.order import Ref
from teleport.resources.kinds import AnyResource
from tests.access.builders import from_yaml, host, policy, resource, role, rule, user

HOSTS = (host("web-1", env="dev"),)
ANN = user("ann", ["dev"])


def objects(*resources: AnyResource) -> dict[Ref, AnyResource]:
    return {(one.kind, one.name): one for one in resources}


def gainers(before: list[AnyResource], after: list[AnyResource]) -> list[str]:
    snapshots: tuple[Snapshot, Snapshot] = (policy(*before), policy(*after))
    return list(foreseen(snapshots, (objects(*before), objects(*after)), {one.name for one in HOSTS}))


def dev(*logins: str, env: Any = "dev", deny: Any = None, options: Any = None, **allow: Any) -> AnyResource:
    sides = {"deny": deny} if deny is not None else {}
    return role("dev", allow={**rule(*logins, env=env), **allow}, options=options, **sides)


LATER = role("later", allow=rule("root", env="prod"))


def trusting(remote: str, *local: str, pin: str = "0", enabled: bool = True) -> AnyResource:
    spec = {
        "enabled": enabled, "web_proxy_addr": "acme.example:443", "ca_pin": [f"sha256:{pin * 64}"],
        "role_map": [{"remote": remote, "local": list(local)}],
    }  # fmt: skip
    return resource("trusted_cluster", "acme", spec, version="v2")


def node(name: str, env: str) -> AnyResource:
    """A declared host with an agent; it may not be there yet."""
    text = f"kind: node\nversion: v2\nmetadata: {{name: {name}, labels: {{env: {env}}}}}\nspec: {{hostname: {name}}}\n"
    return from_yaml(text)[0]


def token(**spec: Any) -> AnyResource:
    allow = {"allow": [{"service_account": "a:b"}], "type": "in_cluster"}
    return resource(
        "token", "fleet", {"roles": ["Node"], "join_method": "kubernetes", "kubernetes": allow, **spec}, version="v2"
    )


@pytest.mark.parametrize(
    ("before", "after", "whom"),
    [
        ([dev("root"), ANN], [dev("root", env=["dev", "prod"]), ANN], "ann"),
        ([dev("root", env="prod"), ANN], [dev("root", "ann", env="prod"), ANN], "ann"),
        ([dev("root", env="prod", deny=rule(env="prod")), ANN], [dev("root", env="prod"), ANN], "ann"),
        ([dev("root"), LATER, ANN], [dev("root"), LATER, user("ann", ["dev", "later"])], "ann"),
        ([dev("root")], [dev("root"), LATER], "whoever holds role/later"),
        ([dev("{{internal.logins}}", env="prod"), ANN],
         [dev("{{internal.logins}}", env="prod"), user("ann", ["dev"], logins=["root"])], "ann"),
        ([dev("root", env="prod", deny=rule("{{internal.never}}")), user("ann", ["dev"], never=["root"])],
         [dev("root", env="prod", deny=rule("{{internal.never}}")), user("ann", ["dev"])], "ann"),
        ([dev("root", env="prod", options={"require_session_mfa": "yes"}), ANN], [dev("root", env="prod"), ANN], "ann"),
        ([dev("root", env="prod", options={"max_session_ttl": "1h"}), ANN], [dev("root", env="prod"), ANN], "ann"),
        ([dev("root"), LATER, trusting("sre")], [dev("root"), LATER, trusting("sre", "later")],
         "whoever holds sre of acme"),
        ([dev("root"), trusting("sre", "dev")], [dev("root"), trusting("sre", "dev", pin="1")],
         "whoever comes from acme"),
        ([dev("root"), trusting("sre", "dev", enabled=False)], [dev("root"), trusting("sre", "dev")],
         "whoever holds sre of acme"),
        ([dev("root"), ANN, node("db-9", env="prod")], [dev("root"), ANN, node("db-9", env="dev")],
         "whoever may reach hosts like db-9"),
        ([dev("root"), ANN, node("db-9", env="prod")], [dev("root"), ANN], "whoever may reach hosts like db-9"),
        ([], [token()], "what joins with token/fl…"),
        ([token()], [token(roles=["Node", "Proxy"])], "what joins with token/fl…"),
    ],
    ids=["labels of no host yet", "a login where no host is yet", "a deny less where no host is yet",
         "a role for no host yet", "a new role for no host yet", "a trait for no host yet", "a trait less in a deny",
         "a milder option where no host is yet", "a longer certificate where no host is yet",
         "a role map for no host yet", "another cluster by the same name", "a cluster switched on",
         "other labels of a host to come", "a host to come that gives its own labels", "a token", "a wider token"],
)  # fmt: skip
def test_what_gives_somebody_more_one_day(before: list[AnyResource], after: list[AnyResource], whom: str) -> None:
    assert whom in gainers(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([dev("root"), ANN], [dev("root"), ANN]),
        ([dev("root", "ann"), ANN], [dev("root"), ANN]),
        ([dev("root", env=["dev", "prod"]), ANN], [dev("root"), ANN]),
        ([dev("root"), ANN], [dev("root", deny=rule("root")), ANN]),
        ([dev("root"), LATER, user("ann", ["dev", "later"])], [dev("root"), LATER, ANN]),
        ([dev("{{internal.logins}}"), user("ann", ["dev"], logins=["root"])], [dev("{{internal.logins}}"), ANN]),
        ([dev("root"), ANN], [dev("root")]),
        ([dev("root"), ANN], [dev("root", options={"require_session_mfa": "yes"}), ANN]),
        ([dev("root"), trusting("sre", "dev")], [dev("root"), trusting("sre")]),
        ([dev("root"), trusting("sre", "dev")], [dev("root"), trusting("sre", "dev", enabled=False)]),
        ([dev("root"), ANN, node("web-1", env="prod")], [dev("root"), ANN, node("web-1", env="dev")]),
        ([token()], []),
        ([dev("root"), ANN], [dev("root"), ANN, role("empty")]),
    ],
    ids=["nothing", "a login less", "labels less", "a deny more", "a role less", "a trait less", "a user less", "mfa",
         "a role map less", "a cluster switched off", "a host that is there, which others look at", "a token less",
         "a role that gives nothing"],
)  # fmt: skip
def test_what_gives_nobody_more_whatever_comes(before: list[AnyResource], after: list[AnyResource]) -> None:
    assert gainers(before, after) == []


@pytest.mark.parametrize("new", [LATER, token(), user("bob", ["later"])], ids=["a role", "a token", "a user"])
def test_what_a_new_object_plainly_gives_is_what_is_foreseen_of_it(new: AnyResource) -> None:
    (gainer,) = plainly(new)

    assert gainer in gainers([] if new is LATER else [LATER], [new] if new is LATER else [LATER, new])


@pytest.mark.parametrize("new", [role("empty"), user("bob", [])], ids=["a role", "a user"])
def test_what_gives_nothing_plainly_gives_nothing(new: AnyResource) -> None:
    assert plainly(new) == ()

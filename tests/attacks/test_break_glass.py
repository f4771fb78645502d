"""Attempts to gain by an emergency change what it is not for, and to make one last."""

import contextlib
import json
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyotp
import pytest

from teleport.access.overlays import Overlay, fingerprint
from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth import keys
from teleport.auth.emergency import EmergencyLimits
from teleport.core.errors import (
    AccessDenied,
    BadInput,
    Conflict,
    Invalid,
    NotFound,
    Refused,
    TeleportError,
    Unauthenticated,
)
from teleport.core.identity import Identity
from teleport.gitops.ceiling import Ceiling
from teleport.gitops.ceiling_check import within_ceilings
from teleport.resources.load import load
from teleport.store.sqlite import DATABASE
from tests.auth.cluster import Cluster, role, user
from tests.builders import FakeClock

VERB = '{resources: ["role", "user", "node", "lock", "token", "cluster_auth_preference"], verbs: [break_glass]}'
EDITOR = '{resources: ["*"], verbs: ["*"]}'
POLICY = (
    role("dev"), role("dba", logins="postgres"), role("oncall", rules=VERB), role("admin", rules=EDITOR),
    user("ann", "dev, oncall"), user("bob", "dev"), user("eve", "dev, admin"),
)  # fmt: skip
WIDER = role("dev", logins="root, postgres")


class Emergency:
    """A cluster that permits emergency changes of an hour, and Ann, who may make them."""

    def __init__(self, cluster: Cluster, totp: pyotp.TOTP) -> None:
        self.cluster, self.totp = cluster, totp

    async def begin(self, text: str = WIDER, caller: Caller | None = None, **more: Any) -> m.EmergencyRow:
        """As Ann unless it is somebody else, with a code that was not used yet unless it is given."""
        if "code" not in more and caller != self.cluster.admin:
            self.cluster.clock.advance(30)
            more["code"] = self.cluster.code(self.totp)
        given = {"reason": "the database is down", "ttl": 600.0, **more}
        request = m.EmergencyRequest(file=m.PolicyFile(file="edited", text=text), **given)
        row: m.EmergencyRow = await self.cluster.call("begin_emergency", request, caller or self.cluster.user("ann"))
        return row

    def logins(self, name: str = "dev") -> list[str]:
        """What a role allows in the policy in force."""
        return list(self.cluster.auth.policy.current.roles[name].source.spec.allow.logins)

    async def refused(self, error: type[TeleportError], match: str, text: str = WIDER, **more: Any) -> None:
        """It is refused, and nothing has changed."""
        with pytest.raises(error, match=match):
            await self.begin(text, **more)
        assert self.cluster.auth.policy.current.overlays == ()


@pytest.fixture
async def emergency(cluster: Cluster) -> Emergency:
    cluster.auth.emergencies.limits = EmergencyLimits(enabled=True, longest=3600.0)
    await cluster.declare(*POLICY)
    return Emergency(cluster, await cluster.enrol("ann"))


# -- who


async def test_it_takes_the_verb_by_its_name_and_a_star_is_not_enough(emergency: Emergency) -> None:
    for name in ("bob", "eve"):
        await emergency.refused(
            AccessDenied, f"{name} may not break_glass role/dev", caller=emergency.cluster.user(name)
        )

    told = emergency.cluster.events("policy.break_glass")

    assert [(one["user"], one["success"], one["code"]) for one in told] == [
        ("bob", False, "TPY05W"),
        ("eve", False, "TPY05W"),
    ]


async def test_a_rule_that_denies_every_verb_denies_this_one_too(emergency: Emergency) -> None:
    denied = role("barred", deny=f"rules: [{EDITOR}]")
    await emergency.cluster.declare(*POLICY[:4], denied, user("ann", "dev, oncall, barred"))

    await emergency.refused(AccessDenied, "may not break_glass")


async def test_without_a_code_of_now_there_is_none(emergency: Emergency) -> None:
    old = emergency.cluster.code(emergency.totp)
    emergency.cluster.clock.advance(300)

    await emergency.refused(AccessDenied, "needs a fresh code", code="")
    await emergency.refused(Unauthenticated, "the code is wrong", code=old)
    await emergency.refused(Unauthenticated, "the code is wrong", code="000000")


async def test_a_request_that_is_repeated_does_nothing(emergency: Emergency) -> None:
    emergency.cluster.clock.advance(30)
    code = emergency.cluster.code(emergency.totp)
    row = await emergency.begin(code=code)

    with pytest.raises(Unauthenticated):
        await emergency.begin(code=code, replaces=row.id)
    with pytest.raises(Conflict):
        await emergency.begin()

    assert [one.id for one in emergency.cluster.auth.policy.current.overlays] == [row.id]


async def test_a_request_that_comes_again_after_the_end_does_nothing(emergency: Emergency) -> None:
    emergency.cluster.clock.advance(30)
    code = emergency.cluster.code(emergency.totp)
    await emergency.begin(code=code)
    await emergency.cluster.call(
        "end_emergency", m.EmergencyEnd(kind="role", name="dev"), emergency.cluster.user("ann")
    )

    await emergency.refused(Unauthenticated, "was used already", code=code)


async def test_a_certificate_for_one_session_or_for_other_roles_makes_none(emergency: Emergency) -> None:
    cluster = emergency.cluster

    await emergency.refused(AccessDenied, "may not", caller=cluster.user("ann", reissuable=False))
    await emergency.refused(AccessDenied, "may not", caller=cluster.user("ann", requested_roles=("dev",)))


async def test_who_is_mapped_to_a_role_at_the_socket_has_no_second_factor_and_is_refused(emergency: Emergency) -> None:
    mapped = Caller(
        Identity("admin", "joe (uid 7)", "local:7", "acme", requested_roles=("oncall",), local_uid=7), "local"
    )

    await emergency.refused(AccessDenied, "needs a second factor, and nobody can show one at the socket", caller=mapped)


async def test_root_on_the_auth_host_is_believed_and_written_down(emergency: Emergency) -> None:
    await emergency.begin(caller=emergency.cluster.admin, code="")

    (told,) = emergency.cluster.events("policy.break_glass")

    assert (told["user"], told["with_mfa"], told["success"]) == ("root (uid 0)", False, True)


async def test_it_is_below_the_ceiling_of_the_source_that_declares_it(tmp_path: Path) -> None:
    nouns = ("role", "user", "node", "lock", "token", "cluster_auth_preference")
    ceiling = Ceiling(
        owns={"role": ("*",), "user": ("*",)}, logins=("app", "postgres"), node_labels={"*": ("*",)},
        options=("port_forwarding",), rules=tuple((noun, ("break_glass",)) for noun in nouns),
    )  # fmt: skip
    async with Cluster.open(tmp_path, checks=[within_ceilings({"folder": ceiling}.get)]) as cluster:
        cluster.auth.emergencies.limits = EmergencyLimits(enabled=True, longest=3600.0)
        await cluster.declare(
            role("dev", logins="app"), role("oncall", logins="app", rules=VERB), user("ann", "oncall")
        )
        emergency = Emergency(cluster, await cluster.enrol("ann"))

        await emergency.refused(Invalid, "refused by the guard ceiling: role/dev allows the login root", role("dev"))
        await emergency.begin(role("dev", logins="app, postgres"))

        assert emergency.logins() == ["app", "postgres"]


# -- how long


@pytest.mark.parametrize("ttl", [3601.0, 86400.0, 0.5])
async def test_it_lasts_no_longer_than_the_configuration_permits(emergency: Emergency, ttl: float) -> None:
    await emergency.refused(Refused, "lasts from 1s to 1h", ttl=ttl)


async def test_where_the_configuration_says_nothing_there_is_none(emergency: Emergency) -> None:
    emergency.cluster.auth.emergencies.limits = EmergencyLimits()

    await emergency.refused(Refused, "permits no emergency changes", caller=emergency.cluster.admin)


async def test_a_clock_that_is_put_back_prolongs_nothing(emergency: Emergency) -> None:
    await emergency.begin(ttl=600)
    emergency.cluster.clock.advance(30)
    emergency.cluster.clock.jump(-50)
    assert emergency.logins() == ["root", "postgres"]

    emergency.cluster.clock.advance(570)

    assert emergency.logins() == ["root"]


async def test_a_clock_that_is_put_back_before_its_beginning_ends_it(tmp_path: Path) -> None:
    async with Cluster.open(tmp_path) as cluster:
        emergency = Emergency(cluster, pyotp.TOTP(pyotp.random_base32()))
        cluster.auth.emergencies.limits = EmergencyLimits(enabled=True, longest=3600.0)
        await cluster.declare(*POLICY)
        await emergency.begin(caller=cluster.admin)

    async with Cluster.open(tmp_path, FakeClock(1_600_000_000.0)) as cluster:
        assert Emergency(cluster, pyotp.TOTP(pyotp.random_base32())).logins() == ["root"]
        await cluster.auth.emergencies.clear()
        assert (
            cluster.events("policy.break_glass.end")[-1]["reason"]
            == "it is of a time that is yet to come: a clock was put back"
        )


async def test_one_that_ended_is_not_revived_by_a_clock_that_is_put_back(emergency: Emergency) -> None:
    await emergency.begin(ttl=100)
    emergency.cluster.clock.advance(101)
    await emergency.cluster.auth.emergencies.clear()

    emergency.cluster.clock.jump(-50)

    assert emergency.logins() == ["root"]
    assert await emergency.cluster.auth.store.get(keys.overlay("role", "dev")) is None


# -- what


async def test_roles_with_rules_are_out_of_reach_before_and_after(emergency: Emergency) -> None:
    await emergency.refused(Refused, "role/oncall has rules", role("oncall"))
    await emergency.refused(Refused, "role/admin has rules", role("admin", rules=VERB))
    await emergency.refused(Refused, "role/dev would have rules", role("dev", rules=VERB))
    await emergency.refused(Refused, "role/dev would have rules", role("dev", deny=f"rules: [{EDITOR}]"))


@pytest.mark.parametrize(
    "part",
    ["impersonate: {users: [eve], roles: [admin]}", "request: {roles: [admin]}", "review_requests: {roles: ['*']}"],
)
async def test_nobody_comes_to_act_for_others(emergency: Emergency, part: str) -> None:
    text = role("dev").replace("logins: [root]", f"logins: [root], {part}")

    await emergency.refused(Refused, f"allow.{part.partition(':')[0]} of role/dev is about acting for others", text)


async def test_nobody_is_given_a_role_with_rules_or_relieved_of_one(emergency: Emergency) -> None:
    for text in (
        user("ann", "dev, oncall, admin"),
        user("bob", "dev, oncall"),
        user("bob", "dev, editor"),
        user("ann", "dev"),
    ):
        await emergency.refused(Refused, "has rules, and no emergency gives or takes it", text)


async def test_a_role_without_rules_can_be_given(emergency: Emergency) -> None:
    await emergency.begin(user("ann", "dev, oncall, dba"))

    assert emergency.cluster.auth.policy.current.users["ann"].spec.roles == ("dev", "oncall", "dba")


async def test_a_role_that_comes_to_have_rules_takes_those_away_who_were_given_it(emergency: Emergency) -> None:
    await emergency.begin(user("bob", "dev, dba"))

    await emergency.cluster.declare(*POLICY[:1], role("dba", rules=EDITOR), *POLICY[2:])

    assert emergency.cluster.auth.policy.current.users["bob"].spec.roles == ("dev",)


async def test_traits_that_rules_ask_for_stay_as_they_are(emergency: Emergency) -> None:
    rule = '{resources: [role], verbs: [update], where: \'contains(user.spec.traits["team"], "web")\'}'
    await emergency.cluster.declare(
        *POLICY[:4], role("lead", rules=rule), user("ann", "dev, oncall"), user("bob", "lead")
    )

    await emergency.refused(
        Refused, "the rules of role/lead depend on traits of user/bob", user("bob", "lead", traits="team: [web]")
    )


@pytest.mark.parametrize(
    "text",
    [
        "{kind: cluster_auth_preference, version: v2, metadata: {name: cluster-auth-preference}, spec: {}}",
        "{kind: token, version: v2, metadata: {name: a-long-enough-token}, spec: {roles: [Node], join_method: token}}",
    ],
)  # fmt: skip
async def test_how_people_log_in_and_services_join_is_out_of_reach(emergency: Emergency, text: str) -> None:
    await emergency.refused(Refused, "cannot be changed in an emergency", text)


async def test_what_is_not_declared_cannot_be_made_up(emergency: Emergency) -> None:
    await emergency.refused(NotFound, "role/root-everywhere is not declared", role("root-everywhere"))
    await emergency.refused(NotFound, "role/editor is not declared", role("editor"))


async def test_what_belongs_to_no_source_is_changed_as_usual(emergency: Emergency) -> None:
    await emergency.cluster.apply(role("made"))

    await emergency.refused(Refused, "role/made belongs to no source", role("made", logins="postgres"))


async def test_a_policy_that_does_not_hold_together_is_refused_also_then(emergency: Emergency) -> None:
    await emergency.refused(
        Invalid, "regular expression|pattern|label", role("dev").replace('"*": "*"', 'env: "^a|b$"')
    )


async def test_a_file_of_several_resources_or_of_none_is_refused(emergency: Emergency) -> None:
    await emergency.refused(BadInput, "of one resource", f"{WIDER}---\n{role('dba')}")
    await emergency.refused(BadInput, "of one resource", "")


async def test_an_enormous_one_is_refused(emergency: Emergency) -> None:
    many = ", ".join(f"login{number:06d}" for number in range(20_000))

    await emergency.refused(BadInput, "too large for an emergency change", role("dev", logins=many))


async def test_there_are_only_so_many_at_a_time(emergency: Emergency) -> None:
    names = [f"u{number}" for number in range(51)]
    await emergency.cluster.declare(*POLICY, *(user(name) for name in names))
    for name in names[:50]:
        await emergency.begin(user(name, "dev, dba"), caller=emergency.cluster.admin, code="")

    with pytest.raises(Refused, match="50 emergency changes are in force already"):
        await emergency.begin(user(names[50], "dev, dba"), caller=emergency.cluster.admin, code="")


# -- past the auth service


def forged(text: str, base: str, now: float, *, lasts: float = 600.0) -> bytes:
    (resource,) = load(text.encode(), file="forged").resources
    overlay = Overlay(
        id="forged", kind=resource.kind, name=resource.name, base=base, actor="ann", reason="none", since=now,
        expires=now + lasts, fields=("spec",), resource=resource,
    )  # fmt: skip
    return overlay.encode()


@pytest.fixture
async def base(emergency: Emergency) -> str:
    return fingerprint((await emergency.cluster.auth.writer.stored())[1]["role", "dev"].resource)


async def write(cluster: Cluster, key: str, body: bytes) -> None:
    await cluster.auth.policy.wait_for(await cluster.auth.store.put(key, body))


async def test_one_that_was_written_into_the_store_is_removed_and_told_of(emergency: Emergency, base: str) -> None:
    cluster, key = emergency.cluster, keys.overlay("role", "dev")
    await write(cluster, key, forged(WIDER, base, cluster.clock.time()))

    await cluster.auth.emergencies.clear()

    assert emergency.logins() == ["root"]
    assert cluster.events("policy.break_glass.end")[-1]["reason"] == "it was written past the auth service"


async def test_one_that_was_altered_in_the_store_is_removed(emergency: Emergency, base: str) -> None:
    cluster, key = emergency.cluster, keys.overlay("role", "dev")
    row = await emergency.begin(ttl=60)
    body = json.loads(forged(WIDER, base, cluster.clock.time(), lasts=3600.0)) | {"id": row.id}
    await write(cluster, key, json.dumps(body).encode())

    await cluster.auth.emergencies.clear()

    assert emergency.logins() == ["root"]


async def test_a_witness_that_was_forged_without_the_key_is_none(emergency: Emergency, base: str) -> None:
    cluster = emergency.cluster
    body = forged(WIDER, base, cluster.clock.time())
    with contextlib.closing(sqlite3.connect(cluster.directory / DATABASE, timeout=10)) as db, db:
        forgery = (keys.overlay_witness("role", "dev"), sha256(body).hexdigest().encode())
        db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, 1, NULL)", forgery)
    await write(cluster, keys.overlay("role", "dev"), body)

    await cluster.auth.emergencies.clear()

    assert emergency.logins() == ["root"]


@pytest.mark.parametrize(
    ("text", "lasts"), [(role("dev", rules=EDITOR), 600.0), (WIDER, 90_000.0), (WIDER, float("1e300"))]
)  # fmt: skip
async def test_not_even_the_store_gives_rules_or_days(emergency: Emergency, base: str, text: str, lasts: float) -> None:
    """Services judge what they follow by themselves: none of this counts for a moment."""
    cluster = emergency.cluster
    seen: list[int] = []
    cluster.auth.policy.subscribe(lambda snapshot: seen.append(len(snapshot.overlays)))

    await write(cluster, keys.overlay("role", "dev"), forged(text, base, cluster.clock.time(), lasts=lasts))

    assert seen
    assert not any(seen)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'"x"', b"{not json", b'{"kind": "role", "name": "dev"}', b"\xff\xfe"]
)
async def test_nonsense_in_the_store_changes_nothing_and_is_removed(emergency: Emergency, body: bytes) -> None:
    cluster, key = emergency.cluster, keys.overlay("role", "dev")
    await write(cluster, key, body)

    await cluster.auth.emergencies.clear()

    assert emergency.logins() == ["root"]
    assert await cluster.auth.store.get(key) is None


# -- what becomes of it when the declaration changes


async def test_one_over_what_is_deleted_meanwhile_goes_with_it(emergency: Emergency) -> None:
    await emergency.begin(user("bob", "dev, dba"))

    await emergency.cluster.declare(*POLICY[:5], POLICY[6])

    assert "bob" not in emergency.cluster.auth.policy.current.users
    assert emergency.cluster.auth.policy.overlays == ()


async def test_what_is_deleted_and_declared_again_is_not_laid_over(emergency: Emergency) -> None:
    await emergency.begin(user("bob", "dev, dba"))
    record = await emergency.cluster.auth.store.get(keys.overlay("user", "bob"))
    assert record is not None
    await emergency.cluster.declare(*POLICY[:5], POLICY[6])
    await emergency.cluster.declare(*POLICY)

    await write(emergency.cluster, record.key, record.value)

    assert emergency.cluster.auth.policy.current.users["bob"].spec.roles == ("dev",)


async def test_a_commit_that_takes_a_right_away_is_obeyed_at_once(emergency: Emergency) -> None:
    await emergency.begin()

    await emergency.cluster.declare(role("dev", logins="nobody"), *POLICY[1:])

    assert emergency.logins() == ["nobody"]
    told = emergency.cluster.events("policy.break_glass.end")[-1]
    assert (told["name"], told["reason"], told["begun_by"]) == (
        "role/dev",
        "role/dev was changed by source folder",
        "ann",
    )

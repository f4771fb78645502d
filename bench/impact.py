"""What a change of policy comes to for everybody, at scale, against deciding pair by pair on a sample."""

import gc
import random
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.rows import Row
from teleport.access.decide import AccessRequest, decide
from teleport.access.groups import grouped
from teleport.access.impact import impact
from teleport.access.snapshot import Snapshot, compile_snapshot
from teleport.access.target import Target
from teleport.core.identity import Identity
from teleport.resources.codec import from_dict
from teleport.resources.kinds import AnyResource
from teleport.resources.load import collection_paused

USERS, HOSTS, ROLES, LOGINS, TEAMS = 10_000, 100_000, 500, 20, 100
NOW = 1_800_000_000.0
SAMPLE = 2_000


@dataclass
class Tables:
    resources: tuple[Any, ...]
    revision: int = 1
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> Mapping[str, Any]:
        return {one.name: one for one in self.resources if one.kind == kind}


def role(number: int, *, edited: bool = False) -> AnyResource:
    """One of several ways in which roles are written: by labels, traits, patterns and expressions; some deny."""
    chance = random.Random(number)
    logins = [f"svc-{chance.randrange(LOGINS - 3)}" for _ in range(3)] + (
        ["{{internal.logins}}"] if number % 3 == 0 else []
    )
    team = "{{internal.team}}" if number % 4 == 0 else f"team-{number % TEAMS}"
    env = chance.choice(["dev", "staging", ["dev", "staging"], "prod", "*"])
    allow: dict[str, Any] = {"logins": logins, "node_labels": {"env": env, "team": team}}
    if number % 10 == 1:
        allow = {"logins": logins, "node_labels": {"team": f"team-{number % 9}*", "tier": "^(web|db)$"}}
    if number % 25 == 2:
        expression = 'labels["env"] != "prod" && contains(user.spec.traits["team"], labels["team"])'
        allow = {"logins": logins, "node_labels_expression": expression}
    if edited:
        allow["logins"] = [*logins, "root"]
    spec: dict[str, Any] = {"allow": allow, "options": {"max_session_ttl": f"{4 + number % 5}h"}}
    if number % 20 == 3:
        spec["deny"] = {"node_labels": {"frozen": "yes"}}
    if number % 7 == 0:
        spec["options"]["require_session_mfa"] = "yes"
    return from_dict({"kind": "role", "version": "v7", "metadata": {"name": f"role-{number}"}, "spec": spec})


def user(number: int) -> AnyResource:
    chance = random.Random(number)
    team = number % TEAMS
    roles = [f"role-{(team * 5 + one) % ROLES}" for one in range(3)] + [
        f"role-{chance.randrange(ROLES)}" for _ in range(2)
    ]
    spec = {"roles": roles, "traits": {"logins": [f"u{number}"], "team": [f"team-{team}"]}}
    return from_dict({"kind": "user", "version": "v2", "metadata": {"name": f"u{number}"}, "spec": spec})


def hosts() -> list[Target]:
    chance = random.Random(1)
    return [
        Target("node", f"n{one}", f"uid-{one}", {
            "env": chance.choice(["dev", "staging", "prod"]), "team": f"team-{chance.randrange(TEAMS)}",
            "tier": chance.choice(["web", "db", "batch", "edge"]), "id": f"i-{one}",
            **({"frozen": "yes"} if one % 50 == 0 else {}),
        })
        for one in range(HOSTS)
    ]  # fmt: skip


def compiled(resources: list[AnyResource], previous: Snapshot | None = None) -> Snapshot:
    return compile_snapshot(Tables(tuple(resources)), previous=previous)


def timed(before: Snapshot, after: Snapshot, fleet: tuple[list[Target], list[Target]]) -> tuple[float, int]:
    """Seconds of one core for the index and the whole impact, grouped; and the users, logins and hosts that change."""
    gc.collect()
    gc.freeze()
    with collection_paused():  # as `tctl policy plan` does
        started = time.process_time()
        _, totals = grouped(impact(before, after, fleet, now=NOW))
        return time.process_time() - started, sum(one.pairs for one in totals.values())


def measure() -> list[Row]:
    people = [user(number) for number in range(USERS)]
    roles = [role(number) for number in range(ROLES)]
    fleet = hosts()
    before = compiled([*roles, *people])
    every = compiled([*(role(number, edited=True) for number in range(ROLES)), *people], before)
    one = compiled([*roles[:100], role(100, edited=True), *roles[101:], *people], before)
    moved = [replace(fleet[0], labels={**fleet[0].labels, "env": "prod", "team": "team-1"}), *fleet[1:]]
    rows = []
    pair_by_pair = _sampled(before, every, fleet) * USERS * HOSTS * LOGINS / SAMPLE
    for what, after, will, goal in (
        ("every role edited", every, fleet, "≤ 5 s"),
        ("everything from nothing", before, fleet, "≤ 5 s"),
        ("one role edited", one, fleet, "≤ 1 s"),
        ("one host's labels edited", before, moved, "≤ 1 s"),
    ):
        start = compiled([]) if "nothing" in what else before
        seconds, pairs = timed(start, after, (fleet, will))
        rows.append(Row(f"impact, {what} ({pairs:,} changes)", seconds, "pair by pair", pair_by_pair, "s", goal))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [*rows, Row("impact: memory at most", peak, "", 0.0, "MB", "≤ 2,000 MB")]


def _sampled(before: Snapshot, after: Snapshot, fleet: list[Target]) -> float:
    """Seconds to decide a sample of users, logins and hosts before and after."""
    chance = random.Random(2)
    asked = [
        AccessRequest(
            Identity("user", f"u{chance.randrange(USERS)}", "", "acme", mfa_verified=True), chance.choice(fleet),
            chance.choice(["root", *(f"svc-{one}" for one in range(LOGINS - 3))]),
        )
        for _ in range(SAMPLE)
    ]  # fmt: skip
    started = time.process_time()
    for request in asked:
        for snapshot in (before, after):
            decide(snapshot, request, now=NOW)
    return time.process_time() - started


if __name__ == "__main__":
    from bench.rows import show

    sys.stdout.write(show(measure()))

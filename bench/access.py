"""Deciding for a fleet at once, against deciding one by one; and loading a big policy."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.rows import Row, best_of
from teleport.access.decide import AccessRequest, Target, decide
from teleport.access.reach import Fleet, reach
from teleport.access.snapshot import compile_snapshot
from teleport.core.identity import Identity
from teleport.resources.load import Loader, load

ROLE = """\
---
kind: role
version: v7
metadata: {name: role-%d}
spec:
  allow:
    logins: [deploy, "{{internal.logins}}", app, batch, ops]
    node_labels: {env: [dev, staging], team: 'team-%d*'}
  deny:
    node_labels: {frozen: 'yes'}
"""
USER = "---\nkind: user\nversion: v2\nmetadata: {name: ann}\nspec: {roles: [%s], traits: {logins: [ann]}}\n"
LOGINS = ("root", "deploy", "app", "batch", "ann")


@dataclass
class Tables:
    resources: tuple[Any, ...]
    revision: int = 1
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> Mapping[str, Any]:
        return {one.name: one for one in self.resources if one.kind == kind}


def measure() -> list[Row]:
    documents = "".join(ROLE % (number, number) for number in range(4)) + USER % ", ".join(
        f"role-{n}" for n in range(4)
    )
    loaded = load(documents.encode(), file="bench.yaml")
    assert not loaded.problems
    snapshot = compile_snapshot(Tables(loaded.resources))
    chance = random.Random(1)
    targets = [
        Target("node", f"n{n}", f"u{n}", {"env": chance.choice(["dev", "staging", "prod"]), "team": f"team-{n % 9}"})
        for n in range(4000)
    ]
    fleet, identity = Fleet("node", targets), Identity("user", "ann", "", "acme")

    def one_by_one() -> int:
        return sum(
            decide(snapshot, AccessRequest(identity, target, login), now=0.0).allowed
            for target in targets
            for login in LOGINS
        )

    def at_once() -> int:
        return sum(len(logins) for _, logins in reach(snapshot, identity, fleet, now=0.0).rows())

    many = "".join(ROLE % (number, number) for number in range(10_000)).encode()
    return [
        Row("20,000 checks: fleet at once", best_of(5, at_once), "one by one", best_of(1, one_by_one), "s", "≤ 0.01 ×"),
        Row(
            "load 10,000 role documents",
            best_of(1, lambda: Loader().load([("many.yaml", many)])),
            "",
            0.0,
            "s",
            "a few seconds",
        ),
    ]

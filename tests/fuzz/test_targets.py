"""Every target a little, without looking at what it reaches; and that a check which cannot fail is none."""

from dataclasses import replace
from typing import Any

import pytest

from teleport.wire.hello import SshBanner
from tests.fuzz.target import Target, mutations, pieces
from tests.fuzz.targets import TARGETS
from tests.pki.forge import ANN


def _try(target: Target) -> None:
    for data in (*target.seeds(), *mutations(target, 150, seed=1)):
        target.check(data)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_must_hold_holds_for_seeds_and_changed_seeds(target: Target) -> None:
    _try(target)


_DEFECTS: dict[str, tuple[str, Any]] = {
    "first bytes": ("tests.fuzz.targets.hello.recognise", lambda data: SshBanner() if len(data) % 2 else None),
    "sftp": ("teleport.wire.sftp._Fields.data_length", lambda self: 2**31),
    "lines": ("teleport.net.lines.MAX_LINE", 10),
    "streamed answers": ("teleport.api.feed._FAULTS", (KeyError,)),
    "policy files": ("tests.fuzz.targets.policy.to_yaml", lambda resource: "kind: role\n"),
    "teleport.yaml": ("teleport.service.config.Config.settings", lambda self: ()),
    "SSH certificates": ("teleport.pki.credentials._check_time", lambda start, end, now: 1 / 0),
    "X.509 identities": ("teleport.pki.credentials._decode", lambda *_: replace(ANN, cluster="elsewhere.org")),
    "expressions": ("teleport.access.expressions._unquote", lambda literal: 7),
    "patterns": ("teleport.access.patterns.Glob.matches", lambda self, value: True),
}
"""A defect for each target, as a careless hand might bring it in."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_defect_is_found(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    monkeypatch.setattr(*_DEFECTS[target.name])

    with pytest.raises((AssertionError, ArithmeticError, AttributeError, TypeError, ValueError)):
        _try(target)


def test_pieces_are_all_of_the_bytes_and_the_same_each_time() -> None:
    data = bytes(range(256)) * 3

    first, again = list(pieces(data)), list(pieces(data))

    assert b"".join(first) == data
    assert first == again
    assert len(first) > 1

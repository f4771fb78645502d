"""Manifests as guides to the upstream's operator show them load and are judged as anybody's, or are refused rightly."""

import copy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from teleport.access.judge import judge
from teleport.core.errors import Problem
from teleport.gitops.manifests import Manifests, place_of
from teleport.resources.custom_kinds import CUSTOM_KINDS, custom_kind
from teleport.resources.secret_ref import plain_secrets

SAMPLES = Path(__file__).parent / "samples"


def samples(name: str) -> list[dict[str, Any]]:
    """Those of a file whose kind this version serves."""
    found = list(YAML(typ="safe").load_all((SAMPLES / name).read_text()))
    return [one for one in found if custom_kind(one["kind"]) is not None]


ACCEPTED, REFUSED = samples("accepted.yaml"), samples("refused.yaml")


async def problems_of(*manifests: dict[str, Any]) -> list[Problem]:
    """What loading and the judge say of manifests together."""
    source = Manifests("kubernetes", "teleport")
    bodies = [copy.deepcopy(one) for one in manifests]
    for body in bodies:
        body["metadata"] |= {"generation": 1, "uid": place_of(body)}
    source.take(bodies)
    loaded = await source.load()
    return [*loaded.problems, *plain_secrets(loaded.resources), *judge(loaded.resources).problems]


async def test_what_guides_show_is_good_together() -> None:
    assert [str(one) for one in await problems_of(*ACCEPTED)] == []


@pytest.mark.parametrize("sample", REFUSED, ids=place_of)
async def test_what_is_refused_is_refused_for_the_right_reason(sample: dict[str, Any]) -> None:
    problems = await problems_of(sample)

    why = sample["metadata"]["annotations"]["why"]
    assert any(why in str(one) for one in problems), [str(one) for one in problems]


def test_there_is_a_sample_of_every_kind_that_the_upstream_has() -> None:
    ours = {"TeleportAccessTest", "TeleportAccessInvariant"} | {
        f"Teleport{name}" for name in ("AuthPreference", "NetworkingConfig", "RecordingConfig")
    }

    assert {one["kind"] for one in ACCEPTED} | ours == {kind.kind for kind in CUSTOM_KINDS}

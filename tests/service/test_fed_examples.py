"""The manifests of examples/kubernetes govern a fresh cluster: all of them, with their promises."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from teleport.core.generated import REPOSITORY
from tests.service.fed import Fed, fed_config

FILES = sorted((REPOSITORY / "examples" / "kubernetes").glob("*.yaml"))


def examples() -> list[dict[str, Any]]:
    found = [one for path in FILES for one in YAML(typ="safe").load_all(path.read_text())]
    for number, one in enumerate(found):
        one["metadata"] |= {"uid": str(number), "generation": 1}
    return found


async def test_the_examples_come_into_force_together_with_their_promises(tmp_path: Path) -> None:
    source = {"name": "kubernetes", "kubernetes": {"namespace": "teleport"}}
    async with Fed.running(fed_config(tmp_path, source)) as fed:
        told = await fed.told(*examples(), source="kubernetes")

    assert {place: state for place, state in told.items() if state[0] != "Ready"} == {}
    assert {"TeleportAccessInvariant/root-on-production-is-for-those-on-call", "TeleportUser/ada"} <= told.keys()


async def test_what_breaks_a_promise_of_the_examples_is_refused(tmp_path: Path) -> None:
    source = {"name": "kubernetes", "kubernetes": {"namespace": "teleport"}}
    async with Fed.running(fed_config(tmp_path, source)) as fed:
        await fed.feed(*examples(), source="kubernetes")
        changed = examples()
        next(one for one in changed if one["metadata"]["name"] == "outsider")["spec"] = {"deny": {}}
        widened = next(one for one in changed if one["metadata"]["name"] == "dora")
        widened["spec"]["roles"] = ["developer", "on-call"]
        for one in changed:
            one["metadata"]["generation"] = 2

        told = await fed.told(*changed, source="kubernetes")

    assert told["TeleportUser/dora"][0] == "Stalled"
    assert "outsiders-stay-out" in told["TeleportUser/dora"][1]

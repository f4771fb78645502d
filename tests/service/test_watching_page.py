"""The page about watching and its alerts speak of what exists."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from teleport.cli.tctl_commands.policy_status import _REASONS
from teleport.service.config import checked
from teleport.service.metrics import METRICS
from teleport.service.notifications import WORDS
from teleport.service.source_metrics import REASONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/watching.md").read_text()
RULES = ROOT / "examples/prometheus/policy.rules.yaml"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_page_would_have_in_teleport_yaml_is_understood(block: str) -> None:
    assert checked(block.encode(), file="teleport.yaml").policies is not None


def test_the_page_names_every_word_and_every_reason_that_there_is() -> None:
    rows = re.findall(r"^\| (`.*) \| .* \|$", PAGE.partition("`on` | told")[2], re.MULTILINE)
    events = set(re.findall(r"`(\w+)`", " ".join(rows)))
    reasons = set(re.findall(r"`([A-Z]\w+)`", PAGE.partition("| state | reason |")[2].partition("Stalled, Rec")[0]))

    assert events >= set(WORDS)
    assert reasons == {*_REASONS, *REASONS, "Applied"}


def test_alerts_ask_for_metrics_and_labels_that_there_are() -> None:
    body: Any = YAML(typ="safe", pure=True).load(RULES.read_text())
    rules = [rule for group in body["groups"] for rule in group["rules"]]

    assert len(rules) >= 6
    for rule in rules:
        names = re.findall(r"teleport_\w+", rule["expr"])
        assert names
        assert set(names) <= set(METRICS), rule["alert"]
        for name, label in re.findall(r"(teleport_\w+)\{(\w+)", rule["expr"]):
            assert label in METRICS[name].labels, rule["alert"]
        for word in re.findall(r'reason=~"([^"]+)"', rule["expr"]):
            assert set(word.split("|")) <= set(REASONS)

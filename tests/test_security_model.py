"""The published security model: each promise names tests that exist, and no subject is lost from it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
PAGE = ROOT.parent / "docs" / "security-model.md"
_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")

SUBJECTS = {
    "People": "codes, guessing, lock-out, unknown names, hashing, invitations, namesakes, files, lying clusters, "
    "local listeners, the right cluster",
    "Certificates": "the signing key, the certificate, the cluster, possession, re-issue, refresh, one session, "
    "live roles, pinned addresses, hosts",
    "Decisions": "meaning, errors, newer policy, stale policy, hidden hosts, traits",
    "Sessions": "withdrawal, second factors, recording, time, the login's user, what programs get, "
    "what programs leave, killed agents, kills, clocks, auth's own user, forwarding, copying files, "
    "traces of files, looking on, jumps, siblings, strangers, algorithms, nonsense, memory, scarcity, floods",
    "Between the services": "tickets, assignments, one person, client addresses, joining, "
    "recognising, copied identities, hosts without a right, own affairs, secrets, names, "
    "plain hosts, plain hosts' names, plain hosts' sessions",
    "Between clusters": "joining clusters, names of clusters, tunnels of clusters, passages, visitors, "
    "visitors of plain hosts, role maps, trust withdrawn",
    "API and web": "routes, bodies, local administration, browsers, forms, terminals, slow strangers",
    "Policy": "one judge, ownership, emptied folders, drift, emergencies, what emergencies spare, ends of emergencies, "
    "foreseen, tests and invariants, commits, hostile files, repositories, secrets of policy, receivers, "
    "signed commits, the way back, ceilings, several sources, namespaces, tenants, parts of a namespace, operators, "
    "suspension, webhooks, administrators left, budgets, self-service, overriding signatures, approvals, "
    "whose word counts, the past, patterns",
    "Records": "the first byte, ends, demanded recordings, full disks, tampering, recordings, secrets at rest",
}
"""What the page promises something about, by heading. A line goes only together with what it is about."""


def promises() -> list[tuple[str, str, str]]:
    """Heading, subject and the cell with the tests, of every row of the tables of promises."""
    found, heading = [], ""
    for line in PAGE.read_text().split("\n## Promises\n")[1].split("\n## ")[0].splitlines():
        if line.startswith("### "):
            heading = line.removeprefix("### ")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and cells[0] not in ("about", "---"):
            found.append((heading, cells[0], cells[2]))
    return found


@cache
def functions_of(path: Path) -> frozenset[str]:
    if not path.exists():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(one.name for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, functions))


@pytest.mark.parametrize(("heading", "subject", "kept_by"), promises())
def test_a_promise_is_kept_by_tests_that_exist(heading: str, subject: str, kept_by: str) -> None:
    named = _TEST.findall(kept_by)

    missing = [f"{file}::{name}" for file, name in named if name not in functions_of(ROOT / file)]

    assert named, f"{heading}, {subject}: no test is named"
    assert missing == []


def test_nothing_that_was_promised_is_lost_without_notice() -> None:
    written: dict[str, list[str]] = {}
    for heading, subject, _ in promises():
        written.setdefault(heading, []).append(subject)

    assert written == {heading: subjects.split(", ") for heading, subjects in SUBJECTS.items()}


def test_every_attack_keeps_some_promise() -> None:
    """A file of attacks that the page does not speak of is one that nobody will look for."""
    named = {file for _, _, kept_by in promises() for file, _ in _TEST.findall(kept_by)}

    attacks = {f"attacks/{path.name}" for path in (ROOT / "attacks").glob("test_*.py")}

    assert attacks <= named


def test_links_within_the_page_lead_somewhere() -> None:
    text = PAGE.read_text()
    headings = {
        re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in re.findall("(?m)^#+ (.+)", text)
    }

    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= headings
    assert all((PAGE.parent / file).exists() for file in re.findall(r"\]\((\w[\w.-]*\.md)", text))

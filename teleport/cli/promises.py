"""What came of tests and invariants: for a person, for programs, and as JUnit XML for pipelines."""

import textwrap
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from teleport.access.expectations import Row
from teleport.access.proof import Finding
from teleport.core.output import printable, to_json
from teleport.gitops.policytest import Outcome
from teleport.resources.access_invariant import AccessInvariant

__all__ = ["to_document", "to_junit", "to_text"]

_WIDTH = 110


def to_text(title: str, found: Sequence[Outcome]) -> str:
    """A line each, what is wrong below it; the last line is the answer in short."""
    if not found:
        return printable(f"{title} holds no tests and no invariants.")
    lines: list[str] = []
    for one in found:
        mark = "ok  " if one.passed else "FAIL"
        told = one.answer if one.resource.kind == AccessInvariant.kind else f"{one.answer} ({_rows(one)})"
        lines.append(printable(f"{mark} {one.resource.ref:<56} {told}"))
        lines += _wrong(one)
    held = sum(one.passed for one in found)
    return "\n".join([*lines, "", f"{held} of {len(found)} hold."])


def to_document(title: str, found: Sequence[Outcome]) -> str:
    """One JSON object."""
    return to_json(
        {"policy": title, "passed": all(one.passed for one in found), "tests": [one.to_dict() for one in found]}
    )


def to_junit(title: str, found: Sequence[Outcome]) -> str:
    """A suite for each test or invariant, a case for each expectation."""
    root = ElementTree.Element("testsuites", name=printable(title))
    for one in found:
        cases = [*_cases(one)]
        failed = sum(wrong != "" for _, wrong in cases)
        suite = ElementTree.SubElement(
            root, "testsuite", name=one.resource.ref, tests=str(len(cases)), failures=str(failed),
            file=printable(one.resource.origin.file),
        )  # fmt: skip
        for name, wrong in cases:
            case = ElementTree.SubElement(
                suite, "testcase", classname=printable(one.resource.ref), name=printable(name)
            )
            if wrong:
                ElementTree.SubElement(case, "failure", message=printable(wrong))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _cases(one: Outcome) -> Iterator[tuple[str, str]]:
    """Names of cases, and what is wrong with each."""
    for row in one.rows:
        yield row.expected, "" if row.passed else _row(row)
    if one.resource.kind == AccessInvariant.kind:
        yield one.answer, "" if one.passed else "\n".join(map(_finding, one.findings))


def _rows(one: Outcome) -> str:
    count = len(one.rows)
    return f"{count} expectation{'' if count == 1 else 's'}"


def _wrong(one: Outcome) -> Iterator[str]:
    for row in one.rows:
        if not row.passed:
            yield from _wrapped(f"expected {row.expected}  ({row.at.file}:{row.at.line})", 5)
            yield from _wrapped(_row(row), 7)
    for found in one.findings:
        yield from _wrapped(_finding(found), 5)


def _row(row: Row) -> str:
    because = f": {row.because}" if row.because else ""
    rule = f" ({row.place.file}:{row.place.line})" if row.place.file else ""
    return f"{row.fact}{because}{rule}"


def _finding(found: Finding) -> str:
    rule = f" ({found.place.file}:{found.place.line})" if found.place.file else ""
    missing = f"; assume {', '.join(found.missing)}" if found.missing else ""
    return f"{found.answer}: {found.text}{rule}{missing}"


def _wrapped(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(printable(text), _WIDTH, initial_indent=space, subsequent_indent=f"{space}  ",
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip

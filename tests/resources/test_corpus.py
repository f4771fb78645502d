"""Whole files: those written for the upstream product load unchanged; every fault of the bad ones is told.

What is told of `corpus/bad/NAME.yaml` is in `NAME.problems` beside it. After a change of words, write them anew and
read the difference: `python -m tests.resources.test_corpus`.
"""

from pathlib import Path

import pytest

from teleport.access.judge import judge
from teleport.resources.load import Loader, load
from teleport.resources.yaml_writer import to_yaml

CORPUS = Path(__file__).parent / "corpus"
BAD, UPSTREAM = sorted((CORPUS / "bad").glob("*.yaml")), sorted((CORPUS / "upstream").iterdir())


def told(path: Path) -> str:
    """What `tctl policy validate` says of a file."""
    loaded = Loader().load([(path.name, path.read_bytes())])
    judgement = judge([*loaded.resources, *loaded.remnants], broken=loaded.broken)
    problems = sorted((*loaded.problems, *judgement.problems))
    return "".join(f"{one}\n" for one in problems) + "".join(f"warning: {one}\n" for one in judgement.warnings)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_fault_of_a_bad_file_is_told_with_its_place_and_a_way_out(path: Path) -> None:
    expected = path.with_suffix(".problems").read_text()

    assert expected
    assert told(path) == expected


@pytest.mark.parametrize("path", UPSTREAM, ids=lambda path: path.stem)
def test_a_file_for_the_upstream_product_loads_unchanged(path: Path) -> None:
    loaded = load(path.read_bytes(), file=path.name)

    assert loaded.problems == ()
    assert loaded.resources


@pytest.mark.parametrize("path", UPSTREAM, ids=lambda path: path.stem)
def test_what_was_loaded_is_the_same_after_being_written_and_read_again(path: Path) -> None:
    loaded = load(path.read_bytes(), file=path.name)

    again = load("---\n".join(to_yaml(one) for one in loaded.resources).encode(), file="again")

    assert again.problems == ()
    assert [one.to_dict() for one in again.resources] == [one.to_dict() for one in loaded.resources]


def test_plain_text_in_brackets_may_hold_colons_and_question_marks() -> None:
    text = (
        b"kind: node\nversion: v2\nmetadata: {name: a}\nspec: {hostname: a, public_addrs: [a.example.com:22, b:22]}\n"
    )

    (node,) = load(text, file="a.yaml").resources

    assert node.spec.public_addrs == ("a.example.com:22", "b:22")


if __name__ == "__main__":
    for each in BAD:
        each.with_suffix(".problems").write_text(told(each))

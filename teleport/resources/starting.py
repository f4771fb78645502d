"""A document to begin with: the example of a kind, each field with a comment that says what it is for."""

import re
from collections.abc import Iterator
from typing import Final

from teleport.core.errors import BadInput, Invalid, NotFound
from teleport.resources.described import describe
from teleport.resources.kinds import AnyResource
from teleport.resources.load import load
from teleport.resources.yaml_writer import to_yaml

__all__ = ["starting_document"]

_KEY: Final = re.compile(r"( *)(- )?([a-z_]+):")
_UNDERSTOOD: Final = frozenset(["kind", "version", "metadata", "spec", "name"])
"""Keys that every document has."""


def starting_document(cls: type[AnyResource], name: str = "", *, schema: str = "") -> str:
    """Valid as it is. `schema` is where an editor finds the schema. Raises BadInput or Invalid for a wrong name."""
    text = _named(cls, name) if name else cls.example
    return "".join(f"{line}\n" for line in (*_head(cls, schema), *_commented(cls, text)))


def _named(cls: type[AnyResource], name: str) -> str:
    if cls.singleton:
        if name != cls.singleton:
            raise BadInput(f"there is only one {cls.kind}", hint=f"leave the name out, or write {cls.singleton}")
        return cls.example
    (example,) = load(cls.example.encode(), file=cls.kind).resources
    metadata = example.metadata.model_copy(update={"name": name})
    (line,) = (
        one for one in to_yaml(example.model_copy(update={"metadata": metadata})).splitlines()
        if one.startswith("  name: ")
    )  # fmt: skip
    text = re.sub(r"(?m)^  name: .*$", lambda _: line, cls.example, count=1)
    loaded = load(text.encode(), file=f"{cls.kind}/{name}")
    if loaded.problems:
        raise Invalid(loaded.problems)
    return text


def _head(cls: type[AnyResource], schema: str) -> Iterator[str]:
    if schema:
        yield f"# yaml-language-server: $schema={schema}"
    article = "An" if cls.kind[0] in "aeio" else "A"
    yield f"# {article} {cls.kind}: {cls.summary}."
    yield f"# More that can be written here: tctl explain {cls.kind}.spec"


def _commented(cls: type[AnyResource], text: str) -> Iterator[str]:
    """The lines of an example, each field below what it is for."""
    above: list[tuple[int, str]] = []
    """Indentation and key of what a line is in."""
    for line in text.splitlines():
        match = _KEY.match(line)
        if match is not None:
            indent = len(match[1]) + len(match[2] or "")
            above = [(column, key) for column, key in above if column < indent] + [(indent, match[3])]
            meaning = _meaning(".".join([cls.kind, *(key for _, key in above)])) if match[3] not in _UNDERSTOOD else ""
            if meaning:
                yield f"{match[1]}# {meaning}"
        yield line


def _meaning(path: str) -> str:
    """What a field is for; empty for the keys of labels and the like."""
    try:
        return describe(path).description
    except NotFound:
        return ""

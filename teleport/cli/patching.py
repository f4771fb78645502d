"""Writes a change of one resource into the file that declares it: that change, and nothing else of the file.

What comes out is read again and held against what was meant; a change that cannot be written so is an error.
"""

import difflib
import io
import re
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from typing import Any, Final

from teleport.cli.splicing import is_plain, spliced
from teleport.core.errors import NotFound, Refused
from teleport.resources.load import load

__all__ = ["patched", "unified"]

_MAPPING: Final = re.compile(r"^(?P<out> *)[\w.-]+: *(?:#.*)?\n(?: *#.*\n)*(?P<in> +)[\w\"'.-]+:", re.MULTILINE)
_LIST: Final = re.compile(r"^(?P<out> *)[\w.-]+: *(?:#.*)?\n(?: *#.*\n)*(?P<in> *)- ", re.MULTILINE)


def patched(text: str, ref: str, before: Mapping[str, Any], after: Mapping[str, Any], *, file: str) -> str:
    """The text of a file in which `ref` is declared as `before`, with `after` in its place.

    Raises NotFound where it is not declared there, Refused where it is declared otherwise or cannot be written.
    """
    declared = _declared(text, file)
    if ref not in declared:
        raise NotFound(f"{file} does not declare {ref}", hint="run this in a checkout of the repository, or give --dir")
    if declared[ref] != before:
        raise Refused(
            f"{file} declares {ref} otherwise than the cluster has it", hint="check out the commit that is in force"
        )
    plain = text.replace("\r\n", "\n")
    for result in _attempts(plain, ref, before, after):
        if _meant(result, file) == declared | {ref: dict(after)}:
            return result.replace("\n", "\r\n") if "\r\n" in text else result
    raise Refused(f"the change of {ref} cannot be written into {file}", hint="edit the file by hand")


def _attempts(text: str, ref: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """The text with the change: where it stands, else in the layout it has, else with its document laid out anew."""
    in_place = spliced(text, ref, before, after)
    if in_place is not None:
        yield in_place
    parts = re.split(r"^(?=---)", text, flags=re.MULTILINE)
    for index, part in enumerate(parts):
        again, changed = _dumped(part, ref, before, before), _dumped(part, ref, before, after)
        if changed == again:
            continue
        for attempt in (_merged(part, again, changed), changed):
            ending = attempt if part.endswith("\n") else attempt.rstrip("\n")
            yield "".join([*parts[:index], ending, *parts[index + 1 :]])


def _meant(text: str, file: str) -> dict[str, Any]:
    try:
        return _declared(text, file)
    except Refused:
        return {}


def _declared(text: str, file: str) -> dict[str, Any]:
    loaded = load(text.encode(), file=file)
    if loaded.problems:
        raise Refused(f"{loaded.problems[0]}", hint="repair the file first")
    return {one.ref: one.to_dict() for one in loaded.resources}


def _dumped(text: str, ref: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """A document as ruamel lays it out, with the change if it is the one."""
    from ruamel.yaml import YAML

    yaml: Any = YAML()
    yaml.preserve_quotes, yaml.width = True, 1 << 30
    yaml.explicit_start = text.startswith("---")
    yaml.indent(**_indents(text))
    documents = list(yaml.load_all(text))
    for document in documents:
        if isinstance(document, MutableMapping) and _ref_of(document) == ref:
            _change(document, before, after)
    out = io.StringIO()
    yaml.dump_all(documents, out)
    return out.getvalue()


def _ref_of(document: Mapping[str, Any]) -> str:
    from teleport.core.errors import TeleportError
    from teleport.resources.kinds import kind_named

    metadata = document.get("metadata")
    try:
        kind = kind_named(str(document.get("kind"))).kind
    except TeleportError:
        return ""
    return f"{kind}/{metadata.get('name')}" if isinstance(metadata, Mapping) else ""


def _change(written: MutableMapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Bring about the difference between two documents in one that is written like the first."""
    for key in [key for key in before if key not in after]:
        written.pop(key, None)
    for key, value in after.items():
        old, here = before.get(key), written.get(key)
        if old == value:
            continue
        if isinstance(here, MutableMapping) and isinstance(old, Mapping) and isinstance(value, Mapping):
            _change(here, old, value)
        elif isinstance(here, MutableSequence) and isinstance(value, list):
            _change_list(here, value)
        else:
            written[key] = _written(value)


def _change_list(written: MutableSequence[Any], wanted: list[Any]) -> None:
    """Take out what goes and add what comes at the end, so that comments stay with what they are about."""
    for index in reversed(range(len(written))):
        if written[index] not in wanted:
            del written[index]
    for item in wanted:
        if item not in written:
            written.append(_written(item))
    if list(written) != wanted:
        written[:] = [_written(item) for item in wanted]


def _written(value: Any) -> Any:
    """Text that some reader would take for something else, in quotes."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, Mapping):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_written(item) for item in value]
    if isinstance(value, str) and not is_plain(value):
        return DoubleQuotedScalarString(value)
    return value


def _merged(text: str, base: str, changed: str) -> str:
    """What changed between two layouts of ruamel's, in the text's own; ruamel keeps each line where it is.

    Where it does not, all of the file is laid out anew: a long patch is better than a wrong one.
    """
    mine, old, new = (content.splitlines(keepends=True) for content in (text, base, changed))
    if len(mine) != len(old):
        return changed
    result: list[str] = []
    for what, i, j, k, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        result += mine[i:j] if what == "equal" else new[k:end]
    return "".join(result)


def _indents(text: str) -> dict[str, int]:
    """How far the text indents mappings and lists, by the first of each."""
    mapping, offset = _MAPPING.search(text), _LIST.search(text)
    width = len(mapping["in"]) - len(mapping["out"]) if mapping else 2
    dash = len(offset["in"]) - len(offset["out"]) if offset else 0
    return {"mapping": max(1, width), "sequence": max(0, dash) + 2, "offset": max(0, dash)}


def unified(path: str, before: str, after: str) -> str:
    """A patch that `git apply` takes."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

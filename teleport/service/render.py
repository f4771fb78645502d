"""Writes what is generated from the configuration's models: its reference and its example. `--check` only compares.

Run as `python -m teleport.service.render [--check]` in the source tree.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from teleport.service.config import Config
from teleport.service.configure import filled_in
from teleport.service.example import flow
from teleport.service.fields import FieldText, fields_of
from teleport.service.reload import LIVE

__all__ = ["main", "reference", "stale"]

_ROOT: Final = Path(__file__).parents[2]
_MARKED: Final = re.compile(r"(<!-- fields: generated[^\n]*-->\n).*?(<!-- end of fields -->)", re.DOTALL)
_EXAMPLE: Final = {
    "roles": "auth,proxy,node", "cluster_name": "example.com", "nodename": "gate-1", "listen": "0.0.0.0:443",
    "public_addr": "teleport.example.com:443", "policies": "/etc/teleport/policies",
}  # fmt: skip


def main() -> int:
    """Write the files, or with `--check` name those that are not as they should be."""
    if "--check" in sys.argv[1:]:
        for path in stale():
            sys.stderr.write(f"{path.relative_to(_ROOT)} is not what is generated: run `make generate`\n")
        return 1 if stale() else 0
    for path in stale():
        path.write_text(_files()[path])
    return 0


def stale() -> list[Path]:
    """The files that are not what is generated."""
    return [path for path, text in _files().items() if not path.exists() or path.read_text() != text]


def _files() -> Mapping[Path, str]:
    page = _ROOT / "docs" / "configuration.md"
    text = _MARKED.sub(lambda match: f"{match[1]}\n{reference()}{match[2]}", page.read_text())
    return {page: text, _ROOT / "examples" / "teleport.yaml": filled_in(_EXAMPLE)}


def reference() -> str:
    """The tables of all fields, in Markdown."""
    return "\n".join(line for one in fields_of(Config) for line in _top(one))


def _top(one: FieldText) -> Iterator[str]:
    """One section of the file, or one field that stands beside the sections."""
    yield f"### `{one.name}`\n"
    if one.without_effect:
        yield f"Accepted, without effect: {one.without_effect}.\n"
        return
    yield f"{one.description[:1].upper()}{one.description[1:]}.\n"
    if one.section is None:
        yield "" if one.words == "mapping" else f"{_value(one)}; by default {_default(one)}.\n"
        return
    yield "| field | value | default | what it does | SIGHUP |"
    yield "|---|---|---|---|---|"
    live = LIVE.get(one.name, ()) if one.name != "admins" else [below.name for below in fields_of(one.section)]
    for below in fields_of(one.section):
        if not below.without_effect:
            yield from _rows(below, "", live)
    yield ""
    vain = [below for below in fields_of(one.section) if below.without_effect]
    if vain:
        yield "Accepted in files written for the upstream product, without effect:\n"
        yield from (f"- `{below.name}`: {below.without_effect}" for below in vain)
        yield ""


def _rows(one: FieldText, place: str, live: Sequence[str]) -> Iterator[str]:
    """A field, and what is below it: what takes effect at once does so with all that is below."""
    name = f"{place}{one.name}"
    plain = name.replace("[]", "")
    at_once = any(plain == field or plain.startswith(f"{field}.") for field in live)
    yield f"| `{name}` | {_value(one)} | {_default(one)} | {one.description} | {'yes' if at_once else ''} |"
    if one.section is not None:
        for below in fields_of(one.section):
            if not below.without_effect:
                yield from _rows(below, f"{name}[]." if one.many else f"{name}.", live)


def _value(one: FieldText) -> str:
    return f"{one.words}, required" if one.required else one.words


def _default(one: FieldText) -> str:
    if one.default in (None, "", [], {}) or one.section is not None:
        return ""
    return f"`{flow(one.default)}`"


if __name__ == "__main__":
    sys.exit(main())

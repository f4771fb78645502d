"""Resources as YAML: block style, in the format's order, quoted so that every reader sees the same values.

Readers differ in what they take for a truth value or a number without quotes; what any of them would, is quoted.
"""

import io
import re
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from teleport.resources.kinds import AnyResource
from teleport.resources.names import invisible

__all__ = ["to_yaml"]

_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "", "=", "<<"})
"""What YAML 1.1 takes for something other than text; 1.2 knows fewer."""
_SEXAGESIMAL: Final = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z")
_BLOCK: Final = re.compile(r"[^\s](?:[^\r\t\n]*[^\s])?(?:\n(?:[^\r\t\n]*[^\s])?)*\n\Z")
"""Lines that a literal block shows as they are."""


def to_yaml(*resources: AnyResource) -> str:
    """One document a resource."""
    return "---\n".join(_document(resource.to_dict()) for resource in resources)


def _document(body: dict[str, Any]) -> str:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 1 << 30
    yaml.allow_unicode = not _has_invisible(body)
    stream = io.StringIO()
    yaml.dump(body, stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    """Quotes text that looks like something else, and writes text of several lines as a block."""

    def represent_str(self, data: str) -> ScalarNode:
        style = None
        if data.lower() in _WORDS or _SEXAGESIMAL.match(data):
            style = '"'
        elif "\n" in data and _BLOCK.match(data) and not _has_invisible(data):
            style = "|"
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def ignore_aliases(self, data: Any) -> bool:
        """Nothing is an alias of anything: values that happen to be one object are written twice."""
        return True


_Representer.add_representer(str, _Representer.represent_str)


def _has_invisible(value: Any) -> bool:
    """Whether a character must be escaped to be seen; then everything beyond ASCII is, in that document."""
    if isinstance(value, str):
        return any(char != "\n" for char in invisible(value))
    if isinstance(value, dict):
        return any(_has_invisible(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_has_invisible(item) for item in value)

"""Resources as the API tells them, as YAML that loads again unchanged, and as rows of a table."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from teleport.api.models import Resource
from teleport.core.output import printable

__all__ = ["COLUMNS", "columns", "declared_in", "name_of", "row", "to_yaml"]

COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "role": {
        "Logins": "spec.allow.logins",
        "Node labels": "spec.allow.node_labels|spec.allow.node_labels_expression",
        "Denies": "spec.deny",
    },
    "user": {"Roles": "spec.roles", "Logins": "spec.traits.logins"},
    "token": {"Roles": "spec.roles", "Method": "spec.join_method", "Expires": "metadata.expires"},
    "node": {"Hostname": "spec.hostname", "Address": "spec.addr", "Labels": "metadata.labels"},
    "lock": {"Target": "spec.target", "Message": "spec.message", "Expires": "spec.expires"},
    "trusted_cluster": {
        "Enabled": "spec.enabled",
        "Proxy": "spec.web_proxy_addr",
        "Role map": "spec.role_map",
        "Status": "status.state",
        "Connection": "status.connection",
        "Message": "status.message",
    },
    "remote_cluster": {"Labels": "metadata.labels", "Connection": "status.connection"},
    "access_test": {"Given": "spec.given", "Expects": "spec.expect|spec.exactly"},
    "access_invariant": {"Only": "spec.only", "May": "spec.may"},
    "cluster_auth_preference": {"Settings": "spec"},
    "session_recording_config": {"Settings": "spec"},
    "cluster_networking_config": {"Settings": "spec"},
}
"""Heading to path, of what a table shows of each kind between its name and its source; of several, what is there."""

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*\Z")
_WIDTH: Final = 48
_WORDS: Final = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])


def name_of(resource: Resource) -> str:
    return str(resource.resource["metadata"]["name"])


def declared_in(resource: Resource) -> str:
    """Where a resource comes from: file and line, or the source."""
    if resource.file and resource.line:
        return f"{resource.file}:{resource.line}"
    return resource.file or {"presence": "reports itself", "preset": "every cluster", "api": "tctl or the API"}.get(
        resource.source, resource.source
    )


def columns(kind: str, *, wide: bool = False) -> Sequence[str]:
    more = ("Source", "Commit", "Revision") if wide else ()
    return (kind.replace("_", " ").capitalize(), *COLUMNS.get(kind, {}), "Declared in", *more)


def row(resource: Resource, *, wide: bool = False) -> Sequence[str]:
    """One resource under the columns of its kind."""
    body = {**resource.resource, "status": resource.status}
    cells = (_cell(_at(body, path)) for path in COLUMNS.get(body["kind"], {}).values())
    more = (resource.source, resource.commit[:12] or "-", str(resource.revision or "-")) if wide else ()
    return (name_of(resource), *cells, declared_in(resource), *more)


def to_yaml(resources: Iterable[Resource]) -> str:
    """Documents one after another, each with a comment that says where it is declared, unless by the API."""
    return "---\n".join(_comment(one) + _document(one.resource) for one in resources)


def _comment(resource: Resource) -> str:
    return "" if resource.source == "api" else f"# {printable(declared_in(resource))}\n"


class _Representer(SafeRepresenter):
    """Writes values so that our reader takes them for what they are: text that looks like anything else is quoted."""

    def represent_text(self, value: str) -> Any:
        plain = _PLAIN.match(value) and value.lower() not in _WORDS
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Representer.add_representer(str, _Representer.represent_text)


def _document(body: Mapping[str, Any]) -> str:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 4096
    out = io.StringIO()
    yaml.dump(dict(body), out)
    return out.getvalue()


def _at(body: Mapping[str, Any], paths: str) -> Any:
    """What stands there: a single value, or of several paths the list of what is there."""
    found = []
    for path in paths.split("|"):
        here: Any = body
        for step in path.split("."):
            here = here.get(step) if isinstance(here, Mapping) else None
        if here:
            found.append(here)
    return found[0] if len(found) == 1 else found


def _cell(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _value(value: Any) -> str:
    """A value within a mapping: its list must not be taken for further keys."""
    return "|".join(map(_text, value)) if isinstance(value, list | tuple) else _text(value)


def _text(value: Any) -> str:
    """A value in short: lists with commas, mappings with equals signs."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)

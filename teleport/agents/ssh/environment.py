"""The variables that a session's programs start with: the client's, as far as it may set them, and the host's own."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

__all__ = ["HOST_FILES", "host_variables", "sent_variables"]

HOST_FILES: Final = (Path("/etc/environment"), Path("/etc/default/locale"))
"""Where an administrator sets variables for everybody who logs in; the files of pam_env(8)."""
_ACCEPTED: Final = ("LANG", "LC_", "COLORTERM", "NO_COLOR", "TZ")
"""Names, and prefixes ending in `_`, that a client may set."""
_MAX_FILE: Final = 64 * 1024


def sent_variables(sent: Mapping[str, str]) -> dict[str, str]:
    """Those of a client that it may set."""
    return {name: value for name, value in sent.items() if _is_accepted(name) and "\x00" not in value}


def host_variables(files: Iterable[Path] = HOST_FILES) -> dict[str, str]:
    """Those of the files that are there, later ones winning. Lines that assign nothing are passed over."""
    found: dict[str, str] = {}
    for path in files:
        try:
            with path.open(errors="surrogateescape") as file:
                text = file.read(_MAX_FILE)
        except OSError:
            continue
        found |= dict(filter(None, map(_assignment, text.splitlines())))
    return found


def _assignment(line: str) -> tuple[str, str] | None:
    name, equals, value = line.strip().removeprefix("export ").partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name.isidentifier() or not name.isascii() or "\x00" in value:
        return None
    if value[:1] in ("'", '"'):
        quote, value = value[0], value[1:]
        return name, value.partition(quote)[0]
    return name, value.partition("#")[0].rstrip()


def _is_accepted(name: str) -> bool:
    return any(name == one or (one.endswith("_") and name.startswith(one)) for one in _ACCEPTED)

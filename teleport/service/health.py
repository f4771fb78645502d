"""Whether the process can do its work, and what people should know before it cannot."""

import logging
from collections.abc import Callable, Iterable

__all__ = ["Health"]

log = logging.getLogger(__name__)


class Health:
    """Gathers reasons not to be ready, remarks that do not matter for that, and warnings.

    Whoever is responsible for a thing adds a check of it; they are asked anew each time.
    """

    def __init__(self) -> None:
        self._checks: list[Callable[[], str]] = []
        self._remarks: list[Callable[[], Iterable[str]]] = []
        self._warnings: dict[str, str] = {}
        self._listeners: list[Callable[[tuple[str, ...]], None]] = []

    def require(self, check: Callable[[], str]) -> None:
        """`check` gives the reason why the process is not ready, or nothing."""
        self._checks.append(check)

    def remark(self, remarks: Callable[[], Iterable[str]]) -> None:
        """`remarks` gives what is wrong without making the process less ready."""
        self._remarks.append(remarks)

    def warn(self, subject: str, text: str) -> None:
        """Set, or with an empty text take back, the warning about something; new ones are logged."""
        if text == self._warnings.get(subject, ""):
            return
        if text:
            log.warning("%s", text)
            self._warnings[subject] = text
        else:
            del self._warnings[subject]
        for listener in self._listeners:
            listener(self.warnings)

    def subscribe(self, changed: Callable[[tuple[str, ...]], None]) -> None:
        """Be told the warnings, now and whenever they change."""
        self._listeners.append(changed)
        changed(self.warnings)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the process is not ready; empty when it is."""
        return tuple(reason for check in self._checks if (reason := check()))

    @property
    def remarks(self) -> tuple[str, ...]:
        return (*self.warnings, *(remark for remarks in self._remarks for remark in remarks()))

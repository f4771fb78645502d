"""A plugin of pytest that adds up how many examples hypothesis made, and says so in the last line."""

import re
from typing import Any, Final

import pytest

__all__ = ["SAID"]

SAID: Final = re.compile(r"^(\d+) property tests made (\d+) examples$", re.MULTILINE)
_EXAMPLES: Final = re.compile(r"(\d+) passing, (\d+) failing")


class _Examples:
    def __init__(self) -> None:
        self._tests, self._examples = 0, 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        statistics = getattr(item, "hypothesis_statistics", "")
        if call.when == "teardown" and statistics:
            self._tests += 1
            self._examples += sum(int(count) for found in _EXAMPLES.findall(statistics) for count in found)
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(f"{self._tests} property tests made {self._examples} examples")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Examples())

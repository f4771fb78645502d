"""What `tctl explain` says several roles come to is what they come to."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from teleport.resources.described import describe
from teleport.resources.role_options import RoleOptions
from tests.access.test_options import conditions

KEYS: Final[Mapping[str, str]] = {
    "forward_agent": "agent_forwarding", "permit_x11_forwarding": "x11_forwarding", "ssh_file_copy": "file_copy",
    "port_forwarding": "local_forwarding", "client_idle_timeout": "idle_timeout", "require_session_mfa": "mfa",
    "device_trust_mode": "device_trust", "record_session": "recording", "create_host_user_mode": "host_user",
}  # fmt: skip
"""Conditions that are called otherwise than their options."""

EXAMPLES: Final[Mapping[str, tuple[tuple[Any, Any], Any]]] = {
    "yes if any role says yes": ((True, False), True),
    "yes if any role or the cluster says yes": ((True, False), True),
    "no if any role says no": ((True, False), False),
    "no only if every role says no": ((True, False), True),
    "the smallest that is not 0": ((0, 7), 7),
    "the shortest, and at most 30h": (("8h", "4h"), "4h"),
    "the shortest, that of the cluster included": (("never", "5m"), "5m"),
    "the strictest of the roles that allow the target and of the cluster": (("no", "yes"), "verified"),
    "required, then optional, wins among the roles that allow the target and the cluster": (
        ("off", "optional"), "optional",
    ),
    "strict if any role says strict; the cluster counts only where no role says anything": (
        ("strict", "best_effort"), "strict",
    ),
    "strict if any role says strict; desktops are recorded unless every role says no": (
        ({"default": "strict"}, {"default": "best_effort"}), "strict",
    ),
    "the events of all roles": ((["disk"], ["network"]), ["disk", "network"]),
    "off unless every role that matches the target enables it; keep wins over insecure-drop": (
        ("keep", "insecure-drop"), "keep",
    ),
}  # fmt: skip
"""By what is said: the values of two roles, and what they come to."""
ELSEWHERE: Final = {"ssh_port_forwarding", "cert_extensions"}
"""Options whose values are more than a word; `test_options` has them."""

SAID: Final = {
    name: described.over_roles
    for name in RoleOptions.model_fields
    if (described := describe(f"role.spec.options.{name}")).over_roles
}


def test_something_is_said_of_every_option_that_a_condition_follows_from() -> None:
    assert len(SAID) >= 20
    assert set(SAID.values()) - {SAID[name] for name in ELSEWHERE} == set(EXAMPLES)


@pytest.mark.parametrize("name", [name for name in SAID if name not in ELSEWHERE])
def test_two_roles_come_to_what_is_said_in_either_order(name: str) -> None:
    (first, second), expected = EXAMPLES[SAID[name]]

    found = [
        conditions(*options).to_dict() for options in ([{name: first}, {name: second}], [{name: second}, {name: first}])
    ]

    assert [one[KEYS.get(name, name)] for one in found] == [expected, expected]

"""SEMANTICS, "Role", options: each row of its table, asked as a user with such roles would be answered."""

from dataclasses import fields
from typing import Any

import pytest

from teleport.access.decide import conditions_of
from teleport.access.options import Conditions
from tests.access.builders import ann_with, ask, host, identity, policy, role, rule, setting, user

Options = dict[str, Any]


def conditions(*options: Options, **settings: Any) -> Conditions:
    """For a user whose roles all allow root on the host, each with such options."""
    roles = [role(f"r{index}", allow=rule("root", env="*"), options=one) for index, one in enumerate(options)]
    found = policy(
        *roles,
        user("ann", [one.name for one in roles]),
        *(setting(kind, **spec) for kind, spec in settings.items()),
    )
    decision = ask(found, target=host(env="dev"), who=identity(mfa_verified=True))
    assert decision.conditions is not None, decision.reasons
    return decision.conditions


SSH_ON, SSH_OFF = {"ssh": "strict"}, {"ssh": "best_effort"}


@pytest.mark.parametrize(
    ("options", "key", "expected"),
    [
        pytest.param([{}], "max_session_ttl", "30h", id="max_session_ttl: 30h by default"),
        pytest.param([{"max_session_ttl": "8h"}, {"max_session_ttl": "4h"}, {}], "max_session_ttl", "4h", id="max_session_ttl: minimum"),
        pytest.param([{"max_session_ttl": "100h"}], "max_session_ttl", "30h", id="max_session_ttl: never above 30h"),
        pytest.param([{"max_session_ttl": "10s"}], "max_session_ttl", "1m", id="max_session_ttl: never below a minute"),
        pytest.param([{"max_session_ttl": "0s"}], "max_session_ttl", "30h", id="max_session_ttl: zero is the default"),
        pytest.param([{}], "idle_timeout", "never", id="client_idle_timeout: never by default"),
        pytest.param([{"client_idle_timeout": "never"}, {"client_idle_timeout": "1h"}, {"client_idle_timeout": "5m"}], "idle_timeout", "5m", id="client_idle_timeout: smallest positive"),
        pytest.param([{}], "max_connections", 0, id="max_connections: unlimited by default"),
        pytest.param([{"max_connections": 0}, {"max_connections": 7}, {"max_connections": 3}], "max_connections", 3, id="max_connections: smallest non-zero"),
        pytest.param([{"max_sessions": 0}, {"max_sessions": 9}, {"max_sessions": 2}], "max_sessions", 2, id="max_sessions: smallest non-zero"),
        pytest.param([{}], "agent_forwarding", False, id="forward_agent: no by default"),
        pytest.param([{"forward_agent": False}, {"forward_agent": True}], "agent_forwarding", True, id="forward_agent: OR"),
        pytest.param([{}], "x11_forwarding", False, id="permit_x11_forwarding: no by default"),
        pytest.param([{"permit_x11_forwarding": False}, {"permit_x11_forwarding": True}], "x11_forwarding", True, id="permit_x11_forwarding: OR"),
        pytest.param([{}], "pin_source_ip", False, id="pin_source_ip: no by default"),
        pytest.param([{"pin_source_ip": True}, {"pin_source_ip": False}], "pin_source_ip", True, id="pin_source_ip: OR"),
        pytest.param([{}], "disconnect_expired_cert", False, id="disconnect_expired_cert: no by default"),
        pytest.param([{"disconnect_expired_cert": True}, {}], "disconnect_expired_cert", True, id="disconnect_expired_cert: OR"),
        pytest.param([{}], "local_forwarding", True, id="port_forwarding: yes by default"),
        pytest.param([{"port_forwarding": False}], "local_forwarding", False, id="port_forwarding: a role's no"),
        pytest.param([{"port_forwarding": False}, {"port_forwarding": True}], "local_forwarding", True, id="port_forwarding: OR"),
        pytest.param([{"port_forwarding": False}, {}], "remote_forwarding", True, id="port_forwarding: OR with a default"),
        pytest.param([{"ssh_port_forwarding": {"local": {"enabled": False}}}, {}], "local_forwarding", False, id="ssh_port_forwarding: a direction switched off stays off"),
        pytest.param([{"ssh_port_forwarding": {"local": {"enabled": False}}}, {}], "remote_forwarding", True, id="ssh_port_forwarding: the other direction is untouched"),
        pytest.param([{"port_forwarding": False, "ssh_port_forwarding": {"remote": {"enabled": True}}}], "remote_forwarding", True, id="ssh_port_forwarding: goes before port_forwarding"),
        pytest.param([{"port_forwarding": False, "ssh_port_forwarding": {"remote": {"enabled": True}}}], "local_forwarding", False, id="ssh_port_forwarding: only in the direction it names"),
        pytest.param([{}], "file_copy", True, id="ssh_file_copy: yes by default"),
        pytest.param([{"ssh_file_copy": True}, {"ssh_file_copy": False}], "file_copy", False, id="ssh_file_copy: AND"),
        pytest.param([{"desktop_clipboard": False}, {}], "desktop_clipboard", False, id="desktop_clipboard: AND"),
        pytest.param([{}], "desktop_clipboard", True, id="desktop_clipboard: yes by default"),
        pytest.param([{"desktop_directory_sharing": False}, {}], "desktop_directory_sharing", False, id="desktop_directory_sharing: AND"),
        pytest.param([{}], "desktop_directory_sharing", True, id="desktop_directory_sharing: yes by default"),
        pytest.param([{}], "lock", "best_effort", id="lock: the cluster's by default"),
        pytest.param([{"lock": "strict"}, {"lock": "best_effort"}], "lock", "strict", id="lock: strict beats best_effort"),
        pytest.param([{}], "recording", "best_effort", id="record_session: best_effort by default"),
        pytest.param([{"record_session": {"default": "strict"}}, {}], "recording", "strict", id="record_session: strict wins"),
        pytest.param([{"record_session": {"default": "strict", "ssh": "best_effort"}}], "recording", "best_effort", id="record_session: a protocol's own value beats default"),
        pytest.param([{"record_session": {"default": "best_effort", **SSH_ON}}], "recording", "strict", id="record_session: in both directions"),
        pytest.param([{"record_session": SSH_OFF}, {"record_session": SSH_ON}], "recording", "strict", id="record_session: then strict wins"),
        pytest.param([{"record_session": {"desktop": False}}, {}], "desktop_recording", True, id="record_session: desktops unless every role says no"),
        pytest.param([{"record_session": {"desktop": False}}], "desktop_recording", False, id="record_session: desktops switched off"),
        pytest.param([{}], "enhanced_recording", ["command", "network"], id="enhanced_recording: command and network by default"),
        pytest.param([{"enhanced_recording": ["disk"]}, {"enhanced_recording": ["command"]}], "enhanced_recording", ["command", "disk"], id="enhanced_recording: union"),
        pytest.param([{"enhanced_recording": ["disk"]}, {}], "enhanced_recording", ["command", "disk", "network"], id="enhanced_recording: union with a default"),
        pytest.param([{"enhanced_recording": []}], "enhanced_recording", [], id="enhanced_recording: an empty list is none"),
        pytest.param([{}], "host_user", "off", id="create_host_user_mode: off by default"),
        pytest.param([{"create_host_user_mode": "keep"}], "host_user", "keep", id="create_host_user_mode: enabled"),
        pytest.param([{"create_host_user_mode": "keep"}, {}], "host_user", "off", id="create_host_user_mode: every matching role must enable it"),
        pytest.param([{"create_host_user_mode": "insecure-drop"}, {"create_host_user_mode": "keep"}], "host_user", "keep", id="create_host_user_mode: keep beats insecure-drop"),
        pytest.param([{"create_host_user": True}], "host_user", "keep", id="create_host_user: the older spelling"),
        pytest.param([{}], "mfa", "verified", id="require_session_mfa: what was shown"),
        pytest.param([{}], "device_trust", "off", id="device_trust_mode: off by default"),
        pytest.param([{"device_trust_mode": "optional"}, {"device_trust_mode": "off"}], "device_trust", "optional", id="device_trust_mode: the stricter"),
        pytest.param([{"cert_extensions": [{"name": "a", "value": "1"}]}, {"cert_extensions": [{"name": "b", "value": "2"}]}], "cert_extensions", [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}], id="cert_extensions: concatenated"),
        pytest.param([{}], "recording_mode", "node", id="the cluster's recording mode"),
    ],
)  # fmt: skip
def test_the_options_of_several_roles_combine(options: list[Options], key: str, expected: object) -> None:
    assert conditions(*options).to_dict()[key] == expected


@pytest.mark.parametrize(
    ("options", "settings", "key", "expected"),
    [
        pytest.param({"client_idle_timeout": "1h"}, {"cluster_networking_config": {"client_idle_timeout": "5m"}}, "idle_timeout", "5m", id="client_idle_timeout: cluster setting included"),
        pytest.param({"client_idle_timeout": "5m"}, {"cluster_networking_config": {"client_idle_timeout": "1h"}}, "idle_timeout", "5m", id="client_idle_timeout: a role may be stricter"),
        pytest.param({}, {"cluster_auth_preference": {"disconnect_expired_cert": True}}, "disconnect_expired_cert", True, id="disconnect_expired_cert: cluster setting included"),
        pytest.param({}, {"cluster_auth_preference": {"locking_mode": "strict"}}, "lock", "strict", id="lock: the cluster's where no role speaks"),
        pytest.param({"lock": "best_effort"}, {"cluster_auth_preference": {"locking_mode": "strict"}}, "lock", "best_effort", id="lock: a role's value beats the cluster's"),
        pytest.param({}, {"session_recording_config": {"mode": "node-sync"}}, "recording_mode", "node-sync", id="the recording mode is the cluster's"),
        pytest.param({}, {"cluster_auth_preference": {"device_trust": {"mode": "optional"}}}, "device_trust", "optional", id="device_trust_mode: cluster setting included"),
    ],
)  # fmt: skip
def test_cluster_settings_join_in(options: Options, settings: dict[str, Any], key: str, expected: object) -> None:
    assert conditions(options, **settings).to_dict()[key] == expected


MFA = role("careful", allow=rule("root", env="prod"), options={"require_session_mfa": True})
PLAIN = role("plain", allow=rule("root", "dev", env="*"))


@pytest.mark.parametrize(
    ("login", "env", "allowed"),
    [
        pytest.param("root", "prod", False, id="the role that demands it matches"),
        pytest.param("root", "dev", True, id="its labels do not match this target"),
        pytest.param("dev", "prod", True, id="its logins do not match this login"),
    ],
)
def test_session_mfa_is_the_strictest_among_the_roles_that_match_this_target(
    login: str, env: str, allowed: bool
) -> None:
    decision = ask(ann_with(PLAIN, MFA), login, host(env=env))

    assert decision.allowed is allowed
    assert decision.needs == ({} if allowed else {"mfa": "required"})


@pytest.mark.parametrize("mode", ["yes", True, "hardware_key", "hardware_key_touch_and_pin"])
def test_a_stricter_factor_wins_over_a_weaker_one(mode: Any) -> None:
    strict = role("strict", allow=rule("root", env="*"), options={"require_session_mfa": mode})
    lax = role("lax", allow=rule("root", env="*"), options={"require_session_mfa": False})

    decision = ask(ann_with(lax, strict), target=host(env="dev"))

    assert not decision.allowed
    assert decision.role == "strict"


def test_a_trusted_device_is_required_if_one_matching_role_requires_it() -> None:
    trusting = role("trusting", allow=rule("root", env="prod"), options={"device_trust_mode": "required"})
    snapshot = ann_with(PLAIN, trusting)

    assert ask(snapshot, target=host(env="dev")).allowed
    decision = ask(snapshot, target=host(env="prod"))
    assert (decision.allowed, decision.needs, decision.role) == (False, {"device_trust": "required"}, "trusting")


def test_a_host_user_needs_every_role_whose_labels_match_whatever_its_logins() -> None:
    keeping = role("keeping", allow=rule("root", env="*"), options={"create_host_user_mode": "keep"})
    other = role("other", allow=rule("dev", env="prod"))
    snapshot = ann_with(keeping, other)

    in_dev, in_prod = (ask(snapshot, target=host(env=env)).conditions for env in ("dev", "prod"))

    assert in_dev is not None
    assert in_prod is not None
    assert (in_dev.host_user, in_prod.host_user) == ("keep", "off")


LOOSE = {"forward_agent": True, "permit_x11_forwarding": True, "port_forwarding": True}
TIGHT = {
    "max_session_ttl": "1h", "client_idle_timeout": "1m", "max_sessions": 1, "ssh_file_copy": False,
    "pin_source_ip": True, "disconnect_expired_cert": True, "lock": "strict", "port_forwarding": False,
    "record_session": {"default": "strict"},
}  # fmt: skip


def test_asking_for_fewer_roles_never_loosens_anything() -> None:
    snapshot = ann_with(role("loose", allow=rule("root", env="*"), options=LOOSE), role("tight", options=TIGHT))

    decision = ask(snapshot, target=host(env="dev"), who=identity(requested_roles=("loose",)))

    assert decision.conditions is not None
    found = decision.conditions.to_dict()
    assert found["max_session_ttl"] == "1h"
    assert found["idle_timeout"] == "1m"
    assert found["max_sessions"] == 1
    assert (found["file_copy"], found["pin_source_ip"], found["disconnect_expired_cert"]) == (False, True, True)
    assert (found["lock"], found["recording"]) == ("strict", "strict")


def test_what_a_role_outside_the_scope_permits_is_not_permitted() -> None:
    tight = role("tight", allow=rule("root", env="*"), options=TIGHT)
    forwarding = {"ssh_port_forwarding": {"local": {"enabled": True}, "remote": {"enabled": True}}}
    snapshot = ann_with(tight, role("loose", options={**LOOSE, **forwarding}))

    decision = ask(snapshot, target=host(env="dev"), who=identity(requested_roles=("tight",)))

    assert decision.conditions is not None
    found = decision.conditions.to_dict()
    assert not any(found[f"{what}_forwarding"] for what in ("agent", "x11", "local", "remote"))


def test_the_conditions_of_a_certificate_do_not_depend_on_any_target() -> None:
    snapshot = ann_with(MFA, role("short", options={"max_session_ttl": "2h"}))
    ann = snapshot.user("ann")
    assert ann is not None

    found = conditions_of(snapshot, ann)

    assert (found.mfa, found.max_session_ttl) == ("no", 7200)


def test_every_condition_is_shown_to_programs() -> None:
    shown = Conditions().to_dict()

    assert set(shown) == {one.name for one in fields(Conditions) if one.compare}


def test_the_role_whose_lifetime_counts_is_named() -> None:
    found = conditions({"max_session_ttl": "8h"}, {"max_session_ttl": "4h"}, {})

    assert (found.shortest, conditions({}).shortest) == ("role/r1", "")

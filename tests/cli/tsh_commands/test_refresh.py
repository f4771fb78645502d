"""What `tsh refresh` asks for and keeps: once for many programs at a time, never another's, and never for long."""

import asyncio
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from teleport.api import models as m
from teleport.cli import freshness
from teleport.cli import profile as p
from teleport.cli.tsh_commands import refresh
from teleport.cli.tsh_commands.login import keep
from teleport.core.errors import BadInput, Unauthenticated, Unavailable
from teleport.pki.keys import new_ssh_key, new_tls_key, private_pem, ssh_line, ssh_private
from tests.cli.programs import tsh
from tests.proxy.badges import Authorities

PROXY = "proxy.example.com:3080"
KEY = new_ssh_key()
SSH_KEY, SSH_PUBLIC, TLS_KEY = ssh_private(KEY), ssh_line(KEY.public_key()), private_pem(new_tls_key())
AUTHORITIES = Authorities()


def certificates(text: str = "old", **more: Any) -> m.Certificates:
    fields = {
        "user": "ann", "cluster": "acme", "ssh_certificate": f"{text} ssh", "tls_certificate": f"{text} tls",
        "authorities": tuple(one.encode().decode() for one in AUTHORITIES.public), "expires": time.time() + 3600,
        "logins": ("root",), "roles": ("dev",), **more,
    }  # fmt: skip
    return m.Certificates.model_validate(fields)


def public_of(path: Path) -> str:
    key = load_ssh_private_key(path.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return ssh_line(key.public_key())


class Auth:
    """Who renews: answers with `answer` and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = certificates("new")
        self.failure: Exception | None = None
        self.meanwhile: Any = lambda: None

    async def ask(self, profile: p.Profile, ssh_key: Any, tls_key: Any, patience: float) -> m.Certificates:
        self.asked.append(ssh_line(ssh_key.public_key()))
        await asyncio.sleep(0.01)
        self.meanwhile()
        if self.failure is not None:
            raise self.failure
        return self.answer


@pytest.fixture
def auth(monkeypatch: pytest.MonkeyPatch) -> Auth:
    auth = Auth()
    monkeypatch.setattr(refresh, "_ask", auth.ask)
    return auth


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> p.Profile:
    """A login that was refreshed a moment ago."""
    monkeypatch.setenv("TELEPORT_HOME", str(tmp_path))
    p.save_trust(PROXY, p.Trust("acme", AUTHORITIES.hosts.public.certificates))
    return keep(PROXY, certificates(), SSH_KEY, TLS_KEY)


def grown_old(profile: p.Profile, *, seconds: float = freshness.INTERVAL) -> None:
    then = time.time() - seconds
    os.utime(profile.refreshed, (then, then))


def test_a_login_that_is_fresh_is_left_alone(profile: p.Profile, auth: Auth) -> None:
    refresh.refresh_if_due(PROXY)

    assert auth.asked == []


def test_after_some_minutes_the_certificates_are_replaced_and_the_keys_stay(profile: p.Profile, auth: Auth) -> None:
    grown_old(profile)

    refresh.refresh_if_due(PROXY)
    refresh.refresh_if_due(PROXY)

    assert auth.asked == [SSH_PUBLIC] == [public_of(profile.ssh_key)]
    assert profile.tls_key.read_text() == TLS_KEY
    assert (profile.ssh_certificate.read_text(), profile.tls_certificate.read_text()) == ("new ssh\n", "new tls")


def test_what_the_roles_give_now_is_known_afterwards(profile: p.Profile, auth: Auth) -> None:
    sooner = profile.expires - 600
    auth.answer = certificates("new", logins=("deploy",), roles=("ops",), expires=sooner)
    grown_old(profile)

    refresh.refresh_if_due(PROXY)

    now = p.current()
    assert (now.logins, now.roles, now.expires) == (("deploy",), ("ops",), sooner)


def test_another_login_stays_the_present_one(profile: p.Profile, auth: Auth) -> None:
    keep("other.example.org:443", certificates(cluster="other"), SSH_KEY, TLS_KEY)
    grown_old(profile)

    refresh.refresh_if_due(PROXY)

    assert p.current().cluster == "other"
    assert len(auth.asked) == 1


def test_of_fifty_at_a_time_one_asks_and_all_find_the_result(profile: p.Profile, auth: Auth) -> None:
    grown_old(profile)
    begin = threading.Barrier(50)

    def start() -> str:
        begin.wait()
        refresh.refresh_if_due(PROXY)
        return profile.ssh_certificate.read_text()

    with ThreadPoolExecutor(50) as pool:
        found = [one.result() for one in [pool.submit(start) for _ in range(50)]]

    assert len(auth.asked) == 1
    assert set(found) == {"new ssh\n"}


def test_of_fifty_at_a_time_one_waits_for_a_cluster_that_is_away(profile: p.Profile, auth: Auth) -> None:
    auth.failure = Unavailable("away")
    grown_old(profile)

    def start() -> bool:
        try:
            refresh.refresh_if_due(PROXY)
        except Unavailable:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        went_on = [one.result() for one in [pool.submit(start) for _ in range(50)]]

    assert len(auth.asked) == 1
    assert went_on.count(False) == 1
    assert profile.ssh_certificate.read_text() == "old ssh\n"


def test_what_failed_is_tried_again_after_a_while(profile: p.Profile, auth: Auth) -> None:
    auth.failure = Unavailable("away")
    grown_old(profile)
    with pytest.raises(Unavailable):
        refresh.refresh_if_due(PROXY)
    auth.failure = None

    refresh.refresh_if_due(PROXY)
    before = len(auth.asked)
    age = time.time() - profile.refreshed.stat().st_mtime
    grown_old(profile, seconds=age + freshness.RETRY)
    refresh.refresh_if_due(PROXY)

    assert (before, len(auth.asked)) == (1, 2)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
@pytest.mark.parametrize("name", ["ssh_certificate", "host_authorities", "known_hosts"])
def test_a_damaged_file_is_made_again_at_once(profile: p.Profile, auth: Auth, name: str, damage: str) -> None:
    path: Path = getattr(profile, name)
    whole = path.read_text()
    path.unlink() if damage == "missing" else path.write_text("" if damage == "empty" else whole[:20])
    auth.answer = certificates()

    refresh.refresh_if_due(PROXY)

    assert path.read_text().strip().endswith(whole.strip())
    assert not freshness.is_damaged(profile)


@pytest.mark.parametrize("damage", ["", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_in_the_place_of_a_lost_ssh_key_comes_a_new_one(profile: p.Profile, auth: Auth, damage: str) -> None:
    profile.ssh_key.write_text(damage)

    refresh.refresh_if_due(PROXY)

    assert [public_of(profile.ssh_key)] == auth.asked != [SSH_PUBLIC]


def test_without_what_proves_who_asks_only_a_login_helps(profile: p.Profile) -> None:
    profile.tls_key.write_text("-----BEGIN PRIVATE KEY-----\n")

    ended = tsh("refresh")

    assert (ended.status, ended.output) == (1, "")
    assert "tsh: hint: log in again" in ended.errors


def test_a_network_without_an_answer_is_given_up_and_said_only_to_who_asked(profile: p.Profile) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here = replace(profile, proxy=f"127.0.0.1:{silent.getsockname()[1]}")
        answer = certificates(tls_certificate=AUTHORITIES.user("ann").certificate)
        keep(here.proxy, answer, SSH_KEY, AUTHORITIES.user("ann").key)
        grown_old(here)
        started = time.monotonic()

        with pytest.raises((Unavailable, Unauthenticated)):
            refresh.refresh_if_due(here.proxy, patience=0.3)

    assert time.monotonic() - started < 5
    assert (tsh("refresh", "--if-due").status, tsh("refresh", "--if-due").errors) == (0, "")


def test_an_expired_login_is_not_asked_for_again(profile: p.Profile, auth: Auth) -> None:
    p.save(replace(profile, expires=time.time() - 1))
    grown_old(profile)

    silent, spoken = tsh("refresh", "--if-due"), tsh("refresh")

    assert (silent.status, silent.errors) == (1, "")
    assert "the login has expired" in spoken.errors
    assert auth.asked == []


@pytest.mark.parametrize("lie", [{"user": "bob"}, {"cluster": "other"}])
def test_certificates_of_somebody_else_are_not_kept(profile: p.Profile, auth: Auth, lie: dict[str, str]) -> None:
    auth.answer = certificates("new", **lie)
    grown_old(profile)

    with pytest.raises(BadInput):
        refresh.refresh_if_due(PROXY)

    assert p.current() == profile
    assert profile.ssh_certificate.read_text() == "old ssh\n"


def test_an_answer_that_comes_after_another_login_is_dropped(profile: p.Profile, auth: Auth) -> None:
    auth.meanwhile = lambda: keep(PROXY, certificates("another"), SSH_KEY, TLS_KEY)
    grown_old(profile)

    refresh.refresh_if_due(PROXY)

    assert profile.ssh_certificate.read_text() == "another ssh\n"


def test_after_a_logout_nothing_comes_back(profile: p.Profile, auth: Auth) -> None:
    grown_old(profile)
    auth.meanwhile = lambda: p.forget(profile)

    refresh.refresh_if_due(PROXY)

    assert not [path for path in profile.folder.iterdir() if path.name != profile.refreshed.name]


def test_a_logout_waits_for_a_refresh_that_is_under_way(profile: p.Profile, auth: Auth) -> None:
    holds = threading.Event()

    def refreshing() -> bool:
        with freshness.alone(PROXY):
            holds.set()
            time.sleep(0.2)
            return profile.ssh_key.exists()

    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(refreshing)
        holds.wait(5)
        tsh("logout")
        undisturbed = under_way.result()

    assert undisturbed
    assert not profile.ssh_key.exists()


def test_where_nothing_can_be_written_nothing_is_refreshed_and_nothing_fails(
    profile: p.Profile, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown_old(profile)

    def refused(*_: object, **__: object) -> int:
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "open", refused)

    refresh.refresh_if_due(PROXY)

    assert auth.asked == []


def test_new_keys_of_the_cluster_reach_everything_that_trusts_it(profile: p.Profile, auth: Auth) -> None:
    later = Authorities()
    key = later.hosts.public.keys[0].ssh_public
    p.write_private(profile.configured_hosts, "@cert-authority *.acme,db-1 ssh-ed25519 AAAAold\n")
    auth.answer = certificates("new", authorities=tuple(one.encode().decode() for one in later.public))
    grown_old(profile)

    refresh.refresh_if_due(PROXY)

    trust = p.load_trust(PROXY)
    assert profile.known_hosts.read_text() == f"@cert-authority *.acme {key}\n"
    assert profile.configured_hosts.read_text() == f"@cert-authority *.acme,db-1 {key}\n"
    assert trust is not None
    assert trust.authority == profile.host_authorities.read_text() == later.hosts.public.certificates


def test_what_is_asked_for_is_what_one_has_for_no_other_time_and_no_other_roles(
    profile: p.Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[m.RenewRequest] = []

    class Client:
        async def __aenter__(self) -> "Client":
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def call(self, _route: object, request: m.RenewRequest) -> m.Certificates:
            asked.append(request)
            return certificates("new")

    monkeypatch.setattr("teleport.cli.connect.api_client", lambda _: Client())

    assert tsh("refresh").status == 0

    assert json.loads(asked[0].model_dump_json(exclude={"ssh_public_key", "tls_public_key"})) == {
        "roles": None, "ttl": 0.0,
    }  # fmt: skip

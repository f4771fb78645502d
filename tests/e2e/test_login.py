"""Enrolling and logging in at a terminal, what is kept, and what is refused."""

import json
import re
import subprocess
from collections.abc import Iterator

import pyotp
import pytest

from tests.e2e.world import LOGIN, PASSWORD, Person, World, missing, user


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    return world.person("ann").enrol()


def test_somebody_enrols_and_logs_in_by_answering_questions(world: World) -> None:
    world.write("users/ida.yaml", user("ida"))
    world.wait_event("user.create", name="ida")
    invitation = world.tctl("users", "invite", "ida").output
    command = re.search(r"tsh enrol .*", invitation)
    assert command is not None
    ida = world.person("ida")

    with ida.terminal(*command[0].split(), rows=60, columns=120) as terminal:
        terminal.expect("New password")
        terminal.type("short\n")
        terminal.expect("Once more")
        terminal.type("short\n")
        terminal.expect("the password is too short")
        terminal.expect("New password")
        terminal.type(PASSWORD + "\n")
        terminal.expect("Once more")
        terminal.type("something else\n")
        terminal.expect("tsh: .*the two passwords are not the same")
        terminal.expect("New password")
        terminal.type(PASSWORD + "\n")
        terminal.expect("Once more")
        terminal.type(PASSWORD + "\n")
        shown = terminal.expect(r"Scan this(.|\n)*secret=([A-Z2-7]+)&")
        assert "█" in shown[0] or "▄" in shown[0]
        ida.secret = shown[2]
        terminal.expect("Code from the app")
        terminal.type("123\n")
        terminal.expect("the code is wrong")
        terminal.type(pyotp.TOTP(ida.secret).now() + "\n")
        terminal.expect("Log in with: tsh login --proxy")
        assert terminal.wait() == 0
    with ida.terminal("tsh", "login", "--proxy", world.proxy, "--user", "ida") as terminal:
        terminal.expect("Password of ida: ")
        terminal.type(PASSWORD + "\n")
        terminal.expect("Code from the authenticator app: ")
        terminal.type(ida.code() + "\n")
        terminal.expect(rf"Logins: +{LOGIN}")
        assert terminal.wait() == 0
        assert PASSWORD not in terminal.text

    assert ida.ssh(f"{LOGIN}@db-1", "true").status == 0


def test_status_tells_who_and_until_when_and_logout_forgets(ann: Person) -> None:
    ann.login("--ttl", "1h")

    text = ann.tsh("status").output
    status = json.loads(ann.tsh("status", "-o", "json").output)

    assert "(59m left)" in text
    assert (status["user"], status["cluster"], status["logins"]) == ("ann", "acme", [LOGIN])
    assert ann.tsh("logout").status == 0
    gone = ann.tsh("status")
    assert (gone.status, "not logged in" in gone.errors) == (1, True)
    assert ann.ssh(f"{LOGIN}@db-1", "true").status == 1
    kept = [path for path in (ann.home / ".tsh").rglob("*") if path.is_file()]
    assert [path.name for path in kept if "PRIVATE KEY" in path.read_text(errors="replace")] == []


def test_what_is_kept_is_private(ann: Person) -> None:
    ann.login()

    paths = [ann.home / ".tsh", *(ann.home / ".tsh").rglob("*")]

    wrong = [(path.name, oct(path.stat().st_mode)) for path in paths if path.stat().st_mode & 0o077]
    assert wrong == []


@pytest.fixture
def agent(world: World) -> Iterator[dict[str, str]]:
    """A running ssh-agent."""
    if reason := missing("ssh-agent", "ssh-add"):
        pytest.skip(reason)
    socket = str(world.root / "agent")
    program = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    yield {"SSH_AUTH_SOCK": socket}
    program.terminate()
    program.wait()


def test_keys_go_into_a_running_ssh_agent_and_out_again(agent: dict[str, str], world: World) -> None:
    ann = world.newcomer("agnes")
    login = ann.run(
        "tsh", "login", "--proxy", world.proxy, "--user", "agnes", "--password-stdin", "--mfa-code", ann.code(),
        stdin=PASSWORD + "\n", env=agent,
    )  # fmt: skip
    inside = ann.run("ssh-add", "-l", env=agent).output

    out = ann.run("tsh", "logout", env=agent)

    assert (login.status, out.status) == (0, 0)
    assert "ED25519-CERT" in inside
    assert "no identities" in ann.run("ssh-add", "-l", env=agent).output


def test_a_later_login_takes_the_earlier_ones_key_out_of_the_ssh_agent(agent: dict[str, str], world: World) -> None:
    ann = world.newcomer("agatha")
    login = ["tsh", "login", "--proxy", world.proxy, "--user", "agatha", "--password-stdin", "--mfa-code"]
    ann.run(*login, ann.code(), stdin=PASSWORD + "\n", env=agent)
    first = ann.run("ssh-add", "-l", env=agent).output
    ann.run(*login, ann.code(), stdin=PASSWORD + "\n", env=agent)

    second = ann.run("ssh-add", "-l", env=agent).output

    assert (len(first.splitlines()), len(second.splitlines())) == (2, 2)
    assert set(first.splitlines()).isdisjoint(second.splitlines())


def test_a_locked_ssh_agent_is_told_of_and_stops_nobody(agent: dict[str, str], world: World) -> None:
    ann = world.newcomer("agneta")
    with ann.terminal("ssh-add", "-x", env=agent) as terminal:
        for question in ("password: ", "Again: "):
            terminal.expect(question)
            terminal.type("closed\n")
        assert terminal.wait() == 0
    login = ann.run(
        "tsh", "login", "--proxy", world.proxy, "--user", "agneta", "--password-stdin", "--mfa-code", ann.code(),
        stdin=PASSWORD + "\n", env=agent,
    )  # fmt: skip

    out = ann.run("tsh", "logout", env=agent)

    assert (login.status, out.status) == (0, 0)
    assert "the ssh-agent did not take the key" in login.errors
    assert "the ssh-agent gave no key back" in out.errors


def test_an_ssh_agent_that_is_gone_is_as_good_as_none(world: World) -> None:
    ann = world.newcomer("agda")
    gone = {"SSH_AUTH_SOCK": str(world.root / "nobody-here")}
    login = ann.run(
        "tsh", "login", "--proxy", world.proxy, "--user", "agda", "--password-stdin", "--mfa-code", ann.code(),
        stdin=PASSWORD + "\n", env=gone,
    )  # fmt: skip

    out = ann.run("tsh", "logout", env=gone)

    assert (login.status, login.errors, out.status, out.errors) == (0, "", 0, "")


def test_half_a_pin_is_told_from_another_server(world: World) -> None:
    result = world.person("ben").tsh(
        "login", "--proxy", world.proxy, "--user", "ben", "--ca-pin", world.pin[:-1], "--password-stdin",
        "--mfa-code", "123456", stdin="\n",
    )  # fmt: skip

    assert result.status == 2
    assert "is not a pin" in result.errors


def test_a_proxy_with_another_key_than_pinned_is_refused(world: World) -> None:
    nobody = world.person("nobody")
    pin = "sha256:" + "0" * 64

    result = nobody.tsh(
        "login", "--proxy", world.proxy, "--user", "x", "--ca-pin", pin, "--password-stdin", stdin="x\n"
    )

    assert result.status == 2
    assert "does not have the pinned key" in result.errors


def test_a_proxy_that_nobody_vouches_for_is_refused_with_advice(world: World) -> None:
    result = world.person("nobody").tsh("login", "--proxy", world.proxy, "--user", "x", "--password-stdin", stdin="x\n")

    assert result.status == 1
    assert "is not trusted by this system" in result.errors
    assert "--ca-pin" in result.errors


def test_insecure_is_only_for_loopback(world: World) -> None:
    nobody = world.person("nobody")
    more = ("--insecure", "--user", "x", "--password-stdin")

    elsewhere = nobody.tsh("login", "--proxy", "192.0.2.1:3080", *more, stdin="x\n")
    here = nobody.tsh("login", "--proxy", world.proxy, *more, "--mfa-code", "1", stdin="x\n")

    assert "only for a loopback address" in elsewhere.errors
    assert "user name, password or code is wrong" in here.errors


def test_a_wrong_name_a_wrong_password_and_a_wrong_code_look_alike(world: World) -> None:
    ann = world.newcomer("wendy")

    def attempt(name: str, password: str, code: str) -> str:
        arguments = ("--proxy", world.proxy, "--user", name, "--password-stdin", "--mfa-code", code)
        return ann.tsh("login", *arguments, stdin=password + "\n").errors

    answers = {
        attempt("no-such-user", PASSWORD, "123456"),
        attempt("wendy", "wrong password", ann.code()),
        attempt("wendy", PASSWORD, "000000"),
    }

    assert answers == {"tsh: error: user name, password or code is wrong\n"}
    refused = world.wait_event("user.login", success=False, user="no-such-user")
    assert refused["code"] == "T1000W"


def test_guessing_is_slowed_down_for_that_user_at_that_address(world: World) -> None:
    world.write("users/guess.yaml", user("guess"))
    world.wait_event("user.create", name="guess")
    nobody = world.person("nobody")
    arguments = (
        "--proxy",
        world.proxy,
        "--user",
        "guess",
        "--password-stdin",
        "--mfa-code",
        "1",
        "--ca-pin",
        world.pin,
    )

    answers = (nobody.tsh("login", *arguments, stdin="x\n").errors for _ in range(16))

    assert any("too many failed attempts" in answer for answer in answers)


def test_only_roles_that_one_has_can_be_asked_for(world: World) -> None:
    lea = world.newcomer("lea", roles="dev, auditor")
    arguments = ("login", "--proxy", world.proxy, "--user", "lea", "--password-stdin", "--mfa-code")

    wrong = lea.tsh(*arguments, lea.code(), "--request-roles", "admin", stdin=PASSWORD + "\n")
    fewer = lea.tsh(*arguments, lea.code(), "--request-roles", "auditor", stdin=PASSWORD + "\n")

    assert (wrong.status, "lea does not have role admin" in wrong.errors) == (2, True)
    assert (fewer.status, "Roles:       auditor" in fewer.output) == (0, True)
    assert lea.ssh(f"{LOGIN}@db-1", "true").status == 255


def test_an_invitation_works_once_and_a_reset_takes_the_old_factors_away(world: World) -> None:
    bob = world.person("bob").enrol().login()
    invitation = world.tctl_json("users", "reset", "bob", "-o", "json")

    after = bob.tsh("login", "--proxy", world.proxy, "--user", "bob", "--password-stdin", "--mfa-code", bob.code(),
                    stdin=PASSWORD + "\n")  # fmt: skip
    guess = bob.tsh("enrol", "--proxy", world.proxy, "--token", "x" * 32, "--password-stdin", stdin=PASSWORD + "\n")

    assert after.status == 1
    assert "does not exist, has expired or was used" in guess.errors
    assert invitation["user"] == "bob"

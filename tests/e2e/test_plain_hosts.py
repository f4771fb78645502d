"""Hosts with only OpenSSH, behind the proxy, with Debian's sshd."""

from collections.abc import Iterator

import pytest

from tests.e2e.plain import PlainHost, plain_host
from tests.e2e.world import LOGIN, Person, World, missing, wait_until


@pytest.fixture(scope="module")
def host(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainHost]:
    if reason := missing("sshd"):
        pytest.skip(reason)
    with plain_host(world, tmp_path_factory.mktemp("old")) as found:
        yield found


@pytest.fixture(scope="module")
def ann(world: World, host: PlainHost) -> Person:
    person = world.person("ann").enrol().login()
    wait_until(lambda: host.name in person.tsh("ls").output, what="the host in tsh ls")
    return person


def test_a_command_runs(world: World, host: PlainHost, ann: Person) -> None:
    result = ann.ssh(f"{LOGIN}@{host.name}", "echo hello; echo bad >&2; exit 3")

    print(result, world.log[-6000:], host.log[-2000:])
    assert (result.status, result.output) == (3, "hello\n")


def test_more(world: World, host: PlainHost, ann: Person) -> None:
    where = f"{LOGIN}@{host.name}"
    assert ann.ssh(where, "cat", stdin="x" * 100000).output == "x" * 100000
    with ann.terminal("tsh", "ssh", where) as terminal:
        terminal.expect(r"\$ ")
        terminal.type("stty size; tty\n")
        terminal.expect("24 80")
        terminal.resize(30, 90)
        terminal.type("sleep 0.2; stty size\n")
        terminal.expect("30 90")
        terminal.type("exit 7\n")
        assert terminal.wait() == 7
    print(world.events()[-12:])
    assert world.wait_event("session.end", server_id="old-1")["server_sub_kind"] == "openssh"
    config = ann.tsh("config").output
    (ann.home / ".ssh").mkdir(exist_ok=True)
    (ann.home / ".ssh/config").write_text(config)
    (ann.home / "file").write_bytes(b"data" * 1000)
    r = ann.run("scp", "-F", str(ann.home / ".ssh/config"), "file", f"{where}:copied")
    assert r.status == 0, r.errors
    print(world.wait_event("sftp", server_id="old-1"))
    r = ann.run("scp", "-F", str(ann.home / ".ssh/config"), "-O", f"{where}:copied", "back")
    assert r.status == 0, r.errors
    assert (ann.home / "back").read_bytes() == b"data" * 1000
    print(world.log[-3000:])

"""Files, as people and programs copy them: tsh scp, scp by both protocols, sftp, rsync and git, and what roles say."""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import LOGIN, ROLE, Finished, Person, World, missing, user, wait_until

HOST = "db-1.acme"
BIG = 200 * 1024 * 1024
STRANGE = [b"with space", b"new\nline", b"caf\xe9", b"-dash", b"quo'te \"$HOME`id`"]
NO_COPIES = ROLE.replace("name: dev", "name: still").replace("spec:", "spec:\n  options: {ssh_file_copy: no}")

pytestmark = [
    pytest.mark.skipif(bool(missing("scp", "sftp")), reason=missing("scp", "sftp")),
    pytest.mark.skipif(not Path("/usr/lib/openssh/sftp-server").exists(), reason="not installed: sftp-server"),
]
needs_rsync = pytest.mark.skipif(bool(missing("rsync")), reason=missing("rsync"))
needs_git = pytest.mark.skipif(bool(missing("git")), reason=missing("git"))
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")


@pytest.fixture(scope="module")
def ann(world: World) -> Person:
    return configured(world.person("ann").enrol().login())


@pytest.fixture(scope="module")
def bob(world: World) -> Person:
    """Somebody whose roles do not permit copying files."""
    world.write("roles/still.yaml", NO_COPIES)
    world.write("users/bob.yaml", user("bob", roles="dev, still"))
    bob = configured(world.person("bob").enrol().login())
    wait_until(lambda: "not permit" in bob.ssh(f"{LOGIN}@db-1", "scp -t /tmp").errors)
    return bob


def configured(person: Person) -> Person:
    (person.home / "ssh_config").write_text(person.tsh("config").output)
    return person


def scp(person: Person, *arguments: str, timeout: float = 20) -> Finished:
    return person.run("scp", "-q", "-F", "ssh_config", *arguments, timeout=timeout)


def copied(result: Finished) -> None:
    assert result.status == 0, result.errors


@pytest.fixture
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the host, of the login, which the person's side does not use."""
    folder = Path("/tmp") / f"teleport-files-{os.getpid()}-{tmp_path_factory.mktemp('there').name}"
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, LOGIN)
    yield folder
    shutil.rmtree(folder)


def tree(folder: Path) -> dict[bytes, bytes | None]:
    """Names and contents of everything below a folder."""
    root = os.fsencode(folder)
    found: dict[bytes, bytes | None] = {}
    for where, folders, files in os.walk(root):
        below = os.path.relpath(where, root)
        found |= {os.path.join(below, name): None for name in folders}
        for name in files:
            with open(os.path.join(where, name), "rb") as file:
                found[os.path.join(below, name)] = file.read()
    return found


def strange_files(folder: Path) -> Path:
    """A folder of files under names that are hard to write down."""
    (folder / "deep" / "er").mkdir(parents=True)
    for name in STRANGE:
        with open(os.path.join(os.fsencode(folder), b"deep", name), "wb") as file:
            file.write(name * 3)
    (folder / "deep" / "er" / "empty").touch()
    return folder


# -- tsh scp


def test_tsh_scp_copies_a_tree_there_and_back(ann: Person, there: Path, tmp_path: Path) -> None:
    source = strange_files(tmp_path / "source")
    os.utime(source / "deep", (1_000_000_000, 1_000_000_000))

    copied(ann.tsh("scp", "-r", "-p", str(source), f"{LOGIN}@db-1:{there}/"))
    copied(ann.tsh("scp", "-r", "-p", f"{LOGIN}@db-1:{there}/source", str(tmp_path / "back")))

    assert tree(tmp_path / "back") == tree(source)
    assert (tmp_path / "back" / "deep").stat().st_mtime == 1_000_000_000


def test_tsh_scp_takes_several_sources_the_home_and_the_usual_login(ann: Person, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)

    copied(ann.tsh("scp", "--login", LOGIN, str(tmp_path / "one"), str(tmp_path / "two"), "db-1:"))

    assert ann.ssh(f"{LOGIN}@db-1", "cat one two; rm one two").output == "onetwo"


def test_tsh_scp_copies_from_host_to_host_by_way_of_here(ann: Person, there: Path) -> None:
    (there / "from").write_text("content")

    copied(ann.tsh("scp", f"{LOGIN}@db-1:{there}/from", f"{LOGIN}@{HOST}:{there}/to"))

    assert (there / "to").read_text() == "content"


def test_tsh_scp_reports_what_fails(ann: Person, tmp_path: Path) -> None:
    result = ann.tsh("scp", f"{LOGIN}@db-1:/no/such/file", str(tmp_path))

    assert result.status == 1
    assert "No such file" in result.errors


@pytest.mark.parametrize(
    ("paths", "error"),
    [
        ((), "what is copied, and where to?"),
        (("a",), "what is copied, and where to?"),
        (("a", "./b:c"), "none of the paths is on a host"),
        (("a", "scp://db-1/b"), "is a URI"),
        (("--", "a", "-oProxyCommand=id:x"), "names no host"),
        (("--", "-oProxyCommand=id@db-1:x", "a"), "names no host"),
    ],
)
def test_tsh_scp_refuses_what_is_no_copy(ann: Person, paths: tuple[str, ...], error: str) -> None:
    result = ann.tsh("scp", *paths)

    assert result.status == 2
    assert error in result.errors


@pytest.fixture
def without_scp(ann: Person) -> Person:
    """Somebody with no OpenSSH: tsh is all there is in their path."""
    folder = ann.home / "only-tsh"
    folder.mkdir(exist_ok=True)
    tsh = folder / "tsh"
    if not tsh.exists():
        tsh.symlink_to(shutil.which("tsh", path=ann.environment()["PATH"]) or "")
    return ann


def test_without_an_scp_program_files_are_copied_all_the_same(without_scp: Person, there: Path, tmp_path: Path) -> None:
    source, only = strange_files(tmp_path / "source"), {"PATH": str(without_scp.home / "only-tsh")}

    copied(without_scp.run("tsh", "scp", "-r", str(source), f"{LOGIN}@db-1:{there}/", env=only))
    copied(without_scp.run("tsh", "scp", "-r", f"{LOGIN}@db-1:{there}/source", str(tmp_path / "back"), env=only))
    unknown = without_scp.run("tsh", "scp", "-O", "a", f"{LOGIN}@db-1:", env=only)

    assert tree(tmp_path / "back") == tree(source)
    assert "-O needs an scp program, and there is none" in unknown.errors


# -- the clients of OpenSSH


@pytest.mark.parametrize("protocol", ["-s", "-O"])
def test_scp_copies_a_tree_there_and_back_by_either_protocol(
    ann: Person, there: Path, tmp_path: Path, protocol: str
) -> None:
    source = strange_files(tmp_path / "source")
    if protocol == "-O":
        os.remove(os.path.join(os.fsencode(source), b"deep", b"new\nline"))  # that protocol's own limit

    copied(scp(ann, protocol, "-r", str(source), f"{LOGIN}@{HOST}:{there}/"))
    copied(scp(ann, protocol, "-r", f"{LOGIN}@{HOST}:{there}/source", str(tmp_path / "back")))

    assert tree(tmp_path / "back") == tree(source)


def test_scp_takes_a_name_that_is_no_utf8_by_the_old_protocol(ann: Person, there: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (there / name).write_text("content")

    copied(scp(ann, "-O", f"{LOGIN}@{HOST}:{there}/{name}", str(tmp_path / "here")))

    assert (tmp_path / "here").read_text() == "content"


@as_root
def test_files_belong_to_the_login_and_only_what_it_may_read_can_be_read(ann: Person, there: Path) -> None:
    copied(scp(ann, "ssh_config", f"{LOGIN}@{HOST}:{there}/file"))
    secret = scp(ann, f"{LOGIN}@{HOST}:/etc/shadow", "shadow")

    assert (there / "file").owner() == LOGIN
    assert secret.status == 1
    assert "Permission denied" in secret.errors


def test_an_sftp_session_is_written_down_operation_by_operation(ann: Person, world: World, there: Path) -> None:
    batch = ann.home / "batch"
    batch.write_text(
        f"mkdir {there}/d\nput ssh_config {there}/d/a\nget {there}/d/a copy\nrename {there}/d/a {there}/d/b\n"
        f"chmod 600 {there}/d/b\nln -s b {there}/d/l\nln {there}/d/b {there}/d/h\nls {there}/d\n-rm {there}/none\n"
        f"rm {there}/d/b\nrm {there}/d/l\nrm {there}/d/h\nrmdir {there}/d\n"
    )
    size = (ann.home / "ssh_config").stat().st_size

    copied(ann.run("sftp", "-q", "-F", "ssh_config", "-b", str(batch), f"{LOGIN}@{HOST}"))

    world.wait_event("sftp", action="rmdir", path=f"{there}/d")
    events = [one for one in world.events("sftp") if str(there) in one["path"]]
    done = [(one["action"], one["path"].removeprefix(f"{there}/")) for one in events]
    assert [one for one in done if one[0] not in ("setstat", "fsetstat", "opendir")] == [
        ("mkdir", "d"), ("open", "d/a"), ("close", "d/a"), ("open", "d/a"), ("close", "d/a"), ("rename", "d/a"),
        ("symlink", "d/l"), ("link", "d/h"), ("remove", "none"), ("remove", "d/b"), ("remove", "d/l"),
        ("remove", "d/h"), ("rmdir", "d"),
    ]  # fmt: skip
    closed = [(one.get("bytes_written"), one.get("bytes_read")) for one in events if one["action"] == "close"]
    assert closed == [(size, None), (None, size)]
    (failed,) = [one for one in events if one["code"] == "TS011E"]
    assert (failed["path"], failed["error"]) == (f"{there}/none", "no such file")
    start = next(one for one in world.events("session.start") if one["sid"] == failed["sid"])
    assert start["initial_command"] == ["sftp"]
    assert world.wait_event("subsystem", sid=failed["sid"])["name"] == "sftp"
    assert world.wait_event("session.end", sid=failed["sid"])


def test_the_old_protocol_is_written_down_with_path_and_direction(ann: Person, world: World, there: Path) -> None:
    copied(scp(ann, "-O", "ssh_config", f"{LOGIN}@{HOST}:{there}/file"))
    copied(scp(ann, "-O", f"{LOGIN}@{HOST}:{there}/file", "copy"))
    failed = scp(ann, "-O", f"{LOGIN}@{HOST}:{there}/none", "copy")

    assert failed.status == 1
    assert world.wait_event("scp", action="upload", path=f"{there}/file")["code"] == "T3005I"
    assert world.wait_event("scp", action="download", path=f"{there}/file")["code"] == "T3004I"
    assert world.wait_event("scp", action="download", path=f"{there}/none")["code"] == "T3004E"


def test_the_bytes_of_files_are_in_no_recording(ann: Person, world: World, there: Path) -> None:
    marker = "marker-of-a-file-that-was-copied\n"
    (there / "file").write_text(marker * 50_000)

    copied(scp(ann, "-O", f"{LOGIN}@{HOST}:{there}/file", "copy"))
    copied(scp(ann, f"{LOGIN}@{HOST}:{there}/file", "copy"))

    sid = world.wait_event("scp", path=f"{there}/file")["sid"]
    output = wait_until(lambda: next(iter((world.data / "recordings").glob(f"**/{sid}/output")), None))
    assert len(output.read_bytes()) < 1000
    assert not [path for path in world.data.rglob("output") if marker.encode() in path.read_bytes()]


@needs_rsync
def test_rsync_brings_a_tree_there_and_back(ann: Person, there: Path, tmp_path: Path) -> None:
    source = strange_files(tmp_path / "source")
    over = ("rsync", "-a", "-e", "ssh -F ssh_config")

    copied(ann.run(*over, f"{source}/", f"{LOGIN}@{HOST}:{there}/tree/"))
    copied(ann.run(*over, "--delete", f"{LOGIN}@{HOST}:{there}/tree/", str(tmp_path / "back")))

    assert tree(tmp_path / "back") == tree(source)


@needs_git
def test_git_clones_and_pushes(ann: Person, there: Path) -> None:
    as_login = f"git init -q --bare {there}/repo.git"
    assert ann.ssh(f"{LOGIN}@db-1", as_login).status == 0
    git = {
        "GIT_SSH_COMMAND": "ssh -F $HOME/ssh_config", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip
    script = (
        f"git clone -q {LOGIN}@{HOST}:{there}/repo.git work && cd work && echo content > file && git add file && "
        f"git commit -qm first && git push -q origin HEAD:main && cd .. && "
        f"git clone -q -b main {LOGIN}@{HOST}:{there}/repo.git again && cat again/file"
    )

    result = ann.run("sh", "-c", script, env=git)

    assert (result.status, result.output) == (0, "content\n"), result.errors


def test_a_big_file_arrives_whole_and_the_agent_stays_small(ann: Person, world: World, there: Path) -> None:
    big = ann.home / "big"
    with big.open("wb") as file:
        for number in range(BIG >> 20):
            file.write(hashlib.sha256(b"%d" % number).digest() * (1 << 15))
    before = peak(world)

    copied(scp(ann, "big", f"{LOGIN}@{HOST}:{there}/big", timeout=60))
    copied(scp(ann, "-O", f"{LOGIN}@{HOST}:{there}/big", "back", timeout=60))

    assert digest(there / "big") == digest(ann.home / "back") == digest(big)
    assert peak(world) - before < 64 << 20
    for path in (big, ann.home / "back"):
        path.unlink()


def peak(world: World) -> int:
    """The most memory that the process has had, in bytes."""
    assert world.process is not None
    status = Path(f"/proc/{world.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- what roles say


@pytest.mark.parametrize(
    "arguments",
    [("ssh_config", "{}/x"), ("{}/x", "y"), ("-O", "ssh_config", "{}/x"), ("-O", "{}/x", "y")],
    ids=["upload", "download", "old upload", "old download"],
)
def test_scp_is_refused_where_the_roles_permit_no_copies(bob: Person, there: Path, arguments: tuple[str, ...]) -> None:
    (there / "x").write_text("untouched")

    result = scp(bob, *(word.format(f"{LOGIN}@{HOST}:{there}") for word in arguments))

    assert result.status != 0
    assert "the roles do not permit copying files" in result.errors
    assert (there / "x").read_text() == "untouched"
    assert not (bob.home / "y").exists()


def test_sftp_and_rsync_are_refused_as_well_and_all_is_written_down(bob: Person, world: World, there: Path) -> None:
    results = [bob.run("sftp", "-q", "-F", "ssh_config", "-b", "/dev/null", f"{LOGIN}@{HOST}")]
    if not missing("rsync"):
        results.append(bob.run("rsync", "-a", "-e", "ssh -F ssh_config", "ssh_config", f"{LOGIN}@{HOST}:{there}/x"))
    results.append(bob.ssh(f"{LOGIN}@db-1", "/usr/lib/openssh/sftp-server"))

    assert all(result.status != 0 for result in results)
    assert ["the roles do not permit copying files" in result.errors for result in results] == [True] * len(results)
    assert world.wait_event("sftp", user="bob", action="disallowed")["code"] == "TS020E"
    assert not list(there.iterdir())


def test_who_may_not_copy_may_still_run_commands(bob: Person) -> None:
    assert bob.ssh(f"{LOGIN}@db-1", "echo works").output == "works\n"


@pytest.fixture
def edited(world: World, ann: Person) -> Iterator[None]:
    yield
    world.write("roles/dev.yaml", ROLE)
    wait_until(lambda: "not permit" not in ann.ssh(f"{LOGIN}@db-1", "scp -t /none").errors)


@pytest.mark.usefixtures("edited")
def test_a_copy_that_runs_ends_when_the_roles_permit_it_no_more(ann: Person, world: World, there: Path) -> None:
    (there / "slow").write_bytes(bytes(8 << 20))
    here = ann.home / "here"
    arguments = ["scp", "-q", "-l", "4000", "-F", "ssh_config", f"{LOGIN}@{HOST}:{there}/slow", str(here)]
    with subprocess.Popen(arguments, env=ann.environment(), cwd=ann.home, stderr=subprocess.PIPE, text=True) as copy:
        wait_until(lambda: here.exists() and here.stat().st_size)

        edit = time.monotonic()
        world.write("roles/dev.yaml", NO_COPIES.replace("name: still", "name: dev"))
        _, errors = copy.communicate(timeout=20)
        took = time.monotonic() - edit

    assert copy.returncode != 0
    assert "access withdrawn: the roles do not permit copying files" in errors
    assert took < 2
    assert here.stat().st_size < 8 << 20
    closed = world.wait_event("sftp", action="close", path=f"{there}/slow")
    assert closed["bytes_read"]
    ended = world.wait_event("session.end", sid=closed["sid"])
    assert ended["reason"] == "access withdrawn: the roles do not permit copying files"
    assert ann.ssh(f"{LOGIN}@db-1", "echo works").output == "works\n"


def test_another_subsystem_is_refused_and_written_down_with_the_reason(ann: Person, world: World) -> None:
    result = ann.run("ssh", "-F", "ssh_config", "-s", f"{LOGIN}@{HOST}", "netconf")

    assert result.status == 255
    event = world.wait_event("subsystem", name="netconf")
    assert (event["code"], event["exitError"]) == ("T3001E", "this subsystem is not offered")

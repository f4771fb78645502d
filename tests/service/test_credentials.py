"""A host's certificates: kept in a file, taken up again while they are valid, renewed in time and until it works."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from teleport.api.models import HostCertificates
from teleport.core.errors import Unavailable
from teleport.service.credentials import HostCredentials, HostKeys, Subject, load_credentials, new_credentials
from tests.builders import FakeClock

DAY = 86400.0
HOST = Subject("db-1")


class Authority:
    """Certifies for thirty days, as far as it is there, and counts how often it was asked."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.asked, self.away = 0, False

    async def certify(self, keys: HostKeys, subject: Subject) -> HostCertificates:
        self.asked += 1
        if self.away:
            raise Unavailable("nobody answers")
        return HostCertificates(
            host_id="u-1", cluster="acme", ssh_certificate=subject.hostname, tls_certificate="", authorities=(),
            expires=self._clock.time() + 30 * DAY, suggested_labels={"env": "prod"} if self.asked == 1 else {},
        )  # fmt: skip


@contextmanager
def kept_fresh(credentials: HostCredentials, authority: Authority, clock: FakeClock) -> Iterator[None]:
    keeping = asyncio.ensure_future(credentials.keep_fresh(authority.certify, HOST, clock=clock))
    yield
    keeping.cancel()


async def later(clock: FakeClock, seconds: float, *, step: float = 3600.0) -> None:
    """Let time pass in steps, so that everybody who sleeps wakes when they should."""
    for _ in range(int(seconds / step)):
        clock.advance(step)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_what_was_kept_is_taken_up_again_with_the_same_keys(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "hosts" / "node.json"
    made = await new_credentials(path, Authority(clock).certify, HOST)

    again = load_credentials(path, now=clock.time())

    assert again is not None
    assert (again.keys, again.host_id, again.subject) == (made.keys, "u-1", HOST)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "node.json"
    await new_credentials(path, Authority(clock).certify, HOST)
    path.chmod(0o644)

    load_credentials(path, now=clock.time())

    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_has_run_out_or_is_damaged_is_not_taken_up(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "node.json"
    await new_credentials(path, Authority(clock).certify, HOST)

    expired = load_credentials(path, now=clock.time() + 30 * DAY)
    path.write_bytes(path.read_bytes()[:100])

    assert expired is None
    assert load_credentials(path, now=clock.time()) is None
    assert load_credentials(tmp_path / "none.json", now=clock.time()) is None


async def test_certificates_are_renewed_with_a_third_of_their_time_left_and_everybody_is_told(tmp_path: Path) -> None:
    clock = FakeClock()
    authority, path, told = Authority(clock), tmp_path / "node.json", 0
    credentials = await new_credentials(path, authority.certify, HOST)

    def renewed() -> None:
        nonlocal told
        told += 1

    credentials.subscribe(renewed)
    with kept_fresh(credentials, authority, clock):
        await later(clock, 19 * DAY)
        before = authority.asked
        await later(clock, 2 * DAY)

    assert (before, authority.asked, told) == (1, 2, 1)
    assert credentials.certificates.suggested_labels == {"env": "prod"}
    kept = load_credentials(path, now=clock.time())
    assert kept is not None
    assert kept.certificates == credentials.certificates


async def test_a_renewal_that_fails_is_tried_until_it_works(tmp_path: Path) -> None:
    clock = FakeClock()
    authority = Authority(clock)
    credentials = await new_credentials(tmp_path / "node.json", authority.certify, HOST)
    authority.away = True
    with kept_fresh(credentials, authority, clock):
        await later(clock, 21 * DAY)
        await later(clock, 600, step=60.0)
        tried = authority.asked
        authority.away = False

        await later(clock, 120, step=60.0)

    assert tried > 10
    assert credentials.certificates.expires > clock.time() + 29 * DAY


async def test_certificates_that_cannot_be_kept_are_not_used_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    authority = Authority(clock)
    credentials = await new_credentials(tmp_path / "node.json", authority.certify, HOST)
    first, told = credentials.certificates, []
    credentials.subscribe(lambda: told.append(credentials.certificates))

    def full(*_: object) -> None:
        raise OSError(28, "no space left on device")

    with kept_fresh(credentials, authority, clock):
        with monkeypatch.context() as disk:
            disk.setattr("teleport.service.credentials.write_durably", full)
            await later(clock, 21 * DAY)
            while_full = credentials.certificates
        await later(clock, 600, step=60.0)

    assert while_full is first
    assert told == [credentials.certificates] != [first]


async def test_a_host_that_goes_by_another_name_now_is_certified_at_once(tmp_path: Path) -> None:
    clock = FakeClock()
    authority = Authority(clock)
    credentials = await new_credentials(tmp_path / "node.json", authority.certify, Subject("old-name"))

    with kept_fresh(credentials, authority, clock):
        await later(clock, 2, step=1.0)

    assert (credentials.certificates.ssh_certificate, credentials.subject) == ("db-1", HOST)

"""Attacks on the login: guessing, replaying, asking who exists, and keeping others out."""

import asyncio
from typing import Any

import pytest
from argon2 import PasswordHasher

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.auth.credentials import Credentials
from teleport.core.errors import AccessDenied, TeleportError, Throttled, Unauthenticated
from tests.auth.cluster import CHEAP, PASSWORD, SSH_KEY, TLS_KEY, Cluster, role, user

HERE, ELSEWHERE = "192.0.2.66", "198.51.100.7"


async def attempt(cluster: Cluster, *, address: str = HERE, caller: Caller | None = None, **given: Any) -> Any:
    """A login as ann with a wrong password and code, unless something else is given."""
    fields = {"user": "ann", "password": "wrong", "code": "000000", **given}
    request = m.LoginRequest(ssh_public_key=SSH_KEY, tls_public_key=TLS_KEY, **fields)
    return await cluster.call("login", request, caller or Caller(None, address))


async def failure(cluster: Cluster, **given: Any) -> TeleportError:
    with pytest.raises(TeleportError) as caught:
        await attempt(cluster, **given)
    return caught.value


async def test_a_code_works_once(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    code = cluster.code(totp)
    await attempt(cluster, password=PASSWORD, code=code)

    replayed = await failure(cluster, password=PASSWORD, code=code)

    assert isinstance(replayed, Unauthenticated)


async def test_of_several_logins_with_one_code_at_the_same_moment_one_succeeds(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    code = cluster.code(totp)

    logins = [attempt(cluster, password=PASSWORD, code=code) for _ in range(4)]
    answers = await asyncio.gather(*logins, return_exceptions=True)

    assert sorted(isinstance(answer, m.Certificates) for answer in answers) == [False, False, False, True]


async def test_after_a_code_no_older_one_works(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    older = cluster.code(totp)
    cluster.clock.advance(30)
    await cluster.login(totp)

    assert isinstance(await failure(cluster, password=PASSWORD, code=older), Unauthenticated)


async def test_a_code_of_long_ago_or_of_the_future_does_not_work(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()

    for seconds in (-90, -60, 60, 90):
        code = totp.at(int(cluster.clock.time()) + seconds)
        assert isinstance(await failure(cluster, password=PASSWORD, code=code, address=f"203.0.113.{seconds % 99}"),
                          Unauthenticated)  # fmt: skip


@pytest.mark.parametrize("code", ["", " ", "-1", "１２３４５６", "00000", "0000000", "x" * 200, "\x00"])
async def test_what_is_no_code_is_refused_like_a_wrong_one(cluster: Cluster, code: str) -> None:
    await cluster.declare(role(), user())
    await cluster.enrol()

    assert isinstance(await failure(cluster, password=PASSWORD, code=code), Unauthenticated)


class Counting(PasswordHasher):
    """Argon2 that counts how often it was run."""

    runs = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:
        self.runs += 1
        return CHEAP.verify(hash, password)


async def test_a_name_that_nobody_has_costs_and_says_the_same_as_a_wrong_password(cluster: Cluster) -> None:
    hasher = Counting(time_cost=1, memory_cost=8, parallelism=1)
    await cluster.declare(role(), user(), user("bob"))
    totp = await cluster.enrol()
    cluster.auth.credentials.close()
    cluster.auth.credentials = Credentials(cluster.auth.store, clock=cluster.clock, cluster="acme", hasher=hasher)

    cases: list[dict[str, Any]] = [
        {"user": "nobody"}, {"user": "bob"}, {"user": "ann"}, {"user": "ann", "password": PASSWORD},
        {"user": "ann", "code": cluster.code(totp)}, {"user": ""}, {"user": "a\x00b"}, {"user": "../ann"},
    ]  # fmt: skip
    errors: list[tuple[object, ...]] = []
    costs: list[int] = []
    for case in cases:
        before = hasher.runs
        error = await failure(cluster, **{"address": f"203.0.113.{len(errors)}", **case})
        errors.append((type(error), error.message, error.hint, dict(error.details)))
        costs.append(hasher.runs - before)

    assert len(set(map(str, errors))) == 1
    assert set(costs) == {1}
    cluster.auth.credentials.close()


async def test_guessing_is_slowed_down_more_and_more(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    tried = 0
    for _ in range(3600):
        try:
            await attempt(cluster)
        except Throttled:
            pass
        except Unauthenticated:
            tried += 1
        cluster.clock.advance(1)

    assert tried < 80
    with pytest.raises(Throttled):
        await attempt(cluster, password=PASSWORD, code=cluster.code(totp))


async def test_who_guesses_keeps_nobody_out_who_comes_from_elsewhere(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    for _ in range(50):
        await failure(cluster)

    assert (await cluster.login(totp, address=ELSEWHERE)).user == "ann"


async def test_who_guesses_one_name_after_another_is_slowed_down_by_address(cluster: Cluster) -> None:
    await cluster.declare(role(), user())

    errors = [await failure(cluster, user=f"user{number}") for number in range(60)]

    assert sum(isinstance(error, Unauthenticated) for error in errors) <= 31


async def test_in_ipv6_a_whole_network_counts_as_one_address(cluster: Cluster) -> None:
    """Everybody who has one IPv6 address has billions, and each would have attempts of its own."""
    await cluster.declare(role(), user())

    errors = [await failure(cluster, address=f"2001:db8::{number:x}") for number in range(1, 60)]

    assert sum(isinstance(error, Unauthenticated) for error in errors) <= 6


async def test_a_client_cannot_say_that_it_comes_from_elsewhere(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    callers = [Caller(None, HERE), cluster.user(address=HERE), Caller(cluster.host().identity, HERE)]

    for caller in callers:
        throttled = False
        for number in range(40):
            error = await failure(cluster, caller=caller, client_address=f"203.0.113.{number}")
            throttled = throttled or isinstance(error, Throttled)
        assert throttled


async def test_a_flood_of_logins_waits_in_a_bounded_queue(cluster: Cluster) -> None:
    await cluster.declare(role(), user())

    floods = [attempt(cluster, address=f"203.0.113.{number}", user=f"u{number}") for number in range(200)]
    answers = await asyncio.gather(*floods, return_exceptions=True)

    assert any(isinstance(answer, Throttled) for answer in answers)
    assert all(isinstance(answer, Unauthenticated | Throttled) for answer in answers)


async def test_guesses_that_are_throttled_do_not_fill_the_log(cluster: Cluster) -> None:
    await cluster.declare(role(), user())

    for _ in range(100):
        await failure(cluster)

    assert len(cluster.events("user.login")) <= 6
    assert not any(event["success"] for event in cluster.events("user.login"))


async def test_neither_password_nor_code_is_in_the_log(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    await cluster.enrol()

    await failure(cluster, password="hunter2-hunter2", code="987654")

    text = str(cluster.events())
    assert PASSWORD not in text
    assert "hunter2" not in text
    assert "987654" not in text


async def test_a_locked_user_gets_no_certificate_even_with_both_factors(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    await cluster.apply("kind: lock\nversion: v2\nmetadata: {name: l}\nspec: {target: {user: ann}, message: away}\n")

    with pytest.raises(AccessDenied, match="lock/l is in force"):
        await cluster.login(totp)


async def test_a_user_created_anew_under_an_old_name_has_neither_password_nor_code_of_the_old_one(
    cluster: Cluster,
) -> None:
    await cluster.declare(role(), user(), user("bob"))
    totp = await cluster.enrol()
    await cluster.declare(role(), user("bob"))
    await cluster.declare(role(), user("bob"), user())

    with pytest.raises(Unauthenticated):
        await cluster.login(totp)

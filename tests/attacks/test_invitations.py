"""Attacks on invitations: using them twice, late, for another, or without having one."""

import asyncio

import pyotp
import pytest

from teleport.api import models as m
from teleport.api.server import Caller
from teleport.core.errors import BadInput, NotFound, Throttled, Unauthenticated
from tests.auth.cluster import PASSWORD, Cluster, role, user

STRANGER = Caller(None, "192.0.2.66")


async def invite(cluster: Cluster, name: str = "ann", **more: object) -> str:
    invitation = await cluster.call("invite", m.InvitationRequest.model_validate({"user": name, **more}))
    return str(invitation.token)


async def set_password(cluster: Cluster, token: str, password: str = PASSWORD) -> pyotp.TOTP:
    offer = await cluster.call("enrol", m.EnrolmentRequest(token=token, password=password), STRANGER)
    totp = pyotp.parse_uri(offer.otpauth)
    assert isinstance(totp, pyotp.TOTP)
    return totp


async def confirm(cluster: Cluster, token: str, code: str) -> m.Done:
    done: m.Done = await cluster.call("confirm", m.Confirmation(token=token, code=code), STRANGER)
    return done


async def test_an_invitation_works_once(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    token = await invite(cluster)
    totp = await set_password(cluster, token)
    await confirm(cluster, token, cluster.code(totp))

    with pytest.raises(NotFound):
        await set_password(cluster, token, "another long password")
    with pytest.raises(NotFound):
        await confirm(cluster, token, cluster.code(totp))

    assert (await cluster.login(totp)).user == "ann"


async def test_of_two_who_confirm_one_invitation_at_the_same_moment_one_succeeds(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    token = await invite(cluster)
    code = cluster.code(await set_password(cluster, token))

    answers = await asyncio.gather(*(confirm(cluster, token, code) for _ in range(3)), return_exceptions=True)

    assert sorted(isinstance(answer, m.Done) for answer in answers) == [False, False, True]


async def test_a_newer_invitation_ends_the_earlier_ones_of_that_user_and_no_others(cluster: Cluster) -> None:
    await cluster.declare(role(), user(), user("bob"))
    lost, other = await invite(cluster), await invite(cluster, "bob")
    await set_password(cluster, lost)

    newer = await invite(cluster)

    with pytest.raises(NotFound):
        await set_password(cluster, lost)
    with pytest.raises(NotFound):
        await confirm(cluster, lost, "000000")
    await set_password(cluster, newer)
    await set_password(cluster, other)


async def test_an_invitation_ends(cluster: Cluster) -> None:
    await cluster.declare(role(), user(), user("bob"))
    early, late = await invite(cluster, ttl=60), await invite(cluster, "bob", ttl=60)
    totp = await set_password(cluster, early)

    cluster.clock.advance(61)

    with pytest.raises(NotFound):
        await set_password(cluster, late)
    with pytest.raises(NotFound):
        await confirm(cluster, early, cluster.code(totp))


async def test_setting_the_password_does_not_prolong_an_invitation(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    token = await invite(cluster, ttl=60)
    cluster.clock.advance(50)
    totp = await set_password(cluster, token)

    cluster.clock.advance(11)

    with pytest.raises(NotFound):
        await confirm(cluster, token, cluster.code(totp))


async def test_an_invitation_of_a_user_who_was_deleted_is_none_for_the_next_of_that_name(cluster: Cluster) -> None:
    await cluster.declare(role(), user(), user("bob"))
    token = await invite(cluster)
    await cluster.declare(role(), user("bob"))
    await cluster.declare(role(), user("bob"), user())
    totp = await set_password(cluster, token)
    await confirm(cluster, token, cluster.code(totp))

    with pytest.raises(Unauthenticated):
        await cluster.login(totp)


async def test_a_password_alone_lets_nobody_in(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await set_password(cluster, await invite(cluster))

    with pytest.raises(Unauthenticated):
        await cluster.login(totp)


async def test_a_second_factor_without_a_password_cannot_be_confirmed(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    token = await invite(cluster)

    with pytest.raises(BadInput, match="no password was set"):
        await confirm(cluster, token, "000000")


async def test_guessing_the_confirming_code_is_slowed_down(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    token = await invite(cluster)
    await set_password(cluster, token)

    tried = 0
    for number in range(100):
        try:
            await confirm(cluster, token, f"{number:06}")
        except Throttled:
            continue
        except Unauthenticated:
            tried += 1

    assert tried <= 11


async def test_guessing_invitations_is_slowed_down(cluster: Cluster) -> None:
    tried = 0
    for number in range(100):
        with pytest.raises((NotFound, Throttled)) as caught:
            await cluster.call("invitee", m.Invitee(token=f"guess-{number}"), STRANGER)
        tried += isinstance(caught.value, NotFound)

    assert tried <= 11


@pytest.mark.parametrize(
    "password", ["short", "aaaaaaaaaaaaaaaa", "ann", "annannann1", "password12", "qwertyuiop1", "1234567890"]
)
async def test_a_password_that_would_be_guessed_is_not_taken(cluster: Cluster, password: str) -> None:
    await cluster.declare(role(), user())
    token = await invite(cluster)

    with pytest.raises(BadInput):
        await set_password(cluster, token, password)


async def test_neither_the_link_nor_what_was_entered_is_in_the_log(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    token = await invite(cluster)
    totp = await set_password(cluster, token)
    await confirm(cluster, token, cluster.code(totp))

    text = str(cluster.events())

    assert token not in text
    assert PASSWORD not in text
    assert totp.secret not in text


async def test_neither_invitations_nor_second_factors_can_be_read_in_the_file_of_the_store(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    token = await invite(cluster)
    totp = await set_password(cluster, token)
    await confirm(cluster, token, cluster.code(totp))

    stored = b"".join(path.read_bytes() for path in cluster.directory.iterdir() if path.is_file())

    assert token.encode() not in stored
    assert totp.secret.encode() not in stored

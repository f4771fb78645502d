"""Attacks with the clock of the auth service: what was used or has run out stays so when the clock is put back."""

import asyncio

import pytest

from teleport.api import models as m
from teleport.core.errors import NotFound, TeleportError, Throttled, Unauthenticated
from tests.attacks.test_joining import join, token
from tests.auth.cluster import PASSWORD, Cluster, role, user

DAY = 86400.0


async def swept(cluster: Cluster) -> None:
    """Give the store time to look for what has run out."""
    for _ in range(3):
        cluster.clock.advance(1.0)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("back", [30.0, DAY])
async def test_a_code_that_was_used_is_used_whatever_time_it_is_said_to_be(cluster: Cluster, back: float) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    cluster.clock.advance(60)
    await cluster.login(totp)
    cluster.clock.jump(back)
    await cluster.login(totp)

    cluster.clock.jump(-back)

    with pytest.raises(Unauthenticated):
        await cluster.login(totp)


async def test_a_join_token_that_ran_out_is_none_after_the_clock_is_put_back(cluster: Cluster) -> None:
    secret = await token(cluster, ttl=600)
    cluster.clock.jump(DAY)
    await swept(cluster)

    cluster.clock.jump(-DAY)

    with pytest.raises(TeleportError, match="the join token is not valid"):
        await join(cluster, secret)


async def test_an_invitation_that_ran_out_is_none_after_the_clock_is_put_back(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    invitation = await cluster.call("invite", m.InvitationRequest(user="ann", ttl=3600))
    cluster.clock.jump(DAY)
    await swept(cluster)

    cluster.clock.jump(-DAY)

    with pytest.raises(NotFound):
        await cluster.call("enrol", m.EnrolmentRequest(token=invitation.token, password=PASSWORD))


async def test_who_guessed_waits_as_long_although_the_clock_is_put_forward(cluster: Cluster) -> None:
    await cluster.declare(role(), user())
    totp = await cluster.enrol()
    for _ in range(6):
        with pytest.raises((Unauthenticated, Throttled)):
            await cluster.login(totp, password="wrong horse battery staple")

    cluster.clock.jump(DAY)

    with pytest.raises(Throttled):
        await cluster.login(totp)

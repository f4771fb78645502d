"""A pod's token changes while the pod lives."""

import kopf
import pytest

from teleport.core.generated import REPOSITORY
from teleport.resources.custom_kinds import CUSTOM_KINDS
from teleport.service.operator.kubernetes import KubernetesApi, KubernetesError
from teleport.service.operator.login import Login
from tests.kubernetes.emulation import emulated

CRDS = sorted((REPOSITORY / "crds").glob("resources.*.yaml"))[:1]


async def test_a_refused_token_is_read_again() -> None:
    async with emulated(*CRDS) as server:
        server.tokens["new"] = "system:serviceaccount:teleport:teleport-operator"
        login = Login(
            kopf.ConnectionInfo(server=server.url, token="old"),
            lambda: kopf.ConnectionInfo(server=server.url, token="new"),
        )
        api = KubernetesApi(login)
        answers = []
        for _ in range(2):
            with pytest.raises(KubernetesError) as refusal:
                await api.manifests(CUSTOM_KINDS[0], "teleport")
            answers.append(refusal.value.answered)
        await login.close()

    assert answers == [401, 403]

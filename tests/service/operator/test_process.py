"""An operator in which something failed that it cannot do without says so, and ends, so that it is started anew."""

import asyncio
import importlib.util
import logging
import signal

import kopf
import pytest

from teleport.core.aio import SystemClock
from teleport.core.generated import REPOSITORY
from teleport.service.operator import process
from teleport.service.operator.kubernetes import KubernetesApi
from teleport.service.operator.login import Login
from teleport.service.operator.peers import Peering
from teleport.service.operator.process import Operator
from teleport.service.operator.settings import Settings

TOLD = {"TELEPORT_ADDRESS": "127.0.0.1:1", "TELEPORT_CA_PIN": "sha256:" + "0" * 64, "TELEPORT_TOKEN": "token"}


async def broken(*_: object) -> None:
    raise KeyError("surprise")


async def test_a_fault_in_the_background_is_loud_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "recognise", broken)
    ended, login = asyncio.Event(), Login(kopf.ConnectionInfo(server="http://127.0.0.1:1"))
    api = KubernetesApi(login)

    told = Settings.from_environment(TOLD)
    async with Operator(told, api, Peering(api, "p", 1), clock=SystemClock(), failed=ended.set), asyncio.timeout(5):
        await ended.wait()
    await login.close()

    (record,) = [one for one in caplog.records if one.levelno == logging.CRITICAL]
    assert record.getMessage() == "joining ended, and the operator with it: this is a bug"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


async def test_the_whole_process_ends_then_and_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    found = importlib.util.spec_from_file_location("handlers", REPOSITORY / "operator" / "handlers.py")
    assert found is not None
    assert found.loader is not None
    handlers, memo = importlib.util.module_from_spec(found), kopf.Memo(failed=False)
    found.loader.exec_module(handlers)

    await handlers.stop(memo)
    handlers.end(memo)

    assert raised == [signal.SIGTERM]
    with pytest.raises(kopf.PermanentError):
        await handlers.stop(memo)

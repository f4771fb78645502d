"""The API as its own document describes it, asked by schemathesis in every way that the document permits, and others.

Four sorts of caller, each with a real certificate on a real port: nobody, a user, a host, an administrator.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from requests.adapters import HTTPAdapter
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from teleport.api import routes as r
from teleport.api.openapi import document
from teleport.core.errors import FAMILY
from teleport.core.identity import Identity
from teleport.resources.kinds import KINDS
from tests.attacks.test_api import Door, opened

__all__ = ["BY_THE_RULES_AND_NOT", "CALLERS", "Asked", "ask_everything"]

AnyRoute = r.Route[Any, Any]

CALLERS: Final[dict[str, Callable[[Door], Identity | None]]] = {
    "nobody": lambda door: None,
    "a user": lambda door: door.person("ann"),
    "a host": lambda door: door.service("Node"),
    "an administrator": lambda door: door.person("root"),
}
_MAY: Final[dict[str, tuple[type, ...]]] = {
    "nobody": (r.Anybody,),
    "a user": (r.Anybody, r.Users, r.EachObject),
    "a host": (r.Anybody, r.Hosts),
    "an administrator": (r.Anybody, r.Users, r.EachObject, r.Admin),
}
_STATUSES: Final = {200, 404, 405} | {error.status for error in FAMILY.values() if error.status < 500}
_NOT_THERE: Final = {404, 405}
"""What is answered where a made-up name in the path makes it another path."""
_SECONDS: Final = 10
_CHECKS: Final = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip


BY_THE_RULES_AND_NOT: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@cache
def _schema() -> Any:
    return schemathesis.openapi.from_dict(document(r.ROUTES, version="1"))


@dataclass
class Asked:
    """How much was asked by one caller."""

    requests: int = 0
    granted: int = 0


def ask_everything(
    folder: Path, caller: str, *, examples: int, routes: Sequence[AnyRoute] = r.ROUTES,
    modes: Sequence[GenerationMode] = BY_THE_RULES_AND_NOT,
) -> Asked:  # fmt: skip
    """Ask every route that often in every mode. Raises where an answer is not as documented."""
    schema, asked = _schema(), Asked()
    with _served(folder) as door, _session(door, CALLERS[caller](door)) as session:
        for route in routes:
            operation = schema[route.path][route.method]
            for mode in modes:
                _ask(_Question(route, caller, door, session, asked), operation, mode, examples=examples)
    return asked


@dataclass(frozen=True)
class _Question:
    route: AnyRoute
    caller: str
    door: Door
    session: requests.Session
    asked: Asked

    def put(self, case: Any) -> None:
        base = f"https://127.0.0.1:{self.door.port}"
        self.asked.requests += 1
        if self.route.streams == "response":
            with self.session.request(
                **case.as_transport_kwargs(base_url=base), stream=True, timeout=_SECONDS
            ) as answer:
                status = answer.status_code
            assert status < 500
        else:
            response = case.call(base_url=base, session=self.session, timeout=_SECONDS)
            status = response.status_code
            if not _is_no_http(response):
                case.validate_response(response, checks=_CHECKS)
        self.asked.granted += status == 200
        assert status in _STATUSES, status
        self._nothing_for_others(status)

    def _nothing_for_others(self, status: int) -> None:
        if isinstance(self.route.permission, _MAY[self.caller]):
            return
        expected = {401, 400} if self.caller == "nobody" else {403, 400}
        assert status in expected | _NOT_THERE, f"{status} for {self.caller}"


def _is_no_http(response: Any) -> bool:
    """Whether the request was refused before any route was looked for, such as for a path of nine kilobytes."""
    return bool(response.status_code == 400 and response.headers["content-type"][0].startswith("text/plain"))


def _ask(question: _Question, operation: Any, mode: GenerationMode, *, examples: int) -> None:
    @seed(1)
    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), real=_REAL)
    def put(case: Any, real: dict[str, str]) -> None:
        for name in real.keys() & (case.path_parameters or {}).keys():
            case.path_parameters[name] = real[name]
        question.put(case)

    with contextlib.suppress(Unsatisfiable):  # there is no wrong way to ask where nothing is to be said
        put()


_REAL: Final = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(sorted(KINDS)), "name": st.sampled_from(["dev", "admin", "ann", "root", "db-9"]),
        "sid": st.just("01234567-89ab-cdef-0123-456789abcdef"),
    },
)  # fmt: skip
"""What exists, put into some of the paths."""


class _OurTls(HTTPAdapter):
    """Connections that show a certificate, to a server at another address than its name says."""

    def __init__(self, context: Any) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, server_hostname="auth.acme", **more)


@contextlib.contextmanager
def _session(door: Door, who: Identity | None) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", _OurTls(door.context(who)))
        yield session


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[Door]:
    """The API on a port, served by a loop in another thread: what asks here waits for each answer."""
    opening: Future[Door] = Future()
    over = threading.Event()

    async def serve() -> None:
        try:
            async with opened(folder) as door:
                opening.set_result(door)
                await asyncio.to_thread(over.wait)
        except BaseException as error:
            if not opening.done():
                opening.set_exception(error)
            raise

    with ThreadPoolExecutor(1) as threads:
        served = threads.submit(asyncio.run, serve())
        try:
            yield opening.result()
        finally:
            over.set()
            served.result()

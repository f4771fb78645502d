"""YAML that people and sources write: resources, and teleport.yaml."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from teleport.core.errors import Invalid, Problem
from teleport.resources.kinds import KINDS
from teleport.resources.load import load
from teleport.resources.yaml_reader import read
from teleport.resources.yaml_writer import to_yaml
from teleport.service.config import checked
from tests.fuzz.target import Target
from tests.service.test_config import UPSTREAM

__all__ = ["CONFIG", "YAML"]

_CORPUS: Final = Path(__file__).parents[2] / "resources" / "corpus"


def check_resources(data: bytes) -> None:
    loaded = load(data, file="f")

    assert_places_lie_inside(data, loaded.problems)
    for resource in loaded.resources:
        written = to_yaml(resource)
        again = load(written.encode(), file="f")
        assert again.problems == (), (written, again.problems)
        assert [(one.ref, one.metadata, one.spec) for one in again.resources] == [
            (resource.ref, resource.metadata, resource.spec)
        ]


def check_config(data: bytes) -> None:
    try:
        config = checked(data, file="f")
    except Invalid as error:
        assert_places_lie_inside(data, error.problems)
        return
    assert read(data, file="f")[1] == []
    assert config.roles
    assert config.listen is not None or config.roles == ("node",)
    if "auth" not in config.roles:
        assert config.remote.host
    assert all(place and reason for place, reason in config.without_effect())
    assert len(config.settings()) == 3


def assert_places_lie_inside(data: bytes, found: Iterable[Problem]) -> None:
    """Each problem is one line of words at a place that an editor can show."""
    lines = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").split("\n")
    for problem in found:
        assert 1 <= problem.line <= len(lines), problem
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1, problem
        assert problem.message
        assert "\n" not in problem.message


def documents() -> Iterable[bytes]:
    yield from (kind.example.encode() for kind in KINDS.values())
    for path in sorted(_CORPUS.glob("**/*.yaml")):
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if len(data) <= 4096:
                yield data


def configurations() -> Iterable[bytes]:
    yield UPSTREAM.encode()
    yield b"version: v3\nauth_service: {enabled: no}\nproxy_service: {enabled: no}\nteleport: {proxy_server: 'p:1'}\n"
    yield b"admins: [{uid: 1000, role: editor}]\npolicies: {path: /etc/policies}\ndemo: yes\n"
    yield b"teleport:\n  auth_server: '[::1]:3025'\n  auth_token: /token\n  ca_pin: ['sha256:00']\n"


_WORDS: Final = (
    b"---\n", b": ", b"- ", b"&a ", b"*a", b"<<: ", b"!!str ", b"{{internal.logins}}", b"yes", b"null", b"\xef\xbb\xbf",
    b"|\n  ", b"? ", b'"\\ud800"', b'"\\0"', b"'*': '*'", b"2030-01-01T00:00:00Z", b"1e999", b"[", b"]", b"{", b"}",
)  # fmt: skip

YAML: Final = Target(
    "policy files", "`resources/yaml_reader`, `load`, `yaml_writer`: every kind of resource",
    "resources, or problems with a place within the file; what loads is written and loads again as the same",
    check_resources, documents, 25_000, _WORDS,
)  # fmt: skip
CONFIG: Final = Target(
    "teleport.yaml", "`service/config`",
    "a configuration whose every part can be asked for, or `Invalid` with places within the file",
    check_config, configurations, 25_000, _WORDS,
)  # fmt: skip

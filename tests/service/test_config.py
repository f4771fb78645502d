"""teleport.yaml: what a file may say, what is wrong with it and where, and what it says in vain."""

from pathlib import Path

import pytest

from teleport.core.errors import BadInput, Invalid
from teleport.gitops.ceiling import Ceiling
from teleport.service.config import Config, checked, defaults, load_config
from teleport.service.policies import ceiling_of

UPSTREAM = """\
version: v3
teleport:
  nodename: graviton
  data_dir: /var/lib/teleport
  join_params: {token_name: /etc/token, method: token}
  ca_pin: "sha256:7e12c17c20d9cb504bbcb3f0236be3f446861f1396dcbb44425fe28ec1c108f1"
  log: {output: stderr, severity: INFO, format: {output: text, extra_fields: [level]}}
  diag_addr: "127.0.0.1:3000"
  connection_limits: {max_connections: 15000, max_users: 250}
  ciphers: [aes128-ctr]
auth_service:
  enabled: "yes"
  cluster_name: example.com
  listen_addr: 0.0.0.0:3025
  public_addr: auth.example.com:3025
  tokens: ["proxy,node:2cf24dba5fb0a30e26e83b2ac5b9e29e", "node:/etc/node-token"]
  authentication: {type: local, second_factors: [otp], default_session_ttl: 12h}
  session_recording: node-sync
  proxy_checks_host_keys: "no"
  client_idle_timeout: never
  web_idle_timeout: 10m
  keep_alive_interval: 5m
  keep_alive_count_max: 3
  ssh_dial_timeout: 30s
  routing_strategy: unambiguous_match
  proxy_listener_mode: multiplex
  tunnel_strategy: {type: agent_mesh}
proxy_service:
  enabled: "yes"
  web_listen_addr: 0.0.0.0:443
  listen_addr: 0.0.0.0:3023
  tunnel_listen_addr: 0.0.0.0:3024
  public_addr: ["teleport.example.com:443"]
  https_keypairs: [{key_file: /etc/key, cert_file: /etc/cert}]
  https_keypairs_reload_interval: 1h
  acme: {enabled: "no"}
ssh_service:
  enabled: "yes"
  listen_addr: 0.0.0.0:3022
  labels: {env: prod}
  commands: [{name: arch, command: [uname, -m], period: 1h0m0s}]
  permit_user_env: "no"
  pam: {enabled: "no", service_name: teleport}
  enhanced_recording: {enabled: "no", command_buffer_size: 8}
  x11: {enabled: "yes"}
app_service: {enabled: "no", apps: [{name: a, uri: "http://localhost"}]}
kubernetes_service: {enabled: off}
debug_service: {enabled: "yes"}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        checked(text.encode(), file="t.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_file_for_the_upstream_product_is_taken_and_what_it_says_in_vain_is_named() -> None:
    config = checked(UPSTREAM.encode(), file="t.yaml")

    assert dict(config.without_effect()) == {
        "auth_service.listen_addr": "auth and proxy of one process share web_listen_addr",
        "auth_service.public_addr": "services know it by its certificate, whatever the address",
        "debug_service": "see teleport.diag_addr",
        "proxy_service.listen_addr": "everything is served on web_listen_addr",
        "proxy_service.tunnel_listen_addr": "everything is served on web_listen_addr",
        "ssh_service.listen_addr": "agents open no port; they are reached through the proxy",
        "ssh_service.x11": "the roles decide: permit_x11_forwarding",
        "teleport.ciphers": "a fixed set of modern algorithms is offered",
        "teleport.connection_limits": "limits are fixed, and a role's max_connections",
    }


def test_the_settings_of_the_cluster_are_those_the_file_gives_and_no_others() -> None:
    preference, network, recording = checked(UPSTREAM.encode(), file="t.yaml").settings()

    assert preference == {"type": "local", "second_factors": ["otp"], "default_session_ttl": "12h"}
    assert network == {
        "client_idle_timeout": "0s", "web_idle_timeout": "10m", "keep_alive_interval": "5m", "keep_alive_count_max": 3,
        "ssh_dial_timeout": "30s", "routing_strategy": "unambiguous_match", "proxy_listener_mode": "multiplex",
        "tunnel_strategy": {"type": "agent_mesh", "agent_connection_count": 1},
    }  # fmt: skip
    assert recording == {"proxy_checks_host_keys": False, "mode": "node-sync"}


@pytest.mark.parametrize(
    ("git", "problem"),
    [
        ("{url: 'http://h/r'}", "whoever is on the way can change what http:// brings"),
        ("{url: 'ssh://git@h/r'}", "ssh:// needs ssh_key and known_hosts"),
        ("{url: 'https://h/r', branch: --x}", "cannot be the name of a branch"),
        ("{url: 'https://h/r', path: ../x}", "no folder inside of the repository"),
        ("{url: 'ext::sh'}", "is no URL of a repository"),
        ("{url: 'file:///r', credentials: {token_file: /t}}", "only https:// takes a token"),
        ("{url: 'https://h/r', credentials: {token_file: 't'}}", "is no absolute path"),
        ("{url: 'https://h/r', verify: {allowed_signers: '~/x'}}", "is no absolute path"),
        ("{url: 'https://h/r', verify: {allowed_signers: /x, required: 0}}", "required"),
        ("{url: 'https://h/r'}\n  dir: /x", "policies come from dir or from git"),
    ],
)
def test_a_repository_that_cannot_be_trusted_or_reached_is_refused(git: str, problem: str) -> None:
    assert problem in " ".join(problems(f"version: v3\npolicies:\n  git: {git}\n"))


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ("[{name: a, dir: /x}, {name: b, dir: /y}]", "t.yaml:3:33: the source b has no ceiling"),
        ("[{name: a, dir: /x}, {name: a, dir: /y, ceiling: {}}]", "two sources are named a"),
        ("[{name: api, dir: /x}]", "the source api is what is written through the API"),
        ("[{name: preset, dir: /x}]", "the name preset is taken by the cluster itself"),
        ("[{name: teleport.yaml, dir: /x}]", "the name teleport.yaml is taken by the cluster itself"),
        ("[{name: 'a/b', dir: /x}]", "'a/b' is no name for a source"),
        ("[{name: a}]", "a source comes from dir, from git or from kubernetes"),
        ("[{name: a, dir: /x, git: {url: 'file:///y'}}]", "a source comes from dir, from git or from kubernetes"),
        ("[{name: a, dir: /x, kubernetes: {namespace: b}}]", "a source comes from dir, from git or from kubernetes"),
        ("[{name: a, kubernetes: {namespace: B}}]", "'B' is no name of a namespace"),
        ("[{name: a, kubernetes: {namespace: a/b}}]", "'a/b' is no name of a namespace"),
        ("[{name: a, kubernetes: {namespace: b-*}}]", "'b-*' is no name of a namespace"),
        ("[{name: a, kubernetes: {}}]", "namespace"),
        ("[{name: a, kubernetes: {namespace: '*'}}]", "the source a has no ceiling"),
        (
            "[{name: a, kubernetes: {namespace: c}}, {name: b, kubernetes: {namespace: c}, ceiling: {}}]",
            "another source is this namespace already",
        ),
        ("[{name: api, kubernetes: {namespace: b}}]", "the source api is what is written through the API"),
        ("[{name: api, ceiling: {}}]", "policies come from dir or from git, or from several"),
        ("[{name: a, dir: /x}]\n  dir: /y", "policies come from dir or from git, or from several"),
        ("[{name: a, dir: /x}]\n  name: b", "each of several sources has its own name"),
        ("[{name: a, dir: /x}]\n  interval: 5s", "each of several sources has its own interval"),
        ("[{name: a, dir: /x, ceiling: {owns: {rolle: x}}}]", "unknown kind for a ceiling rolle (did you mean role?)"),
        ("[{name: a, dir: /x, ceiling: {owns: {github: x}}}]", "unknown kind for a ceiling github"),
        ("[{name: a, dir: /x, ceiling: {logins: '^a|b$'}}]", "the alternation in ^a|b$ is not grouped"),
        ("[{name: a, dir: /x, ceiling: {option: x}}]", "unknown field option"),
        ("[{name: a, dir: /x, ceiling: {options: [host_sudoers]}}]", "unknown option host_sudoers"),
    ],
)
def test_sources_that_cannot_be_meant_are_refused(sources: str, problem: str) -> None:
    assert problem in " ".join(problems(f"version: v3\npolicies:\n  sources: {sources}\n"))


def test_the_first_source_and_the_api_need_no_ceiling_and_what_is_not_named_may_do_nothing() -> None:
    text = "version: v3\npolicies: {sources: [{name: a, dir: /x}, {name: b, dir: /y, ceiling: {logins: app}}]}\n"
    policies = checked(text.encode(), file="t.yaml").policies

    assert policies is not None
    assert [one.name for one in policies.all] == ["a", "b"]
    assert [ceiling_of(policies, name) for name in ("a", "api", "teleport.yaml")] == [None, None, None]
    assert ceiling_of(policies, "b") == Ceiling(logins=("app",))
    assert ceiling_of(policies, "gone") == ceiling_of(None, "gone") == Ceiling()


def test_a_source_alone_has_no_ceiling_whatever_its_name() -> None:
    policies = checked(b"version: v3\npolicies: {dir: /x, name: ops}\n", file="t.yaml").policies

    assert ceiling_of(policies, "ops") is None


@pytest.mark.parametrize("longest", ["25h", "0s", "500ms", "never"])
def test_an_emergency_of_more_than_a_day_or_of_no_time_cannot_be_permitted(longest: str) -> None:
    found = problems(f"version: v3\npolicies:\n  dir: /x\n  break_glass: {{max_ttl: {longest}}}\n")

    assert "from 1s to 24h" in " ".join(found)


def test_every_problem_has_its_place_and_the_likely_right_word() -> None:
    text = "version: v3\nteleport:\n  data_dirr: x\n  log: {severity: LOUD}\nssh_service:\n  lables: {a: 1}\n"

    found = problems(text)

    assert found == [
        "t.yaml:3:3: unknown field data_dirr (did you mean data_dir?)",
        "t.yaml:4:19: severity: unknown value LOUD (one of DEBUG, INFO, WARN, WARNING, ERROR)",
        "t.yaml:6:3: unknown field lables (did you mean labels?)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "t.yaml:1:1: empty (see `teleport configure`)"),
        ("- a\n", "t.yaml:1:1: teleport.yaml is a mapping (see `teleport configure`)"),
        ("version: v2\n", "t.yaml:1:10: version: unknown value v2 (one of v3)"),
        ("version: v3\n---\nversion: v3\n", "t.yaml:3:1: more than one document (teleport.yaml is one)"),
        ("teleport: {ca_pin: [1]}\n", 't.yaml:1:21: 1 is not text: YAML takes it for a number (put it in quotes: "1")'),
        ("teleport: {diag_addr: ':1'}\n", "t.yaml:1:23: diag_addr: ':1' is not HOST:PORT"),
        ("teleport: {storage: {type: etcd}}\n", "t.yaml:1:28: type: unknown value etcd (one of sqlite, dir)"),
        (
            "teleport: {storage: {audit_events_uri: [x]}}\n",
            "t.yaml:1:40: the audit log is kept in data_dir; other places are not supported yet (remove it)",
        ),
        (
            "auth_service: {cluster_name: 'a b'}\n",
            "t.yaml:1:30: a b is no name for a cluster (letters, digits, - and . as in a domain)",
        ),
        (
            "auth_service: {ca_key_params: {pkcs11: {}}}\n",
            "t.yaml:1:31: keys in hardware are not supported yet (remove it)",
        ),
        (
            "auth_service: {tokens: [secret]}\n",
            "t.yaml:1:25: a static token is written ROLES:SECRET (for example node:SECRET)",
        ),
        (
            "proxy_service: {trusted_balancers: [10.0.0.1/8]}\n",
            "t.yaml:1:37: 10.0.0.1/8 has host bits set (a network is written 10.0.0.0/24)",
        ),
        ("ssh_service: {pam: {enabled: yes}}\n", "t.yaml:1:30: this is not supported yet (set enabled: no)"),
        (
            "ssh_service: {enhanced_recording: {enabled: yes}}\n",
            "t.yaml:1:45: this is not supported yet (set enabled: no)",
        ),
        ("db_service: {enabled: yes}\n", "t.yaml:1:23: this service is not supported yet (set enabled: no)"),
        ("admins: [{role: editor}]\n", "t.yaml:1:10: neither uid nor user (say who may administer)"),
        (
            "auth_service: {enabled: no}\nproxy_service: {enabled: no}\nssh_service: {enabled: no}\n",
            "t.yaml:1:1: no service is enabled",
        ),
        (
            "teleport: {proxy_server: a, auth_server: b}\n",
            "t.yaml:1:26: both auth_server and proxy_server are set (keep one of them)",
        ),
        (
            "auth_service: {enabled: no}\nproxy_service: {enabled: no}\n",
            "t.yaml:1:1: no auth service here and none named (set proxy_server: --proxy-server HOST:PORT)",
        ),
        (
            "teleport: {proxy_server: a}\nauth_service: {enabled: no}\n",
            "t.yaml:1:26: a proxy joins at the auth service itself (set auth_server: --auth-server HOST:PORT)",
        ),
        (
            "proxy_service: {enabled: no}\n",
            "t.yaml:1:1: an agent is reached through a proxy, and none is here or named"
            " (set proxy_server: --proxy-server HOST:PORT)",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.yaml cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml")


def test_tokens_and_pins_may_be_files(tmp_path: Path) -> None:
    token, pin = tmp_path / "token", tmp_path / "pin"
    token.write_text("s3cret\n")
    pin.write_text("sha256:00\n")
    config = Config.model_validate(
        {"teleport": {"join_params": {"token_name": str(token)}, "ca_pin": [str(pin), "sha256:11"]}}
    )

    assert (config.token, config.pins) == ("s3cret", ("sha256:00", "sha256:11"))
    token.unlink()
    with pytest.raises(BadInput, match="token cannot be read: No such file"):
        _ = config.token


@pytest.mark.parametrize("name", ["zero\\0byte", "binary"])
def test_a_token_in_a_file_that_is_no_text_is_told_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    config = checked(f'teleport: {{auth_token: "{tmp_path}/{name}"}}'.encode(), file="teleport.yaml")

    with pytest.raises(BadInput, match="it is no text file"):
        _ = config.token


def test_without_a_file_everything_runs_on_loopback() -> None:
    config = defaults()

    assert config.roles == ("auth", "proxy", "node")
    assert config.listen is not None
    assert (config.listen.loopback, config.listen.port) == (True, 3080)

"""Random policies: small words, so that rules meet often."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

WORDS = ["prod", "dev", "pro", "web", "", "*", "^p.*$"]
"""Values of labels and traits; some look like patterns and are none."""

KEYS = ["env", "team"]
LOGINS = ["root", "dev", "web", "ann", "bad login", "WEB"]
ROLES = ["r1", "r2", "r3", "r4"]
USERS = ["ann", "bob", "eve"]
HOSTS = ["h1", "h2"]

LABEL_VALUES = [
    "*", "prod", "dev", "p*", "web", "*d*", "^(prod|web)$", "^p.*$", "^[a-w]+$", "{{internal.team}}", "{{external.env}}",
    "{{internal.none}}", "{{internal.team}}*", "^({{internal.team}}|dev)$", "{{strings.lower(internal.team)}}",
    '{{regexp.replace(external["env"], "^p(.*)$", "$1")}}', "x{{internal.env}}",
]  # fmt: skip

WRITTEN_LOGINS = [
    "root", "dev", "bad login", "{{internal.team}}", "{{internal.none}}", "{{email.local(internal.mail)}}",
    "{{strings.upper(internal.team)}}", '{{regexp.replace(internal.team, "^w(.*)$", "$1")}}',
]  # fmt: skip

ATOMS = [
    'labels["env"] == "prod"', 'labels.team != "web"', 'labels["none"] == ""', "user.metadata.name == labels.team",
    'contains(user.spec.traits["team"], labels["team"])', 'contains(user.spec.traits["none"], "")',
    'contains_any(user.spec.traits.team, set("web", "dev"))', "contains_any(user.spec.traits.env, user.spec.traits.team)",
    'contains_all(user.spec.traits["team"], set("web"))', "contains_all(user.spec.traits.team, set())",
    'regexp.match(labels["env"], "p*")', 'regexp.match(user.spec.traits["team"], "^w.*$")',
    'contains(labels_matching("t*"), "web")', 'contains(email.local(user.spec.traits["mail"]), "ann")',
    'contains(regexp.replace(user.spec.traits.env, "^p(.*)$", "$1"), "rod")',
    'strings.upper(labels.env) == "PROD"', "contains(strings.lower(user.spec.traits.team), labels.team)",
]  # fmt: skip


def _compound(inner: SearchStrategy[str]) -> SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]} && {pair[1]}"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} || {pair[1]}) // or"),
        inner.map(lambda one: f"!({one})"),
    ).map(lambda text: text.replace(" // or", ""))


EXPRESSIONS = st.recursive(st.sampled_from(ATOMS), _compound, max_leaves=4)

VALUES = st.one_of(st.sampled_from(LABEL_VALUES), st.lists(st.sampled_from(LABEL_VALUES), max_size=2))
SELECTORS: SearchStrategy[Any] = st.one_of(
    st.just({"*": "*"}),
    VALUES.map(lambda value: {"env": value}),
    st.dictionaries(st.sampled_from([*KEYS, "{{internal.key}}", "{{internal.none}}"]), VALUES, max_size=2),
)


def maybe(key: str, values: SearchStrategy[Any], *, absent: int = 1) -> SearchStrategy[dict[str, Any]]:
    """A mapping with one key, or `absent` times as often without it."""
    present = values.map(lambda value: {key: value})
    return st.integers(0, absent).flatmap(lambda drawn: present if drawn == 0 else st.just({}))


def merged(*parts: SearchStrategy[dict[str, Any]]) -> SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


ALLOW = merged(
    st.lists(st.sampled_from(WRITTEN_LOGINS), max_size=3).map(lambda logins: {"logins": ["root", *logins]}),
    st.one_of(maybe("node_labels", SELECTORS), st.just({"node_labels": {"env": "*"}})),
    maybe("node_labels_expression", EXPRESSIONS, absent=3),
)
DENY = merged(
    maybe("logins", st.lists(st.sampled_from([*WRITTEN_LOGINS, "*"]), max_size=1), absent=2),
    maybe("node_labels", st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2), absent=2),
    maybe("node_labels_expression", EXPRESSIONS, absent=2),
)
SWITCH = st.booleans()
STRICT = st.sampled_from(["best_effort", "strict"])
OPTIONS = merged(
    maybe("max_session_ttl", st.sampled_from(["1h", "30m", "30h"])),
    maybe("client_idle_timeout", st.sampled_from(["never", "5m", "10m"])),
    maybe("max_sessions", st.integers(0, 3)),
    maybe("forward_agent", SWITCH),
    maybe("permit_x11_forwarding", SWITCH),
    maybe("pin_source_ip", SWITCH),
    maybe("port_forwarding", SWITCH),
    maybe("ssh_file_copy", SWITCH),
    maybe("lock", STRICT),
    maybe("record_session", merged(maybe("default", STRICT), maybe("ssh", STRICT))),
    maybe("enhanced_recording", st.lists(st.sampled_from(["command", "disk", "network"]), max_size=2, unique=True)),
    maybe("require_session_mfa", st.sampled_from(["no", "yes"]), absent=4),
    maybe("device_trust_mode", st.sampled_from(["off", "optional", "required"]), absent=6),
)
VERSIONS = st.sampled_from(["v3", "v4", "v5", "v6", "v7", "v8"])


def document(kind: str, version: str, name: str, spec: Any) -> dict[str, Any]:
    return {"kind": kind, "version": version, "metadata": {"name": name}, "spec": spec}


@st.composite
def roles(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for name in ROLES[:3]:
        spec: dict[str, Any] = {"allow": draw(ALLOW)}
        spec |= draw(maybe("options", OPTIONS)) | draw(maybe("deny", DENY, absent=3))
        found.append(document("role", draw(VERSIONS), name, spec))
    return found


TRAITS = st.fixed_dictionaries(
    {},
    optional={
        "team": st.lists(st.sampled_from(["web", "dev", "*", "Web", "x y", "^p.*$"]), max_size=2),
        "env": st.lists(st.sampled_from(["prod", "pro", "*", ""]), max_size=2),
        "mail": st.sampled_from([["ann@example.com"], ["no address", "@x", "root@b"]]),
        "key": st.sampled_from([["env", "team"], ["team"], ["*"]]),
    },
)
HELD = st.lists(st.sampled_from(ROLES), max_size=3, unique=True).map(lambda more: ["r1", *more])


def _user(name: str) -> SearchStrategy[dict[str, Any]]:
    return st.tuples(HELD, TRAITS).map(
        lambda found: document("user", "v2", name, {"roles": found[0], "traits": found[1]})
    )


PAST, FUTURE = "2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z"
LOCK_TARGETS = merged(
    maybe("user", st.sampled_from(["ann", "bob"])),
    maybe("role", st.sampled_from(ROLES)),
    maybe("login", st.sampled_from(["root", "dev"])),
    maybe("server_id", st.sampled_from(["h1", "uid-h2"])),
    maybe("node", st.sampled_from(["h2"])),
).filter(bool)
LOCKS = st.lists(
    st.tuples(LOCK_TARGETS, st.sampled_from([None, PAST, FUTURE])), max_size=2, unique_by=str
).map(
    lambda found: [
        document("lock", "v2", f"l{index}", {"target": target, **({"expires": expires} if expires else {})})
        for index, (target, expires) in enumerate(found)
    ]
)  # fmt: skip
SETTINGS = st.tuples(
    st.sampled_from([{}, {"locking_mode": "strict"}, {"locking_mode": "strict"}, {"require_session_mfa": "yes"}]),
    st.sampled_from([{}, {"client_idle_timeout": "7m"}]),
).map(
    lambda found: [
        document("cluster_auth_preference", "v2", "cluster-auth-preference", found[0]),
        document("cluster_networking_config", "v2", "cluster-networking-config", found[1]),
    ]
)

LABELS = st.tuples(
    maybe("team", st.sampled_from(WORDS)), st.sampled_from([{}, *({"env": word} for word in WORDS)])
).map(lambda found: {**found[0], **found[1]})
FLEETS = st.lists(st.tuples(st.sampled_from(HOSTS), LABELS), min_size=3, max_size=3).map(
    lambda found: [
        (name, f"uid-{name}-{index}" if index else f"uid-{name}", labels) for index, (name, labels) in enumerate(found)
    ]
)


@st.composite
def policies(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Documents of a whole policy."""
    people = [draw(_user(name)) for name in USERS]
    return [*draw(roles()), *people, *draw(LOCKS), *draw(SETTINGS)]


SCOPES = st.one_of(st.none(), st.none(), st.lists(st.sampled_from(ROLES), max_size=2).map(tuple))
RESTRICTIONS = st.sampled_from([None, None, None, None, (), ("h1",), ("uid-h1",), ("uid-h2-1", "h1")])

"""What goes into a certificate comes out of it, and nothing else does."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleport.core.identity import Identity, Passage

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_name = _text.filter(bool)
_moment = st.floats(0, 250_000_000_000, allow_nan=False)
_scope = st.none() | st.lists(_text, max_size=3).map(tuple)

PASSAGES = st.builds(
    Passage, user=_text, to=_text, host=_text, login=_text, session=_text, proxy=_text,
    roles=st.lists(_text, max_size=2).map(tuple),
    traits=st.lists(st.tuples(_text, st.lists(_text, max_size=2).map(tuple)), max_size=2).map(tuple),
)  # fmt: skip

IDENTITIES = st.builds(
    Identity,
    kind=st.sampled_from(["user", "host"]), name=_name, uid=_name, cluster=_name, expires=_moment,
    system_roles=st.lists(st.sampled_from(["Auth", "Proxy", "Node"]), max_size=2).map(tuple),
    requested_roles=_scope, allowed_resources=_scope, mfa_verified=st.booleans(), authenticated=_moment,
    session_until=_moment, pinned_ip=st.sampled_from(["", "192.0.2.1", "2001:db8::1"]), reissuable=st.booleans(),
    passage=st.none() | PASSAGES,
)  # fmt: skip


def decode(text: str | bytes, *, cluster: str = "example.com", expires: float = 60.0) -> Identity:
    return Identity.decode(text, cluster=cluster, expires=expires)


@given(IDENTITIES)
def test_what_is_encoded_is_decoded(identity: Identity) -> None:
    text = identity.encode()

    assert decode(text, cluster=identity.cluster, expires=identity.expires) == identity
    assert decode(text.encode(), cluster=identity.cluster, expires=identity.expires) == identity


@given(IDENTITIES, st.text(max_size=5), st.floats())
def test_cluster_and_expiry_are_the_certificates_and_not_the_texts(
    identity: Identity, cluster: str, expires: float
) -> None:
    moved = replace(identity, cluster=cluster, expires=expires)

    assert moved.encode() == identity.encode()
    assert decode(identity.encode(), cluster="example.com").cluster == "example.com"


@given(IDENTITIES, IDENTITIES)
def test_two_identities_share_a_text_only_if_they_are_one(one: Identity, other: Identity) -> None:
    same = replace(other, cluster=one.cluster, expires=one.expires) == one

    assert (one.encode() == other.encode()) == same


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_anything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        decode(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@given(st.sampled_from([field.name for field in fields(Identity)]), _json)
def test_a_field_of_the_wrong_sort_is_refused_or_round_trips(name: str, value: object) -> None:
    body = {**json.loads(Identity("user", "ann", "u-1", "").encode()), name: value}
    text = json.dumps(body, separators=(",", ":"), sort_keys=True)

    try:
        found = decode(text)
    except ValueError:
        return

    assert found.encode() == text
    assert isinstance(found.name, str)
    assert all(isinstance(one, str) for one in (*found.system_roles, *(found.requested_roles or ())))


@given(st.sampled_from([*(field.name for field in fields(Passage)), "more"]), _json)
def test_a_field_of_a_passage_of_the_wrong_sort_is_refused_or_round_trips(name: str, value: object) -> None:
    passage = Passage("ann", "leaf", "db-1", "root", "sid", "proxy", ("dev",), (("team", ("web",)),))
    body = json.loads(Identity("user", "ann", "u-1", "", passage=passage).encode())
    body["passage"][name] = value
    text = json.dumps(body, separators=(",", ":"), sort_keys=True)

    try:
        found = decode(text)
    except ValueError:
        return

    assert found.encode() == text
    assert found.passage is not None
    assert hash(found) == hash(replace(found, passage=replace(found.passage, certificate="elsewhere")))


def test_a_text_of_unreasonable_size_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ValueError, match="too large"):
        decode("[" * 1_000_000)


def test_an_administrator_of_the_local_socket_cannot_be_written_into_a_certificate() -> None:
    admin = Identity("admin", "root (uid 0)", "local:0", "example.com", local_uid=0)

    with pytest.raises(ValueError, match="unknown kind"):
        decode(admin.encode())


def test_only_hosts_act_in_a_services_role() -> None:
    user = Identity("user", "ann", "u-1", "example.com", system_roles=("Proxy", "Node", "Auth"))

    assert not any(user.has_role(role) for role in ("Proxy", "Node", "Auth"))


def test_a_scope_of_no_roles_is_kept_apart_from_no_scope() -> None:
    everything, nothing = Identity("user", "ann", "u-1", ""), Identity("user", "ann", "u-1", "", requested_roles=())

    assert decode(everything.encode()).requested_roles is None
    assert decode(nothing.encode()).requested_roles == ()

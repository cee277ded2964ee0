"""Answers that look like etcd's and are damaged: none of them may raise anything but the errors of the port."""

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.etcd_v3 import encoded
from rrwatch import http
from rrwatch.datastore import etcd_apis, etcd_v3
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.members import Members
from rrwatch.datastore.mirror import is_below
from rrwatch.datastore.port import Datastore
from rrwatch.errors import Resync, TransportError
from tests.datastore.etcd_v3.following import P, access_to
from tests.datastore.server import Request, Server

_T = TypeVar("_T")

_texts = st.text(st.characters(exclude_categories=()), max_size=5) | st.sampled_from(["/", "\ud800", "MQ==", "="])
_numbers = st.integers() | st.sampled_from([-1, 0, 7, 2**63, 2**64, 10**400])
_anything = st.recursive(
    st.none() | st.booleans() | _numbers | _numbers.map(str) | st.floats() | _texts,
    lambda below: st.lists(below, max_size=2) | st.dictionaries(_texts, below, max_size=2),
    max_leaves=4,
)
_keys = st.sampled_from([f"{P}/a", f"{P}/a/b", f"{P}/ä", f"{P}/", f"{P}0", "/"]) | st.just(f"{P}/".encode() + b"\xff")
_kvs = st.builds(
    lambda key, value, revision: {"key": encoded(key), "value": encoded(value), "mod_revision": str(revision)},
    _keys,
    st.binary(max_size=5),
    st.integers(5, 9),
)
_header = st.builds(
    lambda revision: {"cluster_id": "17", "member_id": "3", "revision": str(revision), "raft_term": "2"},
    st.integers(5, 9),
)
_lists = st.builds(
    lambda header, kvs, more: {"header": header, "kvs": kvs, "more": more},
    _header,
    st.lists(_kvs, max_size=3),
    st.booleans(),
)
_events = st.builds(lambda kind, kv: kind | {"kv": kv}, st.sampled_from([{}, {"type": "DELETE"}, {"type": "X"}]), _kvs)
_created = st.builds(lambda header: {"result": {"header": header, "created": True}}, _header)
_lines = st.builds(
    lambda header, events, more: {"result": {"header": header, "events": events} | more},
    _header,
    st.lists(_events, max_size=3),
    st.sampled_from([{}, {}, {"fragment": True}, {"canceled": True}, {"compact_revision": "8"}]),
)
_errors = st.builds(
    lambda text: {"error": {"grpc_code": 14, "message": text}},
    st.sampled_from(["etcdserver: no leader", "etcdserver: invalid auth token", "\x1b[2J\n"]),
)


@st.composite
def _damaged(draw: st.DrawFn, sound: st.SearchStrategy[Any]) -> Any:
    """A sound answer, in which up to two members are replaced or missing."""
    answer = draw(sound)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        places = list(_places(answer))
        if not places:
            break
        parent, member = draw(st.sampled_from(places))
        if draw(st.booleans()):
            parent[member] = draw(_anything)
        else:
            del parent[member]
    return answer


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for member, below in members:
        yield value, member
        yield from _places(below)


def _json(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return values.map(json.dumps).map(str.encode)


_watches = st.tuples(
    _json(_damaged(_created)),
    _json(_damaged(_lines)),
    _json(_damaged(_lines | _errors)),
    st.sampled_from([b"", b"\n"]),
).map(lambda parts: b"\n".join(parts[:3]) + parts[3])
_bodies = st.one_of(
    _json(_damaged(_lists)),
    _json(_damaged(_lists)),
    _watches,
    _watches,
    _json(_damaged(_errors)),
    _json(_anything),
    st.binary(max_size=20),
    st.sampled_from([b"[" * 50_000, b"1" * 5_000, b'{"kvs":' * 20_000, b"NaN", b"\xff"]),
)
_strange = st.one_of(
    st.sampled_from(["0", "5", "-1", "x", "1" * 5_000]).map(lambda length: {"Content-Length": length}),
    st.sampled_from(["chunked", "x"]).map(lambda coding: {"Transfer-Encoding": coding}),
    st.sampled_from(["gzip", "\xff"]).map(lambda coding: {"Content-Encoding": coding}),
)
_headers = st.one_of(*[st.just({})] * 6, _strange)
_statuses = st.sampled_from([200] * 12 + [404] * 2 + [100, 204, 304, 307, 400, 401, 412, 429, 500, 503, 999])
_cuts = st.sampled_from([0, 0, 0, 0, 1, 2, 10, 40])


@pytest.fixture(scope="module", params=[None, "reader"])
def answers(request: pytest.FixtureRequest) -> Iterator[tuple[list[bytes], Datastore]]:
    """What a server answers, in one item, and a datastore on it, with or without a user."""
    sent = [b""]

    def reply(question: Request) -> bytes:
        if question.target == "/v3/auth/authenticate" and request.param:
            return b'HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: 13\r\n\r\n{"token":"t"}'
        return sent[0]

    with pytest.MonkeyPatch.context() as patch, Server(reply) as server:
        for name in "LIST_TIMEOUT", "PROBE_TIMEOUT", "OPEN_TIMEOUT":
            patch.setattr(etcd_v3, name, 0.3)
        patch.setattr(http, "CONNECT_TIMEOUT", 0.3)
        patch.setattr(etcd_apis, "TIMEOUT", 0.3)
        access = access_to(server.url, username=request.param, password=request.param and "s3cret")
        yield sent, open_datastore(access, Members([server.url], proof_lifetime=0))


@given(_statuses, _headers, _bodies, _cuts)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_answer_is_understood_or_refused(
    answers: tuple[list[bytes], Datastore], status: int, headers: dict[str, str], body: bytes, cut: int
) -> None:
    sent, datastore = answers
    fields = {"Connection": "close", "Content-Length": str(len(body))} | headers
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    reply = "\r\n".join(lines).encode("latin-1") + body
    sent[0] = reply[: len(reply) - cut]

    snapshot = understood(lambda: datastore.list(P))
    if snapshot:
        assert all(is_below(key, P) for key in snapshot.items)
        assert all(type(value) is str for value in snapshot.items.values())
        assert snapshot.index > 0
    response = understood(lambda: datastore.watch(P, 7, 0.3))
    if response:
        assert response.index >= 6
        assert all(is_below(change.key, P) for change in response.changes)
    understood(lambda: datastore.probe(P))
    for before, after in (None, "1"), ("1", "2"), ("1", None):
        understood(lambda before=before, after=after: datastore.swap(f"{P}/a", before, after))  # type: ignore[misc]


def understood(call: Callable[[], _T]) -> _T | None:
    """The result of a call, or None if it refused the answer in one line."""
    try:
        return call()
    except (TransportError, Resync) as error:
        reason = str(error)
    assert reason.isprintable()
    return None

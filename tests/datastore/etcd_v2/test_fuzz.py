"""Answers that look like etcd's and are damaged: none of them may raise anything but the errors of the port."""

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rrwatch import http
from rrwatch.datastore import etcd_v2
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.members import Members
from rrwatch.datastore.mirror import is_below
from rrwatch.datastore.port import Datastore
from rrwatch.errors import Resync, TransportError
from tests.datastore.etcd_v2.following import P, access_to
from tests.datastore.server import Request, Server

_T = TypeVar("_T")

_texts = st.text(st.characters(exclude_categories=()), max_size=5) | st.sampled_from(["/", "\ud800", "\x1b[2J", "\0"])
_numbers = st.integers() | st.sampled_from([-1, 0, 7, 2**63, 2**64, 10**400])
_anything = st.recursive(
    st.none() | st.booleans() | _numbers | st.floats() | _texts,
    lambda below: st.lists(below, max_size=2) | st.dictionaries(_texts, below, max_size=2),
    max_leaves=4,
)


_names = st.sampled_from(["a", "b", "_hidden", "n 1", "\u00e4?%"])
_trees = st.recursive(
    _texts.filter(lambda text: "\ud800" not in text) | st.just("10.0.0.1"),
    lambda below: st.dictionaries(_names, below, max_size=3),
    max_leaves=6,
)


def _node(key: str, tree: object, index: int = 7) -> dict[str, Any]:
    """A node as etcd sends it: a folder or a value."""
    node: dict[str, Any] = {"key": key, "createdIndex": 5, "modifiedIndex": index}
    if not isinstance(tree, dict):
        return node | {"value": tree}
    return node | {"dir": True, "nodes": [_node(f"{key}/{name}", below) for name, below in tree.items()]}


_lists = st.builds(lambda tree: {"action": "get", "node": _node(P, {"x": tree})}, _trees)
_events = st.builds(
    lambda action, key, tree, index: {"action": action, "node": _node(key, tree, index), "prevNode": _node(key, tree)},
    st.sampled_from(["set", "create", "update", "compareAndSwap", "delete", "expire", "compareAndDelete", "merge"]),
    st.sampled_from([P, f"{P}/a", f"{P}/a/b", f"{P}/_a/b", f"{P}0", "/calico", "/"]),
    _trees,
    st.integers(5, 9),
)
_errors = st.builds(
    lambda code: {"errorCode": code, "message": "Oops", "cause": P, "index": 7},
    st.sampled_from([100, 101, 105, 110, 300, 400, 401]),
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


_bodies = st.one_of(
    _damaged(_lists).map(json.dumps).map(str.encode),
    _damaged(_lists).map(json.dumps).map(str.encode),
    _damaged(_events).map(json.dumps).map(str.encode),
    _damaged(_errors).map(json.dumps).map(str.encode),
    _anything.map(json.dumps).map(str.encode),
    st.binary(max_size=20),
    st.sampled_from([b"[" * 50_000, b"1" * 5_000, b'{"node":' * 20_000, b"NaN", b"\xff"]),
)
_SOUND = {"X-Etcd-Index": "7", "X-Etcd-Cluster-Id": "c"}
_strange = st.one_of(
    st.sampled_from(["", "6", "8", "0", "-1", "9" * 30, "9" * 6_000, "1e3", "\xb2", "7 7"]).map(
        lambda index: {"X-Etcd-Index": index}
    ),
    st.sampled_from(["", "\xff", "x" * 5_000]).map(lambda cluster_id: {"X-Etcd-Cluster-Id": cluster_id}),
    st.sampled_from(["0", "5", "-1", "x", "99999999999999999999", "1" * 5_000]).map(
        lambda length: {"Content-Length": length}
    ),
    st.sampled_from(["chunked", "gzip, chunked", "x"]).map(lambda coding: {"Transfer-Encoding": coding}),
    st.sampled_from(["gzip", "\xff"]).map(lambda coding: {"Content-Encoding": coding}),
    st.just({"Location": "http://192.0.2.1/"}),
)
_headers = st.one_of(st.just(_SOUND), st.just(_SOUND), _strange.map(lambda one: _SOUND | one), _strange)
_statuses = st.sampled_from([200] * 12 + [404] * 4 + [100, 101, 201, 204, 304, 307, 400, 401, 403, 412, 500, 503, 999])
_cuts = st.sampled_from([0, 0, 0, 0, 1, 2, 10, 40])


@pytest.fixture(scope="module")
def answers() -> Iterator[tuple[list[bytes], Datastore]]:
    """What a server answers, in one item, and a datastore on it."""
    sent = [b""]

    def reply(_: Request) -> bytes:
        return sent[0]

    with pytest.MonkeyPatch.context() as patch, Server(reply) as server:
        patch.setattr(etcd_v2, "LIST_TIMEOUT", 0.3)
        patch.setattr(http, "CONNECT_TIMEOUT", 0.3)
        yield sent, open_datastore(access_to(server.url), Members([server.url], proof_lifetime=0))


@given(_statuses, _headers, _bodies, _cuts)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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
        assert snapshot.index >= 0
    response = understood(lambda: datastore.watch(P, 7, 0.3))
    if response:
        assert response.index >= 6
        assert all(is_below(change.key, P) or change.subtree for change in response.changes)
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

"""Answers that look like etcd's and are damaged: none of them may raise anything but the errors of the port."""

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rrwatch.datastore import etcd_v2, http
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


def _mostly(sound: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(sound, sound, sound, sound, _anything)


_keys = st.sampled_from([P, f"{P}/a", f"{P}/a/b", f"{P}/_a/b", f"{P}0", "/calico", "/", ""]) | _texts
_leaf_fields = {
    "key": _mostly(_keys),
    "value": _mostly(_texts),
    "dir": _mostly(st.booleans()),
    "modifiedIndex": _mostly(st.integers(5, 9)),
    "createdIndex": _mostly(st.integers(5, 9)),
    "ttl": _anything,
    "expiration": _anything,
}
_nodes = st.recursive(
    st.fixed_dictionaries({}, optional=_leaf_fields),
    lambda below: st.fixed_dictionaries(
        {"dir": _mostly(st.just(True)), "nodes": _mostly(st.lists(below, max_size=3))}, optional={"key": _mostly(_keys)}
    ),
    max_leaves=6,
)
_roots = _nodes.map(lambda node: {"key": P, **node}) | _nodes
_actions = ["get", "set", "create", "update", "compareAndSwap", "delete", "expire", "compareAndDelete", "merge"]
_answers = st.fixed_dictionaries(
    {"node": _mostly(_roots)},
    optional={"action": _mostly(st.sampled_from(_actions)), "prevNode": _anything},
)
_errors = st.fixed_dictionaries(
    {"errorCode": _mostly(st.sampled_from([100, 101, 105, 110, 300, 400, 401]))},
    optional={"message": _mostly(_texts), "cause": _mostly(_texts), "index": _mostly(_numbers)},
)
_bodies = st.one_of(
    (_answers | _errors | _anything).map(json.dumps).map(str.encode),
    st.binary(max_size=20),
    st.sampled_from([b"[" * 50_000, b"1" * 5_000, b'{"node":' * 20_000, b"NaN", b"\xff"]),
)
_headers = st.fixed_dictionaries(
    {},
    optional={
        "X-Etcd-Index": _mostly(
            st.sampled_from(["7", "8", "0", "-1", "9" * 30, "9" * 6_000, "1e3", "\xb2", "7 7", ""])
        ),
        "X-Etcd-Cluster-Id": st.sampled_from(["c", "", "\xff", "x" * 5_000]),
        "Content-Length": st.sampled_from(["0", "5", "-1", "x", "99999999999999999999", "1" * 5_000]),
        "Transfer-Encoding": st.sampled_from(["chunked", "gzip, chunked", "x"]),
        "Content-Encoding": st.sampled_from(["identity", "gzip", "\xff"]),
        "Location": st.just("http://192.0.2.1/"),
    },
)
_statuses = st.sampled_from([200] * 8 + [100, 101, 201, 204, 304, 307, 400, 401, 403, 404, 404, 412, 500, 503, 999])


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


@given(_statuses, _headers, _bodies, st.integers(0, 40), st.booleans())
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_answer_is_understood_or_refused(
    answers: tuple[list[bytes], Datastore], status: int, headers: dict[str, object], body: bytes, cut: int, whole: bool
) -> None:
    sent, datastore = answers
    fields = {"Connection": "close", "Content-Length": len(body)} | headers
    lines = [f"{name}: {str(value).encode('latin-1', 'replace').decode('latin-1')}" for name, value in fields.items()]
    reply = "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode("latin-1") + body
    sent[0] = reply if whole else reply[: len(reply) - cut]

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
    understood(lambda: datastore.put(f"{P}/a", "1"))
    understood(lambda: datastore.remove(f"{P}/a"))


def understood(call: Callable[[], _T]) -> _T | None:
    """The result of a call, or None if it refused the answer in one line."""
    try:
        return call()
    except (TransportError, Resync) as error:
        reason = str(error)
    assert reason.isprintable()
    return None

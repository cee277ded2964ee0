"""Answers that etcd never gives: those of a proxy, of another server, or damaged ones."""

import json
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from lab.etcd_v3 import encoded
from lab.process import free_port
from rrwatch import http
from rrwatch.datastore import etcd_v3 as adapter
from rrwatch.datastore.port import Change, Snapshot, WatchResponse
from rrwatch.errors import Resync, TransportError
from tests.datastore.conftest import Serve
from tests.datastore.etcd_v3.following import P, connect
from tests.datastore.server import Request, answer

HEADER = {"cluster_id": "17", "member_id": "3", "revision": "9", "raft_term": "2"}


def page(*kvs: object, **others: object) -> bytes:
    """The answer to a list."""
    return answer("200 OK", json.dumps({"header": HEADER, "kvs": kvs} | others).encode(), b"")


def kv(key: str = f"{P}/a", /, **others: object) -> dict[str, object]:
    """A key with the value 1."""
    return {"key": encoded(key), "value": encoded("1"), "mod_revision": "9"} | others


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer("200 OK", b"", b""), "not an answer"),
        (answer("200 OK", b"{}", b""), "header is None"),
        (answer("200 OK", b"[]", b""), "the answer is []"),
        (answer("200 OK", b"[" * 100_000, b""), "recursion"),
        (answer("200 OK", b"\xff{}", b""), "not an answer"),
        (answer("200 OK", b"<html>hello</html>", b""), "not an answer"),
        (page(header={}), "cluster_id is None"),
        (page(header=HEADER | {"revision": 9}), "revision is 9"),
        (page(header=HEADER | {"revision": "-9"}), "revision is '-9'"),
        (page(header=HEADER | {"revision": "0"}), "the revision is 0"),
        (page(header=HEADER | {"revision": "9" * 5000}), "revision is"),
        (page(header=HEADER | {"cluster_id": 17}), "cluster_id is 17"),
        (page(header={"cluster_id": "17"}), "revision is None"),
        (page(kvs={}), "kvs is {}"),
        (page(5), "not an answer"),
        (page(kv(key="?")), "not an answer"),
        (page(kv(key=encoded("/elsewhere"))), "was not asked for"),
        (page(kv(key=encoded("/calico/bgp/v10/a"))), "was not asked for"),
        (page(kv(), kv()), "out of order"),
        (page(kv(f"{P}/b"), kv(f"{P}/a")), "out of order"),
        (page({"value": ""}), "not an answer"),
        (page(kv(key=5)), "not an answer"),
        (page(kv(value=5)), "not an answer"),
        (page(kv(value=0)), "a value is 0"),
        (page(kv(value=None)), "a value is None"),
        (page(kv(value="MQ=")), "not an answer"),
        (page(kv(value="ä")), "not an answer"),
        (page(kv(), more=1), "more is 1"),
        (page(more=True), "more is true on an empty page"),
        (page(kv(), more=True), "out of order"),  # the same page again
        (answer("200 OK", b"x" * 50, b"")[:-20], "the answer ended after 30 bytes, too early"),
        (answer("502 Bad Gateway", b"<html>\nno</html>", b""), "status 502: <html> no</html>"),
        (answer("404 Not Found", b"404 page not found\n", b""), "status 404: 404 page not found"),
        (answer("404 Not Found", b'{"message": "a proxy of some sort"}', b""), "a proxy of some sort"),
        (answer("503 Service Unavailable", b"", b""), "status 503"),
        (answer("503 Service Unavailable", b'{"error": "etcdserver: no leader", "code": 14}', b""), "no leader"),
        (answer("500 Oops", b'{"error": {"message": "inside"}}', b""), "inside"),
        (answer("500 Oops", b'{"error": [], "message": 5}', b""), "status 500"),
        (b"SSH-2.0-OpenSSH\r\n", ""),
        (b"", ""),
    ],
)
def test_no_answer_of_another_server_is_an_empty_datastore(serve: Serve, reply: bytes, words: str) -> None:
    url = serve(reply).url
    began = time.monotonic()
    with pytest.raises(TransportError) as caught:
        connect(url).list(P)
    assert words in str(caught.value)
    assert str(caught.value).startswith(url)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 8


def test_only_a_header_makes_an_empty_list(serve: Serve) -> None:
    url = serve(answer("200 OK", json.dumps({"header": HEADER}).encode(), b"")).url
    assert connect(url).list(P) == Snapshot(P, {}, 9, "17", url)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (HEADER | {"cluster_id": "18"}, "different clusters"),
        (HEADER | {"revision": "8"}, "different histories"),
    ],
)
def test_pages_are_from_one_history(serve: Serve, second: object, words: str) -> None:
    replies = [page(kv(), more=True), page(kv(f"{P}/b"), header=second)]
    with pytest.raises(TransportError, match=words):
        connect(serve(lambda _: replies.pop(0)).url).list(P)


def test_pages_without_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "SIZE_MAX", 10_000)
    count = 0

    def reply(_: Request) -> bytes:
        nonlocal count
        count += 1
        return page(kv(f"{P}/{count:06}"), more=True)

    with pytest.raises(TransportError, match=r"given up after [0-9]+ keys"):
        connect(serve(reply).url).list(P)
    assert count < 100


def test_an_answer_that_arrives_a_byte_at_a_time_has_an_end(serve: Serve) -> None:
    server = serve(lambda _: server.slowly(answer("200 OK", b"x" * 500), 0.1))
    began = time.monotonic()
    with pytest.raises(TransportError):
        connect(server.url).list(P)
    assert time.monotonic() - began < 10


def chunks(*lines: object) -> bytes:
    """The beginning of a watch's answer: a chunk for each line."""
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines]
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%s\r\n" % (len(text), text) for text in texts
    )


def result(**members: object) -> dict[str, object]:
    return {"result": {"header": HEADER} | members}


CREATED = result(created=True)


def event(revision: int = 7, key: str = f"{P}/a", **others: Any) -> dict[str, object]:
    return {"kv": kv(key) | {"mod_revision": str(revision)}} | others


@pytest.fixture
def watched(serve: Serve) -> Callable[..., adapter.EtcdV3]:
    """A datastore whose watches are answered with these bytes, after which the connection stays open."""

    def watched(sent: bytes) -> adapter.EtcdV3:
        def reply(_: Request) -> Iterable[bytes]:
            yield sent
            server.stopping.wait(20)

        server = serve(reply)
        client = connect(server.url)
        assert isinstance(client, adapter.EtcdV3)
        return client

    return watched


Watched = Callable[[bytes], adapter.EtcdV3]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((b"x\n",), "not an answer"),
        ((b"[]\n",), "the answer is []"),
        ((b"{}\n",), "result is None"),
        ((result(),), "something else than its confirmation"),
        ((result(created=1),), "something else than its confirmation"),
        (({"result": {"created": True}},), "header is None"),
        ((result(created=True, header={"cluster_id": "17"}),), "revision is None"),
        ((result(created=True, canceled=True, cancel_reason="because"),), "because"),
        (({"error": {"grpc_code": 14, "message": "etcdserver: no leader"}},), "no leader"),
        (({"error": {"code": 14, "message": "etcdserver: no leader"}},), "no leader"),
        (({"error": 5},), "the watch failed"),
        ((CREATED, result(canceled=True)), "etcd ended the watch"),
        ((CREATED, result(canceled=1)), "canceled is 1"),
        ((CREATED, result(events={})), "events is {}"),
        ((CREATED, result(events=[5])), "not an answer"),
        ((CREATED, result(events=[{}])), "kv is None"),
        ((CREATED, result(events=[{"kv": {"key": encoded(f"{P}/a")}}])), "mod_revision is None"),
        ((CREATED, result(events=[event(key="/elsewhere")])), "was not asked for"),
        ((CREATED, result(events=[{"kv": kv(key="?")}])), "not an answer"),
        ((CREATED, result(events=[{"kv": kv(value=7)}])), "not an answer"),
        ((CREATED, result(fragment="yes")), "fragment is 'yes'"),
        ((CREATED, b"[" * 100_000 + b"\n"), "recursion"),
    ],
)
def test_damaged_lines_end_a_watch(watched: Watched, lines: tuple[object, ...], words: str) -> None:
    began = time.monotonic()
    with pytest.raises(TransportError) as caught:
        watched(chunks(*lines)).watch(P, 7, 10)
    assert words in str(caught.value)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "lines",
    [
        (CREATED, {"result": {"header": {}, "canceled": True, "compact_revision": "13"}}),
        (result(created=True, canceled=True, compact_revision="13"),),
        (CREATED, result(canceled=True, cancel_reason="required revision has been compacted")),
        (CREATED, result(header=HEADER | {"cluster_id": "18"})),
        (CREATED, result(events=[event(type="MERGE")])),
        (result(created=True, header=HEADER | {"revision": "5"}),),
    ],
)
def test_what_breaks_continuity(watched: Watched, lines: tuple[object, ...]) -> None:
    client = watched(chunks(*lines))
    began = time.monotonic()
    with pytest.raises(Resync):
        client.watch(P, 7, 10)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b"", "closed in the middle of the answer"),
        (b"5\r\nabc", "closed in the middle of the answer"),
        (b"0\r\n\r\n", "the server ended the answer"),
        (b"zz\r\n", "closed in the middle of the answer"),
    ],
)
def test_a_watch_that_is_cut_off(serve: Serve, tail: bytes, words: str) -> None:
    client = connect(serve(chunks(CREATED) + tail).url)
    began = time.monotonic()
    with pytest.raises(TransportError, match=words):
        client.watch(P, 7, 10)
    assert time.monotonic() - began < 5


def test_a_watch_that_ends_without_a_line_end(serve: Serve) -> None:
    """So does etcd 3.4 when it has an error to tell."""
    for last, words in (b"{", "not an answer"), (b'{"error": {"message": "no leader"}}', "no leader"):
        with pytest.raises(TransportError, match=words):
            connect(serve(chunks(CREATED, last) + b"0\r\n\r\n").url).watch(P, 7, 10)


def test_a_line_that_stops(watched: Watched) -> None:
    began = time.monotonic()
    with pytest.raises(TransportError):
        watched(chunks(CREATED, b'{"result"')).watch(P, 7, 10)
    assert time.monotonic() - began < 5


def test_a_line_that_arrives_a_byte_at_a_time_has_an_end(serve: Serve) -> None:
    def reply(_: Request) -> Iterable[bytes]:
        yield chunks(CREATED)
        for _byte in range(100):
            if server.stopping.wait(0.1):
                return
            yield b"1\r\nx\r\n"

    server = serve(reply)
    with pytest.raises(TransportError, match="arrives too slowly"):
        connect(server.url).watch(P, 7, 10)


def test_a_line_without_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SIZE_MAX", 2**20)

    def reply(_: Request) -> Iterable[bytes]:
        yield chunks(CREATED)
        while not server.stopping.is_set():
            yield b"10000\r\n%s\r\n" % (b"x" * 0x10000)

    server = serve(reply)
    with pytest.raises(TransportError, match="a line has more than 1 MiB"):
        connect(server.url).watch(P, 7, 10)


def test_a_watch_that_is_never_confirmed(watched: Watched) -> None:
    for sent in b"", chunks():
        began = time.monotonic()
        with pytest.raises(TransportError):
            watched(sent).watch(P, 7, 20)
        assert time.monotonic() - began < 8


def test_lines_without_events_have_an_end(serve: Serve) -> None:
    def reply(_: Request) -> Iterable[bytes]:
        yield chunks(CREATED)
        progress = chunks(result()).partition(b"\r\n\r\n")[2]
        while not server.stopping.is_set():
            yield progress

    server = serve(reply)
    assert connect(server.url).watch(P, 7, 0.5) == WatchResponse(6, "17", timed_out=True)


def test_chunks_are_no_lines(watched: Watched) -> None:
    line = json.dumps(result(events=[event(7)])).encode() + b"\n"
    both = json.dumps(CREATED).encode() + b"\n" + line[:30]
    assert watched(chunks(both, line[30:40], line[40:])).watch(P, 7) == WatchResponse(7, "17", (Change(f"{P}/a", "1"),))


def test_a_revision_in_fragments_is_handed_over_as_a_whole(watched: Watched) -> None:
    first = result(events=[event(7), event(8, f"{P}/b")], fragment=True)
    client = watched(chunks(CREATED, first, result(events=[event(8, f"{P}/c"), event(9)])))
    assert client.watch(P, 7) == WatchResponse(7, "17", (Change(f"{P}/a", "1"),))
    assert client.watch(P, 8) == WatchResponse(8, "17", (Change(f"{P}/b", "1"), Change(f"{P}/c", "1")))
    assert client.watch(P, 9) == WatchResponse(9, "17", (Change(f"{P}/a", "1"),))


def test_what_was_handed_over_is_dropped_when_it_comes_again(watched: Watched) -> None:
    """Old releases deliver events twice, and a watch starts before what is asked for."""
    lines = (
        result(events=[event(6), event(7), event(8)]),
        result(events=[event(7), event(8)]),
        result(events=[event(9)]),
    )
    client = watched(chunks(CREATED, *lines))
    for index in 7, 8, 9:
        response = client.watch(P, index)
        assert response
        assert response.index == index
    assert client.watch(P, 10, 0.2) == WatchResponse(9, "17", timed_out=True)


def test_what_is_asked(serve: Serve) -> None:
    """Lists and probes are linearizable, which is the default; all requests demand a leader."""
    server = serve(page())
    client = connect(server.url)
    client.list(P)
    client.probe(P)
    assert not client.swap(f"{P}/a", None, "1")
    with pytest.raises(TransportError):
        client.watch(P, 7)
    assert [(request.method, request.target) for request in server.requests] == [
        ("POST", "/v3/kv/range"),
        ("POST", "/v3/kv/range"),
        ("POST", "/v3/kv/range"),
        ("POST", "/v3/kv/txn"),
        ("POST", "/v3/watch"),
    ]
    for request in server.requests:
        assert request.headers["grpc-metadata-hasleader"] == "true"
        assert "authorization" not in request.headers


def test_nobody_listens() -> None:
    client = connect(f"http://127.0.0.1:{free_port()}")
    for call in client.list, client.probe, lambda prefix: client.watch(prefix, 7):
        with pytest.raises(TransportError, match="Connection refused"):
            call(P)


def test_a_port_that_never_answers() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for call in client.list, client.probe, lambda prefix: client.watch(prefix, 7):
            began = time.monotonic()
            with pytest.raises(TransportError, match="nothing arrived for 2 s"):
                call(P)
            assert time.monotonic() - began < 6

"""Answers that etcd never gives: those of a proxy, of another server, or damaged ones."""

import json
import socket
import time
from collections.abc import Iterable

import pytest

from lab.process import free_port
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.port import Change, Snapshot, WatchResponse
from rrwatch.errors import Resync, TransportError
from tests.datastore.conftest import Serve
from tests.datastore.etcd_v2.following import P, access_to
from tests.datastore.server import Request, answer


def listing(**node: object) -> bytes:
    """The answer to a list with one node."""
    return json.dumps({"node": {"key": P, "dir": True, "nodes": [{"key": f"{P}/a", "value": "1"} | node]}}).encode()


FOLDER = json.dumps({"node": {"key": P, "dir": True}}).encode()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer("200 OK", b""), "not an answer"),
        (answer("200 OK", b"[]"), "not an answer"),
        (answer("200 OK", b'{"node": 5}'), "not an answer"),
        (answer("200 OK", listing(value=5)), f"the value of '{P}/a' is 5"),
        (answer("200 OK", listing(value=None)), f"the value of '{P}/a' is None"),
        (answer("200 OK", listing(key=5)), "the key 5 is not below"),
        (answer("200 OK", listing(key="/elsewhere/a")), "the key '/elsewhere/a' is not below"),
        (answer("200 OK", listing(dir=1)), f"the value of '{P}/a'"),
        (answer("200 OK", listing(dir=True, nodes={})), "nodes is {}"),
        (answer("200 OK", listing(value="\ud800")), "surrogates not allowed"),
        (answer("200 OK", b"[" * 100_000), "recursion"),
        (answer("200 OK", b'{"node": {"key": "/other", "dir": true}}'), "asked for"),
        (answer("404 Not Found", b"[" * 100_000), "recursion"),
        (answer("500 Oops", b'{"errorCode": 100, "message": "Key not found"}'), "Key not found"),
        (answer("200 OK", FOLDER, b""), "no X-Etcd-Index"),
        (answer("200 OK", FOLDER, b"X-Etcd-Index: x\r\nX-Etcd-Cluster-Id: c\r\n"), "no X-Etcd-Index"),
        (answer("200 OK", FOLDER, b"X-Etcd-Index: -7\r\nX-Etcd-Cluster-Id: c\r\n"), "no X-Etcd-Index"),
        (answer("200 OK", b"x" * 50)[:-20], "the answer ended after 30 bytes, too early"),
        (answer("502 Bad Gateway", b"<html>no</html>", b""), "Bad response"),
        (answer("404 Not Found", b"404 page not found\n", b""), "Bad response"),
        (answer("404 Not Found", b'{"message": "a proxy of some sort"}'), "a proxy of some sort"),
        (answer("404 Not Found", b'{"errorCode": 100, "message": "Key not found"}', b""), "no X-Etcd-Index"),
        (answer("503 Service Unavailable", b"", b"Retry-After: 3600\r\n"), "Bad response"),
        (answer("307 Temporary Redirect", b"", b"Location: http://192.0.2.1/\r\n"), "Bad response"),
        (answer("500 Oops", b'{"errorCode": 300, "message": "Raft Internal Error"}'), "Raft Internal Error"),
        (b"SSH-2.0-OpenSSH\r\n", ""),
        (b"", ""),
    ],
)
def test_no_answer_of_another_server_is_an_empty_datastore(serve: Serve, reply: bytes, words: str) -> None:
    url = serve(reply).url
    began = time.monotonic()
    with pytest.raises(TransportError) as caught:
        open_datastore(access_to(url)).list(P)
    assert words in str(caught.value)
    assert str(caught.value).startswith(url)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 8


def test_only_etcd_itself_can_say_that_nothing_is_there(serve: Serve) -> None:
    url = serve(answer("404 Not Found", b'{"errorCode": 100, "message": "Key not found", "index": 7}')).url
    assert open_datastore(access_to(url)).list(P) == Snapshot(P, {}, 7, "c", url)


def test_an_answer_that_arrives_a_byte_at_a_time_has_an_end(serve: Serve) -> None:
    server = serve(lambda _: server.slowly(answer("200 OK", b"x" * 500), 0.1))
    began = time.monotonic()
    with pytest.raises(TransportError):
        open_datastore(access_to(server.url)).list(P)
    assert time.monotonic() - began < 10


def test_lists_and_probes_ask_a_majority_and_watches_do_not(serve: Serve) -> None:
    node = {"action": "set", "node": {"key": P, "dir": True, "modifiedIndex": 7}}
    server = serve(answer("200 OK", json.dumps(node).encode()))
    client = open_datastore(access_to(server.url))
    client.list(P)
    client.probe(P)
    client.watch(P, 7)
    assert [request.target for request in server.requests] == [
        f"/v2/keys{P}?recursive=true&quorum=true",
        f"/v2/keys{P}?quorum=true",
        f"/v2/keys{P}?wait=true&recursive=true&waitIndex=7",
    ]


def test_an_event_that_arrives_on_an_open_watch_is_read_again_from_the_history(serve: Serve) -> None:
    def event(index: int) -> bytes:
        node = {"key": f"{P}/{index}", "value": "1", "modifiedIndex": index}
        return json.dumps({"action": "set", "node": node}).encode()

    client = open_datastore(access_to(serve(answer("200 OK", event(9))).url))
    assert client.watch(P, 7) == WatchResponse(7, "c")
    client = open_datastore(access_to(serve(answer("200 OK", event(7))).url))
    assert client.watch(P, 7) == WatchResponse(7, "c", (Change(f"{P}/7", "1"),))


def test_an_error_whose_body_is_missing_is_no_silence(serve: Serve) -> None:
    """The history is cleared, and the connection stalls before etcd has said so."""

    def reply(_: Request) -> Iterable[bytes]:
        yield answer("400 Bad Request", b"x" * 50)[:-50]
        server.stopping.wait(10)

    server = serve(reply)
    with pytest.raises(TransportError, match="status 400 without a body"):
        open_datastore(access_to(server.url)).watch(P, 7)


def test_an_unknown_action_breaks_continuity(serve: Serve) -> None:
    event = {"action": "merge", "node": {"key": f"{P}/a", "value": "1", "modifiedIndex": 7}}
    with pytest.raises(Resync, match="unknown action 'merge'"):
        open_datastore(access_to(serve(answer("200 OK", json.dumps(event).encode())).url)).watch(P, 7)


def test_nobody_listens() -> None:
    with pytest.raises(TransportError, match="Connection refused"):
        open_datastore(access_to(f"http://127.0.0.1:{free_port()}")).list(P)


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(TransportError, match=r"no\.such\.host\.invalid:2379"):
        open_datastore(access_to("http://no.such.host.invalid:2379")).list(P)


def test_a_port_that_never_answers() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = open_datastore(access_to(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        assert client.watch(P, 7) is None
        for call in client.list, client.probe:
            with pytest.raises(TransportError):
                call(P)

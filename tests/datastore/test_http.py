"""The limits of an exchange."""

import contextlib
import itertools
import socket
import threading
import time
import zlib
from collections.abc import Iterable
from http.client import HTTPException

import pytest

from rrwatch import http
from rrwatch.http import Connection, Silence, Tls
from tests.datastore.conftest import Serve
from tests.datastore.relay import Relay
from tests.datastore.server import Request, Server, answer
from tests.memory import memory_below

MIB = 2**20


def connect(server: Server) -> Connection:
    return Connection(server.url, Tls())


def read(connection: Connection, timeout: float = 0.5) -> bytearray:
    with connection.exchange("GET", "/", timeout=timeout) as response:
        return response.read()


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(http, "DURATION_MAX", 10.0)


def chunked(pieces: Iterable[bytes]) -> Iterable[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("sent", [answer("200 OK", b"x" * MIB), b"".join(chunked([b"x" * 1000] * 1000))])
def test_an_answer_that_arrives_slowly_takes_its_time(serve: Serve, sent: bytes) -> None:
    """Three times as long as its timeout, as a list of 20,000 nodes over a thin line."""
    server = serve(lambda _: server.slowly(sent, 0.1, len(sent) // 30))
    began = time.monotonic()
    assert len(read(connect(server))) > 900_000
    assert time.monotonic() - began > 2.5


@pytest.mark.parametrize("size", [1, 100])
def test_an_answer_that_arrives_too_slowly_is_given_up(serve: Serve, size: int) -> None:
    server = serve(lambda _: server.slowly(answer("200 OK", b"x" * 50_000), 0.1, size))
    began = time.monotonic()
    with pytest.raises(OSError, match="given up after 1 s: the answer arrives too slowly"):
        read(connect(server))
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 10_000,
    ],
    ids=["status", "headers", "trailers"],
)
def test_no_part_of_an_answer_is_without_a_limit(serve: Serve, sent: bytes) -> None:
    server = serve(lambda _: server.slowly(sent * 100, 0.05, 20))
    began = time.monotonic()
    with pytest.raises(OSError, match="given up after 1 s"):
        read(connect(server))
    assert time.monotonic() - began < 3


def test_a_tls_handshake_that_takes_too_long_is_given_up() -> None:
    stop = threading.Event()

    def slowly(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as client:
            client.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")  # the head of a ServerHello of 16 KiB
            while not stop.wait(0.05):
                client.sendall(b"\x03")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=slowly, args=(listener,), daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(OSError, match=r"no connection within 0\.5 s"):
            read(Connection(url, Tls()))
        assert time.monotonic() - began < 3
        stop.set()


def test_an_exchange_has_a_limit_however_fast_it_is(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DURATION_MAX", 2.0)
    server = serve(lambda _: server.slowly(answer("200 OK", b"x" * 40 * MIB), 0.05, MIB // 4))
    with pytest.raises(OSError, match="given up after 2 s"):
        read(connect(server), 10)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"", "the answer has more than 64 MiB"),
        (b"Content-Length: 100000000000\r\n", "the answer has more than 64 MiB"),
        (b"Transfer-Encoding: chunked\r\n", "more than 65536 bytes when reading chunk size"),
    ],
)
def test_an_answer_without_an_end_is_given_up_at_a_size(serve: Serve, header: bytes, words: str) -> None:
    def reply(_: Request) -> Iterable[bytes]:
        yield b"HTTP/1.1 200 OK\r\n" + header + b"\r\n"
        while not server.stopping.is_set():
            yield b"x" * MIB

    server = serve(reply)
    with memory_below(160 * MIB), pytest.raises((OSError, HTTPException), match=words):
        read(connect(server), 5.0)


def test_chunks_without_an_end_are_given_up_at_a_size(serve: Serve) -> None:
    server = serve(lambda _: chunked(itertools.repeat(b"x" * MIB)))
    with memory_below(160 * MIB), pytest.raises(OSError, match="the answer has more than 64 MiB"):
        read(connect(server), 5.0)


def test_an_encoded_answer_is_refused(serve: Serve) -> None:
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(256)) + packer.flush()
    server = serve(answer("200 OK", packed, b"Content-Encoding: gzip\r\n"))
    with (
        memory_below(4 * MIB),
        pytest.raises(OSError, match="the answer is encoded as gzip, which was not asked for"),
    ):
        read(connect(server))
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_silence_before_and_within_the_body(serve: Serve) -> None:
    def reply(request: Request) -> Iterable[bytes]:
        sent = {"/headers": b"", "/body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"}
        yield sent.get(request.target, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        server.stopping.wait(10)

    server = serve(reply)
    connection = connect(server)
    with pytest.raises(Silence), connection.exchange("GET", "/headers", timeout=0.2):
        pytest.fail("no headers were sent")
    with connection.exchange("GET", "/body", timeout=0.2) as response:
        assert response.status == 200
        with pytest.raises(Silence):
            response.read()
    # An event of which a part has arrived is not the same as no event.
    with connection.exchange("GET", "/part", timeout=0.2) as response:
        with pytest.raises(OSError, match="the answer stopped after 3 bytes") as caught:
            response.read()
        assert not isinstance(caught.value, Silence)


def test_a_connection_that_the_server_ended_is_not_used_again(serve: Serve) -> None:
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    ended = threading.Event()

    def reply(_: Request) -> Iterable[bytes]:
        yield sent
        if len(server.requests) == 1:
            server.stopping.wait(0.1)
            yield sent  # which nobody asked for
        ended.set()

    server = serve(reply)
    connection = connect(server)
    assert read(connection) == b"x"
    assert ended.wait(5)
    assert read(connection) == b"x"
    assert len(server.requests) == 2


def test_a_connection_is_used_again(relay: Relay) -> None:
    connection = Connection(relay.url, Tls())
    for _ in range(3):
        with connection.exchange("GET", "/version", timeout=5) as response:
            assert b"etcdserver" in response.read()
    assert relay.connections == 1

"""Why a server could not be asked: words of networks instead of names of Python's classes."""

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException

import pytest
import trustme

from lab.process import free_port
from rrwatch.reasons import reason_of


@contextmanager
def server(converse: Callable[[socket.socket], object]) -> Iterator[int]:
    """Serves one connection; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                converse(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def failure(port: int, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> str:
    """Returns the reason of a request that fails."""
    kind = http.client.HTTPSConnection(host, port, timeout=5, context=context) if context else None
    connection = kind or http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, HTTPException) as error:
        reason = reason_of(error)
        assert not re.search(r"[A-Z][a-z]+[A-Z]|Errno|_ssl|\n", reason)
        return reason
    finally:
        connection.close()
    pytest.fail("the request succeeded")


def test_nothing_listens() -> None:
    assert failure(free_port()) == "Connection refused"


def test_a_name_that_does_not_exist() -> None:
    assert failure(1, "no.such.host.invalid").startswith("the name cannot be resolved: ")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the connection was closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "the connection was closed in the middle of the answer"),
        (b"SSH-2.0-OpenSSH\r\n", "what answers does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000, "what answers does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200, "not an answer of HTTP: got more than 100 headers"),
    ],
)
def test_a_broken_answer(answer: bytes, reason: str) -> None:
    with server(lambda connection: connection.sendall(answer)) as port:
        assert failure(port) == reason


def test_a_certificate_that_nobody_signed() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        reason = failure(listener.getsockname()[1], context=ssl.create_default_context())
        thread.join(5)
    assert reason.startswith("the certificate cannot be verified: ")


def test_a_server_without_tls() -> None:
    with server(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert failure(port, context=ssl.create_default_context()) in (
            "TLS failed: wrong version number",
            "TLS failed: record layer failure",
        )


def test_an_error_without_words() -> None:
    assert reason_of(OSError()) == "the connection failed"
    assert reason_of(TimeoutError("nothing arrived for 5 s")) == "nothing arrived for 5 s"

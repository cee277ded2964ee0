"""The status pages, and clients that mean no good."""

import http.client
import socket
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.process import wait_until
from rrwatch.bird.apply import State
from rrwatch.report import http as status_http
from rrwatch.report.http import StatusServer
from rrwatch.settings.values import Listen
from tests.report.values import outcome, status


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatusServer]:
    """A server with little patience, that has something to tell."""
    monkeypatch.setattr(status_http, "_CLIENT_TOTAL", 1.0)
    monkeypatch.setattr(status_http, "_CLIENTS_MAX", 4)
    server = StatusServer(Listen("127.0.0.1", 0))
    server.start()
    server.publish(status(outcome(State.CONFIRMED)))
    yield server
    server.stop()


def get(server: StatusServer, page: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(server.address, timeout=5)
    try:
        connection.request(method, page)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def connect(server: StatusServer) -> socket.socket:
    host, port = server.address.split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def is_served(server: StatusServer) -> bool:
    try:
        return get(server, "/healthz") == (200, "alive\n")
    except (OSError, http.client.HTTPException):
        return False


def test_metrics(server: StatusServer) -> None:
    code, text = get(server, "/metrics")
    assert code == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {name: families[name].samples[0].value for name in ("rrwatch_ready", "rrwatch_held")} == {
        "rrwatch_ready": 1.0, "rrwatch_held": 0.0,
    }  # fmt: skip
    assert families["rrwatch_bird_confirmed"].samples[0].labels == {"daemon": "bird"}
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6
    for name, family in families.items():
        assert family.documentation.endswith("."), name
        # https://prometheus.io/docs/practices/naming: base units, counters end in _total.
        assert name.startswith(("rrwatch_", "process_"))
        if family.type == "counter":
            assert all(sample.name.endswith("_total") or sample.name.endswith("_created") for sample in family.samples)


@pytest.mark.parametrize("page", ["/", "/nothing", "/healthz/", "/../etc/passwd", "//", "/%00"])
def test_other_pages(server: StatusServer, page: str) -> None:
    assert get(server, page)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_is_read_only(server: StatusServer, method: str) -> None:
    assert get(server, "/status", method)[0] == 501


def test_a_query_is_no_other_page(server: StatusServer) -> None:
    assert get(server, "/healthz?x=1")[0] == 200


@pytest.mark.parametrize("said", [
    b"", b"GET", b"GET / HTTP/1.1\r\nX: ", b"\x00\xff\xfe\r\n\r\n", b"GET /status\r\n", b"A" * 100_000, b"\r\n" * 1000,
    b"GET / HTTP/9.9\r\n\r\n", b"GET /status HTTP/1.1\r\n" + b"X: y\r\n" * 500,
])  # fmt: skip
def test_nonsense(server: StatusServer, said: bytes) -> None:
    with connect(server) as line:
        line.settimeout(5)
        try:
            line.sendall(said)
            while line.recv(4096):
                pass
        except OSError:
            pass
    assert is_served(server)


def test_who_dawdles_is_hung_up_on(server: StatusServer) -> None:
    dawdlers = [connect(server) for _ in range(10)]
    try:
        end = time.monotonic() + 8
        while dawdlers and time.monotonic() < end:
            for line in list(dawdlers):
                try:
                    line.sendall(b"G")  # a byte at a time would be in time for ever
                except OSError:
                    dawdlers.remove(line)
                    line.close()
            time.sleep(0.05)
        assert not dawdlers
        assert is_served(server)
    finally:
        for line in dawdlers:
            line.close()


def test_who_does_not_read(server: StatusServer) -> None:
    lines = [connect(server) for _ in range(4)]
    try:
        for line in lines:
            line.sendall(b"GET /status HTTP/1.1\r\n\r\n" * 1000)
        wait_until(lambda: is_served(server), "a place for others", 5)
    finally:
        for line in lines:
            line.close()

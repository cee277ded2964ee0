"""The status pages, their address, and clients that are slow, silent or malformed."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from lab.process import wait_until
from rrwatch.bird.apply import State
from rrwatch.report.http import StatusServer, _bind, _sessions
from rrwatch.report.page import HEADERS
from rrwatch.settings.values import Listen
from tests.fuzz import EXAMPLES
from tests.report.values import outcome, status


@contextlib.contextmanager
def serving(listen: Listen, **options: float) -> Iterator[StatusServer]:
    """A server on an address that is available, once it serves."""
    server = StatusServer(listen, **options)  # type: ignore[arg-type]  # all of them are numbers
    server.start()
    try:
        wait_until(lambda: server.address, "an address", 5)
        yield server
    finally:
        server.stop()


@pytest.fixture
def fresh() -> Iterator[StatusServer]:
    """A server without a status."""
    with serving(Listen("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[StatusServer]:
    """A server with a status, and little time and room for clients."""
    with serving(Listen("127.0.0.1", 0), client_timeout=1.0, max_clients=4) as server:
        server.publish(status(outcome(State.CONFIRMED)))
        yield server


def get(server: StatusServer, page: str, method: str = "GET") -> tuple[int, str]:
    assert server.address
    connection = http.client.HTTPConnection(server.address, timeout=5)
    try:
        connection.request(method, page)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def connect(server: StatusServer) -> socket.socket:
    assert server.address
    host, port = server.address.split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def is_served(server: StatusServer) -> bool:
    try:
        return get(server, "/healthz") == (200, "alive\n")
    except (OSError, http.client.HTTPException):
        return False


class TestPages:
    def test_before_and_after_the_first_status(self, fresh: StatusServer) -> None:
        assert get(fresh, "/healthz") == (503, "starting\n")
        fresh.publish(status(outcome(State.CONFIRMED)))
        assert get(fresh, "/healthz") == (200, "alive\n")
        assert get(fresh, "/readyz") == (200, "ready\n")
        assert json.loads(get(fresh, "/status")[1])["ready"] is True
        assert get(fresh, "/healthz", "HEAD") == (200, "")

    def test_text_for_people_has_no_control_characters_and_json_is_exact(self, fresh: StatusServer) -> None:
        fresh.publish(status(outcome(State.REFUSED, "\ud800 \x1b[2J no")))
        assert get(fresh, "/readyz") == (503, "bird refused: \\ud800 \\x1b[2J no\n")
        assert get(fresh, "/healthz")[0] == 200
        assert json.loads(get(fresh, "/status")[1])["reason"] == "bird refused: \ud800 \x1b[2J no"

    def test_the_page_for_people(self, server: StatusServer) -> None:
        assert server.address
        connection = http.client.HTTPConnection(server.address, timeout=5)
        answers = {}
        for page in "/", "/page.js", "/page.css", "/?state=no", "/?state=up":
            connection.request("GET", page)
            answer = connection.getresponse()
            answers[page] = (answer.status, answer.headers, answer.read().decode())
            connection.close()
        assert {page: code for page, (code, _, _) in answers.items()} == {
            "/": 200, "/page.js": 200, "/page.css": 200, "/?state=no": 400, "/?state=up": 200,
        }  # fmt: skip
        for _, headers, _ in answers.values():
            assert {name: headers[name] for name in HEADERS} == HEADERS
            assert headers["ETag"]
        _, headers, body = answers["/"]
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert int(headers["Content-Length"]) == len(body.encode())
        assert "<strong>READY</strong>" in body
        connection.request("GET", "/page.js", headers={"If-None-Match": answers["/page.js"][1]["ETag"]})
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.headers["Content-Length"]) == (304, b"", None)
        connection.close()
        assert get(server, "/", "HEAD") == (200, "")

    def test_no_browser_takes_a_text_for_a_page(self, server: StatusServer) -> None:
        assert server.address
        connection = http.client.HTTPConnection(server.address, timeout=5)
        connection.request("GET", "/readyz")
        assert connection.getresponse().headers["X-Content-Type-Options"] == "nosniff"
        connection.close()

    def test_metrics(self, server: StatusServer) -> None:
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
                assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)

    @pytest.mark.parametrize("page", ["/nothing", "/healthz/", "/../etc/passwd", "/%00"])
    def test_other_pages(self, server: StatusServer, page: str) -> None:
        assert get(server, page)[0] == 404

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_it_is_read_only(self, server: StatusServer, method: str) -> None:
        assert get(server, "/status", method)[0] == 501

    def test_a_query_is_no_other_page(self, server: StatusServer) -> None:
        assert get(server, "/healthz?x=1")[0] == 200


class TestAddress:
    def test_that_is_taken_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts: list[object] = []
        resolve = socket.getaddrinfo

        def counted(*arguments: Any, **keywords: Any) -> Any:
            attempts.append(arguments)
            return resolve(*arguments, **keywords)

        monkeypatch.setattr(socket, "getaddrinfo", counted)
        with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as logged:
            port = taken.getsockname()[1]
            waiting = StatusServer(Listen("127.0.0.1", port), retry_interval=0.02)
            waiting.publish(status(outcome(State.CONFIRMED)))
            waiting.start()
            try:
                wait_until(lambda: len(attempts) > 3, "more attempts", 5)
                taken.close()
                wait_until(lambda: waiting.address, "its address", 5)
                assert get(waiting, "/readyz") == (200, "ready\n")
                wait_until(lambda: len(logged) > 1, "another log line", 5)
            finally:
                waiting.stop()
        assert [(line["event"], line["address"]) for line in logged] == [
            ("status_unavailable", f"127.0.0.1:{port}"),
            ("status_served", f"127.0.0.1:{port}"),
        ]
        assert logged[0]["reason"] == "Address already in use"

    def test_that_is_never_available_does_not_keep_it_from_stopping(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            waiting = StatusServer(Listen("127.0.0.1", taken.getsockname()[1]))
            waiting.start()
            began = time.monotonic()
            waiting.stop()
            assert time.monotonic() - began < 0.9
            assert waiting.address is None

    def test_of_ipv6(self) -> None:
        with serving(Listen("::1", 0)) as server:
            server.publish(status(outcome(State.CONFIRMED)))
            assert server.address
            assert server.address.startswith("[::1]:")
            assert get(server, "/readyz") == (200, "ready\n")

    def test_of_a_name_with_addresses_of_both_families(self, monkeypatch: pytest.MonkeyPatch) -> None:
        both = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
            server = StatusServer(Listen("localhost", 0))
            server.start()
            wait_until(lambda: server.address, "an address", 5)
        assert server.address
        assert server.address.startswith("127.0.0.1:")
        server.stop()

    def test_is_not_looked_up_for_a_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def looked_up(_: object) -> object:
            raise AssertionError("a look-up of an address can take ten seconds")

        monkeypatch.setattr(socket, "gethostbyaddr", looked_up)
        with serving(Listen("127.0.0.2", 0)) as server:
            assert get(server, "/healthz")[0] == 503


REQUESTS = [
    b"", b"GET", b"GET / HTTP/1.1\r\nX: ", b"\x00\xff\xfe\r\n\r\n", b"GET /status\r\n", b"A" * 100_000, b"\r\n" * 1000,
    b"GET / HTTP/9.9\r\n\r\n", b"GET /status HTTP/1.1\r\n" + b"X: y\r\n" * 500,
]  # fmt: skip

_token = st.sampled_from([
    b"GET", b"HEAD", b"POST", b" ", b"/", b"/status", b"/metrics", b"/readyz?", b"HTTP/1.1", b"HTTP/0.9", b"HTTP/1.0",
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b":", b"Content-Length: 9999999999", b"Transfer-Encoding: chunked", b"Host:",
    b"Expect: 100-continue", b"Connection: keep-alive", b"%", b"\x00", b"\xff", b"\x1b[2J",
])  # fmt: skip


class TestClients:
    @pytest.mark.parametrize("said", REQUESTS)
    def test_malformed_requests(self, server: StatusServer, said: bytes) -> None:
        exchange(server, said)
        wait_until(lambda: is_served(server), "the page", 5)

    @given(st.lists(st.one_of(_token, st.binary(max_size=20)), max_size=30).map(b"".join))
    @example(b"GET /status HTTP/1.1\r\nConnection: keep-alive\r\n\r\n" * 3)
    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_bytes_leave_it_serving(self, server: StatusServer, said: bytes) -> None:
        server.publish(status(outcome(State.CONFIRMED)))  # one of a minute ago would count as stalled
        exchange(server, said, finish=True)
        # The threads of the last examples may still be ending, and there is room for four clients.
        wait_until(lambda: is_served(server), "the page", 5)

    def test_a_slow_one_is_disconnected(self, server: StatusServer) -> None:
        slow = [connect(server) for _ in range(10)]
        try:
            wait_until(lambda: not still_open(slow), "all are disconnected", 8)
            assert is_served(server)
        finally:
            for connection in slow:
                connection.close()

    def test_many_slow_ones_while_the_status_changes(self, server: StatusServer) -> None:
        slow = [connect(server) for _ in range(150)]
        try:
            for number, connection in enumerate(slow):
                with contextlib.suppress(OSError):  # those for which there is no room are disconnected
                    connection.sendall(b"GET /status HTTP/1.1\r\nX: " + b"x" * (number % 7))
                server.publish(status(outcome(State.REFUSED if number % 2 else State.CONFIRMED)))
            server.publish(status(outcome(State.CONFIRMED)))
            wait_until(lambda: is_served(server), "the page", 8)
            assert json.loads(get(server, "/status")[1])["ready"] is True
        finally:
            for connection in slow:
                connection.close()

    def test_a_burst_of_them_waits_for_no_retry_of_tcp(self) -> None:
        with _bind(Listen("127.0.0.1", 0), 1.0, 1) as http, contextlib.ExitStack() as stack:
            for _ in range(100):  # before any is accepted
                address = http.listen.host, http.listen.port
                stack.enter_context(socket.create_connection(address, timeout=0.5))

    def test_one_that_does_not_read(self, server: StatusServer) -> None:
        connections = [connect(server) for _ in range(4)]
        try:
            for connection in connections:
                connection.sendall(b"GET /status HTTP/1.1\r\n\r\n" * 1000)
            wait_until(lambda: is_served(server), "room for others", 5)
        finally:
            for connection in connections:
                connection.close()


_piece = st.sampled_from([
    "state", "node", "text", "sort", "limit", "page", "=", "&", ";", "%", "%00", "%ff", "+", "up", "0", "-1", "\x00",
    "\ud800", "\u0663", "9" * 5000, "x" * 300,
])  # fmt: skip


@given(st.text(max_size=60) | st.lists(_piece, max_size=12).map("".join))
@settings(max_examples=EXAMPLES)
def test_any_query_for_sessions_is_answered(query: str) -> None:
    code, text, kind = _sessions(status(outcome(State.CONFIRMED)), query)
    assert (code, kind) in {(HTTPStatus.OK, "application/json"), (HTTPStatus.BAD_REQUEST, "text/plain; charset=utf-8")}
    assert code is HTTPStatus.OK or len(text.splitlines()) == 1


def exchange(server: StatusServer, said: bytes, *, finish: bool = False) -> None:
    """Sends some bytes, and reads until the server hangs up or is silent."""
    with connect(server) as connection, contextlib.suppress(OSError):
        connection.sendall(said)
        if finish:
            connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def still_open(connections: list[socket.socket]) -> bool:
    """Sends one more byte on each connection, which keeps a read from timing out, and drops those that are closed."""
    for connection in list(connections):
        try:
            connection.sendall(b"G")
        except OSError:
            connections.remove(connection)
            connection.close()
    return bool(connections)

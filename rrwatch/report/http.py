"""Serves the status over HTTP: read-only, in threads of its own."""

import contextlib
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from rrwatch.report.document import heading
from rrwatch.report.page import PATHS, StatusPage
from rrwatch.report.sessions import Query
from rrwatch.report.status import Status
from rrwatch.report.text import visible_lines
from rrwatch.settings.values import Listen

_READ_TIMEOUT = 5.0  # seconds for one read from a client
_NO_DESCRIPTOR_DELAY = (
    0.2  # seconds; a connection that cannot be accepted stays in the queue, and the loop must not spin
)


class StatusServer:
    """Serves the page for people and those for programs, all from the status that was published last.

    An address that is not available does not stop rrwatch: the server logs it, and tries again until it is.
    """

    def __init__(
        self, listen: Listen, *, retry_interval: float = 5.0, client_timeout: float = 15.0, max_clients: int = 16
    ) -> None:
        """Creates a server; `start()` begins to serve.

        Args:
            listen: the address.
            retry_interval: seconds between two attempts to get the address.
            client_timeout: seconds for one client, so that a slow one does not stay for ever.
            max_clients: connections at a time; further ones are closed at once.
        """
        self._listen, self._retry_interval = listen, retry_interval
        self._client_timeout, self._max_clients = client_timeout, max_clients
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._status: Status | None = None
        self._http: _Http | None = None
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    @property
    def address(self) -> str | None:
        """`host:port` with the actual port; None while nothing is served."""
        with self._lock:
            return str(self._http.listen) if self._http else None

    def start(self) -> None:
        """Serves from now on, in a thread, as soon as the address is available."""
        self._thread.start()

    def publish(self, status: Status) -> None:
        """Replaces the status that is served."""
        with self._lock:
            self._status = status
            if self._http:
                self._http.status = status

    def stop(self) -> None:
        """Stops serving."""
        with self._lock:
            self._stopping.set()
            http = self._http
        if http:
            http.shutdown()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        log = structlog.get_logger("rrwatch")
        reported = ""
        while not self._stopping.is_set():
            try:
                http = _bind(self._listen, self._client_timeout, self._max_clients)
            except OSError as error:
                reason = error.strerror or str(error)
                if reason != reported:
                    reported = reason
                    log.warning("status_unavailable", address=str(self._listen), reason=reason,
                              retry_in_s=self._retry_interval)  # fmt: skip
                self._stopping.wait(self._retry_interval)
                continue
            with http:
                with self._lock:
                    if self._stopping.is_set():
                        return
                    self._http, http.status = http, self._status
                log.info("status_served", address=str(http.listen))
                http.serve_forever()
            return


def _bind(listen: Listen, client_timeout: float, max_clients: int) -> "_Http":
    found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # Of a name with several addresses, such as localhost, the one that people expect.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
    return _Http(family, address, client_timeout, max_clients)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with http.server's own 5, a burst of clients makes a probe wait for seconds
    status: Status | None = None

    def __init__(self, family: socket.AddressFamily, address: Any, client_timeout: float, max_clients: int) -> None:
        self.address_family = family
        self._client_timeout = client_timeout
        self._clients = threading.BoundedSemaphore(max_clients)
        self.page = StatusPage()
        super().__init__(address, _Handler)

    @property
    def listen(self) -> Listen:
        """The address with the actual port."""
        host, port = self.server_address[:2]
        return Listen(str(host), int(port))

    def server_bind(self) -> None:
        # Not HTTPServer's own: it looks the address up in DNS for a name, which can take long and is of no use here.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.listen.host, self.listen.port

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(_NO_DESCRIPTOR_DELAY)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._clients.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # there is no room for another thread
            self._clients.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        end = threading.Timer(self._client_timeout, _hang_up, [request])
        end.daemon = True
        try:
            end.start()
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._clients.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that go away while they are served."""


def _hang_up(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


_Page = Callable[[Status], tuple[bool, str, str]]

_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"


def _metrics(status: Status) -> tuple[bool, str, str]:
    # A daemon that nobody asks for metrics does not need the library.
    from rrwatch.report import metrics  # noqa: PLC0415

    return True, metrics.exposition(status), metrics.CONTENT_TYPE


_PAGES: dict[str, _Page] = {
    "/healthz": lambda status: (not status.stalled(), f"{status.stalled() or 'alive'}\n", _TEXT),
    "/readyz": lambda status: (not status.unready(), f"{status.explained() or 'ready'}\n", _TEXT),
    "/status": lambda status: (True, json.dumps(status.document(), indent=2) + "\n", _JSON),
    "/records": lambda status: (True, json.dumps(status.records_document(), indent=2) + "\n", _JSON),
    "/metrics": _metrics,
}


def _sessions(status: Status, query: str) -> tuple[HTTPStatus, str, str]:
    try:
        asked = Query.parse(query)
    except ValueError as error:
        return HTTPStatus.BAD_REQUEST, f"{error}\n", _TEXT
    document = heading("sessions") | asked.select(status.session_rows()).document()
    # A line for each session: json's own indentation takes ten times as long, and there may be thousands.
    sessions = ",\n".join(map(json.dumps, document.pop("sessions")))
    return HTTPStatus.OK, f'{json.dumps(document)[:-1]}, "sessions": [\n{sessions}\n]}}\n', _JSON


_QUERIES: dict[str, Callable[[Status, str], tuple[HTTPStatus, str, str]]] = {
    "/sessions": _sessions,
}
"""Pages with a query string."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    timeout = _READ_TIMEOUT
    server_version = "rrwatch"
    sys_version = ""

    def do_GET(self) -> None:  # http.server's name
        path, _, query = self.path.partition("?")
        page, queried, status = _PAGES.get(path), _QUERIES.get(path), self.server.status
        if path in PATHS:
            reply = self.server.page.answer(path, query, self.headers["If-None-Match"], status)
            self._send(reply.code, reply.body.encode(), reply.kind, reply.headers())
        elif page is None and queried is None:
            known = ", ".join(("/", *_PAGES, *_QUERIES))
            self._answer(HTTPStatus.NOT_FOUND, f"no such page; there are {known}\n", _TEXT)
        elif status is None:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "starting\n", _TEXT)
        elif queried:
            self._answer(*queried(status, query))
        elif page:
            good, text, kind = page(status)
            self._answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, text, kind)

    do_HEAD = do_GET  # noqa: N815  # http.server's name

    def _answer(self, code: HTTPStatus, text: str, kind: str) -> None:
        # JSON has no control characters; what people read as it is must have none either.
        body = (visible_lines(text) if kind == _TEXT else text).encode(errors="backslashreplace")
        self._send(code, body, kind, {"X-Content-Type-Options": "nosniff"})

    def _send(self, code: HTTPStatus, body: bytes, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        if code is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Logs nothing: health checks are frequent."""

"""The status, over HTTP: read-only, and apart from the loop."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rrwatch.errors import UsageError
from rrwatch.report.status import Status
from rrwatch.settings.values import Listen

_CLIENT_TIMEOUT = 5.0  # seconds for one read from a client
_CLIENT_TOTAL = 15.0  # seconds for all of its conversation: a slow one must not hold its place for ever
_CLIENTS_MAX = 16  # at once; who comes when all places are taken is hung up on
_WITHOUT_DESCRIPTORS = 0.2  # seconds; a connection that cannot be taken stays in the queue, and the loop must not spin


class StatusServer:
    """Serves /healthz, /readyz, /status and /metrics from the last status that was published."""

    def __init__(self, listen: Listen) -> None:
        """Binds the address; `start()` begins to serve.

        Raises:
            UsageError: the address cannot be had.
        """
        try:
            self._http = _Http((listen.host, listen.port), _Handler)
        except OSError as error:
            raise UsageError(f"status_listen is {listen.host}:{listen.port}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._http.serve_forever, name="status", daemon=True)

    @property
    def address(self) -> str:
        """`host:port`, with the port that was picked."""
        host, port = self._http.server_address[:2]
        return f"{host!s}:{port}"

    def start(self) -> None:
        """Serves from now on, in a thread."""
        self._thread.start()

    def publish(self, status: Status) -> None:
        """Takes the status that is told from now on."""
        self._http.status = status

    def stop(self) -> None:
        """Ends the serving."""
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    status: Status | None = None

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._places = threading.BoundedSemaphore(_CLIENTS_MAX)
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(_WITHOUT_DESCRIPTORS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be had
            self._places.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        end = threading.Timer(_CLIENT_TOTAL, _hang_up, [request])
        end.daemon = True
        try:
            end.start()
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no news."""


def _hang_up(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


_Page = Callable[[Status], tuple[bool, str, str]]

_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"


def _metrics(status: Status) -> tuple[bool, str, str]:
    # Whoever is never asked for metrics does without the library.
    from rrwatch.report import metrics  # noqa: PLC0415

    return True, metrics.exposition(status), metrics.CONTENT_TYPE


_PAGES: dict[str, _Page] = {
    "/healthz": lambda status: (not status.stalled(), f"{status.stalled() or 'alive'}\n", _TEXT),
    "/readyz": lambda status: (not status.unready(), f"{status.unready() or 'ready'}\n", _TEXT),
    "/status": lambda status: (True, json.dumps(status.document(), indent=2) + "\n", _JSON),
    "/metrics": _metrics,
}


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    timeout = _CLIENT_TIMEOUT
    server_version = "rrwatch"
    sys_version = ""

    def do_GET(self) -> None:  # http.server's name
        page, status = _PAGES.get(self.path.partition("?")[0]), self.server.status
        if page is None:
            self._answer(HTTPStatus.NOT_FOUND, f"no such page; there are {', '.join(_PAGES)}\n", _TEXT)
        elif status is None:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "starting\n", _TEXT)
        else:
            good, text, kind = page(status)
            self._answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, text, kind)

    do_HEAD = do_GET  # noqa: N815  # http.server's name

    def _answer(self, code: HTTPStatus, text: str, kind: str) -> None:
        body = text.encode(errors="backslashreplace")
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Health checks are no news."""

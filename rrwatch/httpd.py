"""The status, over HTTP: read-only, and apart from the loop."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rrwatch.errors import UsageError
from rrwatch.settings import Listen
from rrwatch.status import Status

_CLIENT_TIMEOUT = 5.0  # seconds for each read from a client


class StatusServer:
    """Serves /healthz, /readyz and /status from the last status that was published."""

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


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    timeout = _CLIENT_TIMEOUT
    server_version = "rrwatch"
    sys_version = ""

    def do_GET(self) -> None:  # http.server's name
        pages: dict[str, Callable[[Status], tuple[bool, str]]] = {
            "/healthz": lambda status: (not status.stalled(), status.stalled() or "alive"),
            "/readyz": lambda status: (not status.unready(), status.unready() or "ready"),
            "/status": lambda status: (True, json.dumps(status.document(), indent=2)),
        }
        page, status = pages.get(self.path), self.server.status
        if page is None:
            self._answer(HTTPStatus.NOT_FOUND, f"no such page; there are {', '.join(pages)}")
        elif status is None:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "starting")
        else:
            good, text = page(status)
            self._answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, text, json_=self.path == "/status")

    do_HEAD = do_GET  # noqa: N815  # http.server's name

    def _answer(self, code: HTTPStatus, text: str, *, json_: bool = False) -> None:
        body = text.encode(errors="backslashreplace") + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json" if json_ else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Health checks are no news."""

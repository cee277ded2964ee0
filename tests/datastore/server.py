"""An HTTP server on loopback that answers as a test says, for what a real etcd cannot be made to send."""

import contextlib
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

HEADERS = b"X-Etcd-Index: 7\r\nX-Etcd-Cluster-Id: c\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived: its target as in the first line, and its headers with small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


Answer = bytes | Iterable[bytes]


def answer(status: str, body: bytes, headers: bytes = HEADERS) -> bytes:
    """A whole answer, after which the server closes the connection."""
    head = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n" % (status.encode(), len(body))
    return head + headers + b"\r\n" + body


class Server:
    """Serves until the context ends; each connection gets one answer.

    Attributes:
        requests: what arrived, in order.
        stopping: set when the context ends, so that a slow answer ends too.
    """

    def __init__(self, reply: Callable[[Request], Answer], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    if (request := self._read()) is None:
                        return
                    outer.requests.append(request)
                    sent = reply(request)
                    for piece in [sent] if isinstance(sent, bytes) else sent:
                        self.wfile.write(piece)

            def _read(self) -> Request | None:
                first = self.rfile.readline().decode("latin-1").split()
                if len(first) != 3:
                    return None
                headers: dict[str, str] = {}
                while line := self.rfile.readline().decode("latin-1").strip():
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                body = self.rfile.read(int(headers.get("content-length", 0)))
                return Request(first[0], first[1], headers, body)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Server":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def slowly(self, sent: bytes, pause: float, size: int = 1) -> Iterable[bytes]:
        """The same bytes in small pieces, with a pause after each, until the context ends."""
        for place in range(0, len(sent), size):
            yield sent[place : place + size]
            if self.stopping.wait(pause):
                return

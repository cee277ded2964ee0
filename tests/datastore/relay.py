"""A TCP relay in front of etcd whose connections a test can cut or silence."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class Relay:
    """Passes connections on to a server. While it is cut, connections end at once.

    Attributes:
        connections: how many were passed on.
        refused: how many were not, because the relay was cut.
    """

    def __init__(self, target: str) -> None:
        url = urlsplit(target)
        self._target = (url.hostname or "", url.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_cut = False
        self._speaking = threading.Event()
        self._speaking.set()
        self.connections = self.refused = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Ends all connections, and new ones while the context lasts."""
        with self._lock:
            self._is_cut = True
        self._end_all()
        yield
        with self._lock:
            self._is_cut = False

    @contextlib.contextmanager
    def mute(self) -> Iterator[None]:
        """Keeps connections open, and passes nothing on while the context lasts."""
        self._speaking.clear()
        yield
        self._speaking.set()

    def close(self) -> None:
        """Ends the relay."""
        self._speaking.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end_all()

    def _end_all(self) -> None:
        with self._lock:
            ending, self._open = self._open, set()
        for end in ending:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._lock:
                    refused = self._is_cut
                if refused:
                    self.refused += 1
                    client.close()
                    continue
                self.connections += 1
                server = socket.create_connection(self._target, 5)
                server.settimeout(None)
                with self._lock:
                    self._open |= {client, server}
                for source, sink in (client, server), (server, client):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._speaking.wait()
                sink.sendall(data)
        for end in source, sink:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()  # the other thread closes the sink

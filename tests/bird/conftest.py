"""A scripted BIRD: a server on a Unix socket that replies as a test says."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

Play = Callable[..., Path]

GREETING = b"0001 BIRD 1.6.8 ready.\n"
IDLE = b"0013 Daemon is up and running\n"
BUSY = b"0013 Reconfiguration in progress\n"


class ScriptedBird:
    """A server on a Unix socket. Each connection gets a greeting, one reply for each command, and then silence."""

    def __init__(
        self,
        path: Path,
        greeting: bytes,
        replies: Sequence[bytes],
        status: Sequence[bytes],
        pause: float,
        end: bool,
        heard: list[str] | None,
        greetings: int,
    ) -> None:
        self._greeting, self._replies, self._status, self._heard = greeting, replies, status, heard
        self._pause, self._end, self._greetings = pause, end, greetings
        self._stop = threading.Event()
        self._connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(2)
        for sock in (self._listener, *self._connections):
            sock.close()

    def _serve(self) -> None:
        for _ in range(self._greetings):
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        replies = iter(self._replies)
        states = itertools.chain(self._status, itertools.repeat(self._status[-1]))
        self._send(connection, self._greeting)
        while command := connection.recv(4096).decode().strip():
            if self._heard is not None:
                self._heard.append(command)
            reply = next(states) if command == "show status" else next(replies, None)
            if reply is not None:
                self._send(connection, reply)
            elif self._end:
                connection.shutdown(socket.SHUT_RDWR)

    def _send(self, connection: socket.socket, reply: bytes) -> None:
        if not self._pause:
            connection.sendall(reply)
            return
        for number in range(len(reply)):
            connection.sendall(reply[number : number + 1])
            if self._stop.wait(self._pause):
                return


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Starts a scripted BIRD and returns the path of its socket; call it with the greeting and the replies.

    `status` has the replies to `show status`, of which the last is repeated. `pause` sends one byte at a time, `end`
    hangs up after the last reply, `heard` collects the commands, and `greetings` is the number of connections that are
    served, one after the other.
    """
    with contextlib.ExitStack() as stack:

        def play(
            greeting: bytes,
            *replies: bytes,
            status: Sequence[bytes] = (IDLE,),
            pause: float = 0.0,
            end: bool = False,
            heard: list[str] | None = None,
            greetings: int = 1,
        ) -> Path:
            path = tmp_path / "ctl"
            bird = ScriptedBird(path, greeting, replies, status, pause, end, heard, greetings)
            stack.callback(bird.stop)
            return path

        yield play

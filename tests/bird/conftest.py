"""A BIRD that says what a test wants."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Play = Callable[..., Path]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Plays BIRD on a socket: says the pieces, one for each command heard, the first as the greeting; -> the socket.

    What it hears goes into the list `heard`. It greets so many callers, and speaks on with each for as long as it has
    something to say.
    """
    with contextlib.ExitStack() as stack:

        def play(
            *pieces: bytes, pause: float = 0.0, end: bool = False, heard: list[str] | None = None, greetings: int = 1
        ) -> Path:
            path = tmp_path / "ctl"
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(path))
            listener.listen()

            def serve() -> None:
                for _ in range(greetings):
                    with contextlib.suppress(OSError):
                        line, _ = listener.accept()
                        stack.callback(line.close)
                        speak(line)

            def speak(line: socket.socket) -> None:
                for number, piece in enumerate(pieces):
                    command = line.recv(4096) if number else b"-"
                    if not command:
                        return
                    if number and heard is not None:
                        heard.append(command.decode().strip())
                    for start in range(0, len(piece), 1 if pause else len(piece) or 1):
                        line.sendall(piece[start : start + (1 if pause else len(piece))])
                        time.sleep(pause)
                if end:
                    line.recv(4096)
                    line.close()

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            stack.callback(thread.join, 2)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return path

        yield play

"""Runs a command of rrwatch on a terminal, as a person does."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TIMEOUT = 30.0  # seconds


class Terminal:
    """A command with a terminal for its input and output."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        """Takes a started process, and the descriptor through which its terminal is seen."""
        self._process, self._screen = process, screen
        self.output = ""

    def wait_for(self, text: str) -> None:
        """Waits until the command has written a text."""
        end = time.monotonic() + _TIMEOUT
        while text not in self.output:
            assert self._read(end - time.monotonic()), f"no {text!r} in {self.output!r}"

    def type(self, keys: str) -> None:
        """Types on the keyboard; the characters 3 and 4 are Ctrl-C and Ctrl-D."""
        os.write(self._screen, keys.encode())

    def end(self) -> int:
        """Waits for the end of the command; returns its exit status."""
        end = time.monotonic() + _TIMEOUT
        while self._read(end - time.monotonic()):
            pass
        return self._process.wait(_TIMEOUT)

    def _read(self, timeout: float) -> bool:
        """Reads what the command has written; returns False if that is nothing in time, or it has ended."""
        ready, _, _ = select.select([self._screen], [], [], max(0.0, timeout))
        try:
            written = os.read(self._screen, 65536) if ready else b""
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.output += written.decode(errors="replace").replace("\r\n", "\n")
        return bool(written)


@contextmanager
def on_terminal(*arguments: str, environment: dict[str, str]) -> Iterator[Terminal]:
    """Starts a command of rrwatch on a terminal of its own, and kills it in the end if it still runs."""
    screen, terminal = pty.openpty()
    # As a login does: the terminal becomes the controlling one. Ctrl-C must reach the command even if the tests run in
    # the background of a shell, which makes them ignore it.
    steps = (
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)",
        "signal.signal(signal.SIGINT, signal.SIG_DFL)",
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
    )
    start = "; ".join(("import fcntl, os, signal, sys, termios", *steps))
    command = [sys.executable, "-c", start, "-m", "rrwatch", *arguments]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    )
    os.close(terminal)
    try:
        yield Terminal(process, screen)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(_TIMEOUT)
        os.close(screen)

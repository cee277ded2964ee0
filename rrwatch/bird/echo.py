"""BIRD's log on its control socket: why sessions end, as it happens."""

import contextlib
import time
from pathlib import Path

from rrwatch.bird.control import connect
from rrwatch.bird.messages import quoted
from rrwatch.bird.protocols import Cause, causes
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdBroken

_RESTRICTED, _OK = 16, 0
_BUFFER = 65536  # bytes that BIRD keeps for a reader that is late; the most that it accepts. It drops what is beyond
_LINE_MAX = 4096  # bytes of a line; a longer one is not one of those that matter
_RATE = 1 << 20  # bytes that are read within one second, so that a flood of lines costs little


class Echo:
    """A connection on which BIRD sends each line of its log, and on which nothing can be changed."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        """Asks BIRD for its log.

        Args:
            path: BIRD's control socket.
            deadline: the limit for BIRD to begin.

        Raises:
            BirdError: BIRD does not run, does not answer, or does not send its log.
            Stopping: rrwatch was asked to stop.
        """
        with connect(path, deadline) as bird:
            for command, expected in (("restrict", _RESTRICTED), (f"echo all {_BUFFER}", _OK)):
                reply = bird.ask(command)
                if reply.code != expected:
                    raise BirdBroken(f"BIRD's answer to {command!r} on {path}: {reply.code:04} {quoted(reply.text)}")
            self._sock, self._rest = bird.detach()
        self._sock.setblocking(False)
        self._second, self._read = 0, 0

    def fileno(self) -> int:
        """Returns the descriptor, for `select`."""
        return self._sock.fileno()

    def allowance(self) -> int:
        """Returns how many bytes may be read at this moment."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._read = second, 0
        return max(0, _RATE - self._read)

    def causes(self) -> list[Cause] | None:
        """Reads what BIRD has sent, and returns what it tells about the ends of sessions; None if BIRD hung up."""
        received, more = bytearray(self._rest), None
        try:
            while room := self.allowance():
                more = self._sock.recv(min(1 << 16, room))
                if not more:
                    break
                self._read += len(more)
                received += more
        except BlockingIOError:
            more = None
        except OSError:
            more = b""
        whole, _, rest = received.rpartition(b"\n")
        self._rest = bytes(rest[:_LINE_MAX])
        found = causes(whole.decode(errors="backslashreplace"))
        return None if more == b"" and not found else found

    def close(self) -> None:
        """Ends the connection."""
        with contextlib.suppress(OSError):
            self._sock.close()

"""Shows what a command of rrwatch leaves on a terminal of a given size."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from dataclasses import dataclass

_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command left on a terminal.

    Attributes:
        returncode: its exit status.
        output: everything that it wrote, with the terminal's escape sequences.
    """

    returncode: int
    output: str

    @property
    def lines(self) -> list[str]:
        """The lines as they are written, without the last line's end."""
        return self.output.removesuffix("\n").split("\n")


def on_screen(
    *arguments: str, environment: Mapping[str, str], columns: int = 80, lines: int = 24, color: bool = False
) -> Shown:
    """Runs one command of rrwatch to its end on a terminal of that size."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    variables = {"TERM": "xterm", **environment} | ({} if color else {"NO_COLOR": "1"})
    with subprocess.Popen(
        [sys.executable, "-m", "rrwatch", *arguments],
        stdin=follower, stdout=follower, stderr=follower, env=variables, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(follower)
        output = bytearray()
        end = threading.Timer(_TIMEOUT, process.kill)
        end.start()
        try:
            while chunk := os.read(leader, 1 << 16):
                output += chunk
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(leader)
            end.cancel()
        returncode = process.wait(timeout=_TIMEOUT)
    return Shown(returncode, output.decode().replace("\r\n", "\n"))

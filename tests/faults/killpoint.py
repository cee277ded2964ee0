"""Runs `rrwatch once`, and kills it before the n-th thing that it does to the disk or says to BIRD.

    python -m tests.faults.killpoint N [command...]

Ends with SIGKILL, or as the command ends where that does less than N such things.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rrwatch.cli.main import main

_left = 0


EFFECTS = ("link", "mkdir", "open", "rename", "replace", "unlink")
"""What leaves other names, or another content, on the disk behind."""


def arm(number: int, names: Iterable[str] = (*EFFECTS, "fchmod", "fchown", "fsync")) -> None:
    """From now on, kills this process before the n-th such thing.

    Args:
        names: functions of `os` that count.
    """
    global _left  # noqa: PLW0603  # one count for all of the process
    _left = number
    for name in names:
        setattr(os, name, _counted(getattr(os, name)))
    socket.socket = _Line  # type: ignore[misc]


def _counted(act: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any, **keywords: Any) -> Any:
        global _left  # noqa: PLW0603  # one count for all of the process
        _left -= 1
        if not _left:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*arguments, **keywords)

    return counted


class _Line(socket.socket):
    def sendall(self, *arguments: Any) -> None:
        if self.family == socket.AF_UNIX:
            _counted(lambda: None)()
        super().sendall(*arguments)


if __name__ == "__main__":
    arm(int(sys.argv[1]))
    main(sys.argv[2:])

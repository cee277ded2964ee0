"""The entry point of the command `rrwatch`, and of `python -m rrwatch`."""

import os
import signal
import sys


def main() -> None:
    """Prepares the process, and runs the command line."""
    # Without a handler SIGHUP ends the process, and the imports below take most of the time until the daemon has its
    # own. Nothing is lost: the daemon is about to read everything anyway.
    if sys.argv[1:2] == ["run"]:
        signal.signal(signal.SIGHUP, lambda *_: None)
    _open_closed_streams()
    from rrwatch.cli.main import main as run_command_line  # noqa: PLC0415

    run_command_line()


def _open_closed_streams() -> None:
    """Opens the null device on each standard descriptor that is closed, so that no other file gets its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))


if __name__ == "__main__":
    main()

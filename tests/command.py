"""Runs commands of rrwatch as programs."""

import subprocess
import sys
from collections.abc import Callable, Sequence

Run = Callable[..., subprocess.CompletedProcess[str]]


def run_command(
    *arguments: str, environment: dict[str, str], stdin: str = "", through: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end.

    Args:
        arguments: the command and its options.
        environment: its whole environment.
        stdin: its standard input.
        through: a command that runs it.
    """
    return subprocess.run(
        [*through, sys.executable, "-m", "rrwatch", *arguments],
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

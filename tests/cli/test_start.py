"""The first moments of the process."""

import signal
import subprocess
import sys

import pytest

# Sends a signal to itself when the first module of the command line is imported.
_INTERRUPTED = """
import os, runpy, signal, sys

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started with, such as nohup

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(sys.argv.pop()))

sys.meta_path.insert(0, Finder())
runpy.run_module("rrwatch", run_name="__main__", alter_sys=True)
"""


def interrupted(command: str, number: signal.Signals) -> int:
    words = [sys.executable, "-c", _INTERRUPTED, command, "--help", str(int(number))]
    return subprocess.run(words, capture_output=True, timeout=30, check=False).returncode


def test_sighup_before_the_daemon_has_its_handlers_does_not_end_it() -> None:
    assert interrupted("run", signal.SIGHUP) == 0


@pytest.mark.parametrize(
    ("command", "number"), [("status", signal.SIGHUP), ("run", signal.SIGTERM), ("run", signal.SIGKILL)]
)
def test_other_signals_and_commands_end_as_usual(command: str, number: signal.Signals) -> None:
    assert interrupted(command, number) == -number

"""The hook that runs a program for each event. It is bounded in time, and so is what its output can cost."""

import contextlib
import os
import selectors
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from rrwatch.deadline import Deadline
from rrwatch.errors import HookFailed, Stopping
from rrwatch.report.text import visible

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a program is found that is given by its name, and the `PATH` that it gets."""

TERM_TIMEOUT = 2.0
"""Seconds between SIGTERM and SIGKILL for a program that takes too long."""

OUTPUT_MAX = 4096
"""Bytes of the program's output that are kept, the last ones."""

_KILL_TIMEOUT = 1.0  # seconds until a killed program is given up; one that waits for a broken disk does not end
_LINE_MAX = 200  # characters of the output that are quoted
_PIECE = 64 * 1024  # bytes that are read at once
_PAUSE = 0.02  # seconds between two looks whether the program has ended
_FREE = 1024 * 1024  # bytes of output that are read as fast as they come; then a piece every `_PAUSE`


def find(program: str) -> str:
    """Returns the path of a program.

    Raises:
        HookFailed: there is none that this process may execute.
    """
    path = shutil.which(program, path=PATH)
    if path:
        return path
    if "/" not in program:
        raise HookFailed(f"there is no program {program} in {PATH}")
    try:
        mode = Path(program).stat().st_mode
    except OSError as error:
        raise HookFailed(f"{program}: {error.strerror}") from error
    raise HookFailed(f"{program}: {'this user may not execute it' if stat.S_ISREG(mode) else 'not a file'}")


class CommandSink:
    """Runs a program, which reads the event as one line of JSON from its standard input."""

    name = "command"

    def __init__(self, command: Sequence[str], timeout: float) -> None:
        """Keeps what to run.

        Args:
            command: the program and its arguments.
            timeout: seconds until the program is told to end.
        """
        self._command, self._timeout = command, timeout
        self._stop = threading.Event()

    def deliver(self, event: str, document: str) -> None:
        """Runs the program to its end; see `Sink`. Nothing that it started in its process group survives it."""
        program, *arguments = self._command
        path = find(program)
        environment = {"PATH": PATH, "LANG": "C.UTF-8", "RRWATCH_EVENT": event}
        try:
            run = _Run([path, *arguments], environment, document.encode() + b"\n")
        except FileNotFoundError as error:
            raise HookFailed(f"{program} cannot be started: its interpreter does not exist") from error
        except OSError as error:
            raise HookFailed(f"{program} cannot be started: {error.strerror}") from error
        try:
            status = self._end_of(run)
        finally:
            run.close()
        if status != 0:
            raise HookFailed(f"it {_ended(status)}{run.last_line()}")

    def cancel(self) -> None:
        """Kills a running program; see `Sink`."""
        self._stop.set()

    def _end_of(self, run: "_Run") -> int:
        """Waits for the end of the program, and returns its status as `subprocess` has it."""
        try:
            if run.wait(Deadline(self._timeout, self._stop)):
                return run.reap()
            run.signal(signal.SIGTERM)
            run.wait(Deadline(TERM_TIMEOUT, self._stop))
        except Stopping as error:
            raise HookFailed("rrwatch is stopping") from error
        raise HookFailed(f"it took longer than {self._timeout:g} s{run.last_line()}")


class _Run:
    """A running program in a session of its own, and what it writes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], text: bytes) -> None:
        self._text = memoryview(text)
        self._output, self._size = b"", 0
        self._popen = subprocess.Popen(  # noqa: S603  # the operator's own command, without a shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
            start_new_session=True,
            bufsize=0,
        )
        self._selector = selectors.DefaultSelector()
        self._watch(self._popen.stdin, selectors.EVENT_WRITE)
        self._watch(self._popen.stdout, selectors.EVENT_READ)

    def wait(self, deadline: Deadline) -> bool:
        """Waits until the program has ended, and returns whether it has.

        Raises:
            Stopping: rrwatch is stopping.
        """
        while not self._has_ended():
            left = deadline.slice()
            if not left:
                return False
            self._exchange(min(left, _PAUSE))
            if self._size > _FREE:
                deadline.sleep(_PAUSE)
        self._exchange(0)  # its last words
        return True

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to all processes of the program, which must not have been reaped."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def reap(self) -> int:
        """Kills what is left of the program, and returns its exit status.

        Raises:
            HookFailed: it cannot be killed.
        """
        self.signal(signal.SIGKILL)
        try:
            return self._popen.wait(_KILL_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise HookFailed("it cannot be killed") from error

    def close(self) -> None:
        """Kills what is left of the program, and closes the pipes to it."""
        if self._popen.returncode is None:
            with contextlib.suppress(HookFailed):
                self.reap()
        self._selector.close()
        for pipe in self._popen.stdin, self._popen.stdout:
            if pipe:
                pipe.close()

    def last_line(self) -> str:
        """Returns the last line of the output for a message, shortened, after a colon; empty if there is none."""
        lines = [line for line in self._output.decode(errors="replace").splitlines() if line.strip()]
        return f": {visible(lines[-1].strip())[:_LINE_MAX]}" if lines else ""

    def _watch(self, pipe: IO[bytes] | None, event: int) -> None:
        if pipe:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, event)

    def _has_ended(self) -> bool:
        # WNOWAIT leaves the process to `reap`, so that its process group cannot become another's before it is killed.
        return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _exchange(self, timeout: float) -> None:
        """Writes and reads what is possible within the time."""
        for key, event in self._selector.select(timeout):
            done = self._write(key.fd) if event == selectors.EVENT_WRITE else self._read(key.fd)
            if done:
                self._selector.unregister(key.fileobj)
                if event == selectors.EVENT_WRITE and self._popen.stdin:
                    self._popen.stdin.close()

    def _write(self, descriptor: int) -> bool:
        """Writes to the program, and returns whether it has everything, or wants no more."""
        try:
            self._text = self._text[os.write(descriptor, self._text) :]
        except BlockingIOError:
            return False
        except OSError:  # it does not read
            return True
        return not self._text

    def _read(self, descriptor: int) -> bool:
        """Reads from the program, and returns whether it will write no more."""
        try:
            piece = os.read(descriptor, _PIECE)
        except BlockingIOError:
            return False
        self._size += len(piece)
        self._output = (self._output + piece)[-OUTPUT_MAX:]
        return not piece


def _ended(status: int) -> str:
    if status > 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-status}"

"""Runs programs that end with the process that started them, and waits with a limit."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

_T = TypeVar("_T")

PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def program(name: str) -> str:
    """Returns the path of a program."""
    path = shutil.which(name, path=PATH)
    if not path:
        raise FileNotFoundError(f"{name} is not installed: `make setup` installs all that tests and demo need")
    return path


def wait_until(condition: Callable[[], _T], what: str, seconds: float = 15.0) -> _T:
    """Calls the condition until it returns something true, and returns that.

    Raises:
        TimeoutError: it was not true within the time.
    """
    end = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """Returns a TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def inside(namespace: str | None) -> list[str]:
    """Returns what to put before a command to run it in a network namespace."""
    return [program("ip"), "netns", "exec", namespace] if namespace else []


def captured(
    command: Sequence[str],
    timeout: float,
    *,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; its output includes its standard error."""
    return subprocess.run(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        cwd=cwd,
        timeout=timeout,
        check=False,
    )


class Process:
    """A running program, which the kernel kills when this process dies."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        namespace: str | None = None,
        environment: Mapping[str, str] | None = None,
        stderr: IO[bytes] | int | None = None,
    ) -> None:
        """Starts it.

        Args:
            command: the program and its arguments.
            log: a file for its output.
            namespace: the network namespace to run in.
            environment: its environment; that of this process if not given.
            stderr: where its standard error goes, if not into the log.
        """
        bound = [program("setpriv"), "--pdeathsig", "KILL", "--"]
        with log.open("ab") as file:
            self._popen = subprocess.Popen(
                [*bound, *inside(namespace), program(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file if stderr is None else stderr,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the demonstration, which then stops its programs in order
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def stderr(self) -> IO[bytes]:
        """Its standard error, if it was started with a pipe."""
        assert self._popen.stderr
        return self._popen.stderr

    def is_running(self) -> bool:
        """Returns whether it is still running."""
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._popen.send_signal(number)

    def wait(self, seconds: float = 10.0) -> int:
        """Waits for its end, and returns its exit status."""
        return self._popen.wait(seconds)

    def stop(self, seconds: float = 10.0) -> int:
        """Sends SIGTERM, waits for its end, and returns its exit status."""
        self._popen.send_signal(signal.SIGCONT)
        self._popen.terminate()
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kills it, and returns its exit status."""
        self._popen.kill()
        return self.wait()

    def _is_stopped(self) -> bool:
        states = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that ended
                states.append((task / "stat").read_text().rsplit(")", 1)[1].split()[0])
        return set(states) == {"T"}

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops it with SIGSTOP while the context lasts."""
        self.signal(signal.SIGSTOP)
        wait_until(self._is_stopped, "it stands still")  # a thread may go on for a moment
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

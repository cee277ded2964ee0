"""Programs that end with whoever started them, and waits that end too."""

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
    """The path of a program that must be there."""
    path = shutil.which(name, path=PATH)
    if not path:
        raise FileNotFoundError(f"{name} is not installed: `make setup` installs all that tests and demo need")
    return path


def wait_until(condition: Callable[[], _T], what: str, seconds: float = 15.0) -> _T:
    """Calls the condition until it is true; -> what it returned.

    Raises:
        TimeoutError: it was not true in all that time.
    """
    end = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port: int = line.getsockname()[1]
        return port


def inside(namespace: str | None) -> list[str]:
    """The words before a command that make it run in a network namespace."""
    return [program("ip"), "netns", "exec", namespace] if namespace else []


class Process:
    """One running program; the kernel kills it when this process dies."""

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
            log: file for what it prints.
            namespace: network namespace to run in.
            stderr: another place for its standard error.
        """
        bound = [program("setpriv"), "--pdeathsig", "KILL", "--"]
        with log.open("ab") as file:
            self._popen = subprocess.Popen(
                [*bound, *inside(namespace), program(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file if stderr is None else stderr,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the demonstration, which then ends its programs in order
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def stderr(self) -> IO[bytes]:
        """Its standard error, where it was started with a pipe."""
        assert self._popen.stderr
        return self._popen.stderr

    def is_running(self) -> bool:
        """Has it not ended yet?"""
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._popen.send_signal(number)

    def wait(self, seconds: float = 10.0) -> int:
        """Waits for its end; -> its exit status."""
        return self._popen.wait(seconds)

    def stop(self, seconds: float = 10.0) -> int:
        """Asks it to end, and waits; -> its exit status."""
        self._popen.send_signal(signal.SIGCONT)
        self._popen.terminate()
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Ends it at once."""
        self._popen.kill()
        return self.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Holds it still for a while."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

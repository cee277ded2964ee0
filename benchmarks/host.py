"""A route reflector's host for measurements: etcd, BIRD, and a watcher, which is rrwatch or another program."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.writer import REFLECTOR, Source, Writer
from lab.bird import MINIMAL, Bird, Release
from lab.environment import beside, reflector
from lab.etcd import Etcd
from lab.network import namespace
from lab.process import Process

_TICK = os.sysconf("SC_CLK_TCK")


class Control:
    """A connection to BIRD's control socket that is kept open, so that a command costs almost nothing."""

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(60)
        self._connection.connect(str(path))
        self._file = self._connection.makefile("rb")
        self._answer()

    def ask(self, command: str) -> bytes:
        """Sends a command, and returns the whole answer."""
        self._connection.sendall(command.encode() + b"\n")
        return self._answer()

    def has(self, session: str) -> bool:
        """Returns whether BIRD has that session."""
        return b" BGP " in self.ask(f'show protocols "{session}"')

    def wait_for(self, session: str, seconds: float = 60) -> None:
        """Waits until BIRD has that session."""
        end = time.monotonic() + seconds
        while not self.has(session):
            if time.monotonic() > end:
                raise TimeoutError(f"BIRD has no {session} after {seconds} s")
            time.sleep(0.0005)  # BIRD has one thread, which must not be kept busy by this

    def sessions(self) -> int:
        """Returns the number of sessions."""
        return self.ask("show protocols").count(b" BGP ")

    def close(self) -> None:
        """Closes the connection."""
        self._file.close()
        self._connection.close()

    def _answer(self) -> bytes:
        whole = b""
        while True:
            line = self._file.readline()
            whole += line
            if not line or (line[:4].isdigit() and line[4:5] == b" "):
                return whole


class Host:
    """A host with etcd and BIRD, on which a watcher can run."""

    def __init__(self, folder: Path, etcd: Etcd, bird: Bird, source: Source) -> None:
        self.folder, self.etcd, self.bird, self.source = folder, etcd, bird, source
        self.writer = Writer(etcd.url, source)
        self._watchers = 0

    @contextlib.contextmanager
    def watcher(self, command: str | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Process]:
        """Runs a watcher while the context lasts.

        Args:
            command: a shell command that runs another watcher than rrwatch, with the same environment.
            settings: more environment variables.
        """
        self._watchers += 1
        variables = {
            "PATH": f"{self.bird.release.path}:{os.environ['PATH']}",
            "RRWATCH_STATUS_LISTEN": "127.0.0.1:0",
            "RRWATCH_LOG_FORMAT": "json",
            **reflector(REFLECTOR),
            **self.source.settings,
            **(settings or {}),
        }
        environment = beside(self.bird, self.etcd.url, self.folder / f"state{self._watchers}", **variables)
        words = ["sh", "-c", f"exec {command}"] if command else [sys.executable, "-m", "rrwatch", "run"]
        process = Process(words, self.folder / f"watcher{self._watchers}.log", environment=environment)
        try:
            yield process
        finally:
            process.stop()

    def log(self) -> str:
        """Returns what the last watcher printed."""
        return (self.folder / f"watcher{self._watchers}.log").read_text(errors="replace")


@contextlib.contextmanager
def host(folder: Path, release: Release, source: Source) -> Iterator[Host]:
    """Provides a host while the context lasts."""
    with contextlib.ExitStack() as stack:
        space = stack.enter_context(namespace())
        etcd = source.etcd(folder / "etcd").start()
        stack.callback(etcd.stop)
        bird = Bird(folder / "bird", space, release=release)
        bird.config.write_text(MINIMAL)
        bird.start()
        stack.callback(bird.stop)
        yield Host(folder, etcd, bird, source)


def session_of(address: str) -> str:
    """Returns the name of the reflector's session with that address."""
    return f"Global_{address.replace('.', '_')}"


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time of a process so far, with the children that it waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / _TICK


def scheduled_seconds(pid: int) -> float:
    """Returns the CPU time of a process's current threads in nanosecond resolution, for less than a tick."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def memory_mib(pid: int, name: str = "VmHWM") -> float:
    """Returns the peak memory of a process, or with VmRSS its current memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024

"""A reflector's host to measure on: etcd, BIRD, and a watcher between them, which is rrwatch or any other."""

import contextlib
import http.client
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from lab.bird import MINIMAL, Bird, Release
from lab.etcd import Etcd
from lab.network import namespace
from lab.process import Process

PREFIX = "/calico/bgp/v1"
REFLECTOR = "172.17.42.40"
_TICK = os.sysconf("SC_CLK_TCK")


class Writer:
    """One client that writes, over one connection."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._line = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)

    def put(self, key: str, value: str) -> None:
        """Writes one key."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._line.request("PUT", f"/v2/keys{key}", urlencode({"value": value}), headers)
        self._line.getresponse().read()

    def put_node(self, number: int, address: str | None = None) -> None:
        """Writes what a node writes of itself."""
        self.put(f"{PREFIX}/host/node{number:05d}/ip_addr_v4", address or address_of(number))
        self.put(f"{PREFIX}/host/node{number:05d}/ip_addr_v6", "")

    def put_cluster(self, mesh: str = "false") -> None:
        """Writes what is there once: the AS, the mesh, the reflector as everybody's peer."""
        self.put(f"{PREFIX}/global/as_num", "65100")
        self.put(f"{PREFIX}/global/node_mesh", f'{{"enabled": {mesh}}}')
        self.put(f"{PREFIX}/global/peer_v4/{REFLECTOR}", f'{{"ip": "{REFLECTOR}", "as_num": "65100"}}')


class Line:
    """A conversation with BIRD, kept open so that asking costs next to nothing."""

    def __init__(self, path: Path) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(60)
        self._line.connect(str(path))
        self._file = self._line.makefile("rb")
        self._answer()

    def ask(self, command: str) -> bytes:
        """Sends a command; -> the whole answer."""
        self._line.sendall(command.encode() + b"\n")
        return self._answer()

    def has(self, session: str) -> bool:
        """Does BIRD have that session?"""
        return b" BGP " in self.ask(f'show protocols "{session}"')

    def wait_for(self, session: str, seconds: float = 60) -> None:
        """Asks until it has."""
        end = time.monotonic() + seconds
        while not self.has(session):
            if time.monotonic() > end:
                raise TimeoutError(f"BIRD has no {session} after {seconds} s")
            time.sleep(0.0005)  # BIRD has one thread, and it has other things to do

    def sessions(self) -> int:
        """How many it has."""
        return self.ask("show protocols").count(b" BGP ")

    def close(self) -> None:
        """Ends it."""
        self._file.close()
        self._line.close()

    def _answer(self) -> bytes:
        whole = b""
        while True:
            line = self._file.readline()
            whole += line
            if not line or (line[:4].isdigit() and line[4:5] == b" "):
                return whole


class Host:
    """etcd and BIRD, and room for a watcher."""

    def __init__(self, folder: Path, etcd: Etcd, bird: Bird) -> None:
        self.folder, self.etcd, self.bird = folder, etcd, bird
        self.writer = Writer(etcd.url)
        self._watchers = 0

    @contextlib.contextmanager
    def watcher(self, command: str | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Process]:
        """A watcher, while the context lasts.

        Args:
            command: another one than rrwatch, for a shell; it learns by environment variables where everything is.
            settings: more of these variables.
        """
        self._watchers += 1
        environment = {
            "PATH": f"{self.bird.release.path}:{os.environ['PATH']}",
            "IP": REFLECTOR,
            "ETCD_ENDPOINTS": self.etcd.url,
            "RRWATCH_CONFIG": str(self.bird.config),
            "RRWATCH_BIRD_SOCKET": str(self.bird.socket),
            "RRWATCH_STATE_DIR": str(self.folder / f"state{self._watchers}"),
            "RRWATCH_STATUS_LISTEN": "127.0.0.1:0",
            "RRWATCH_LOG_FORMAT": "json",
            **(settings or {}),
        }
        words = ["sh", "-c", f"exec {command}"] if command else [sys.executable, "-m", "rrwatch", "run"]
        process = Process(words, self.folder / f"watcher{self._watchers}.log", environment=environment)
        try:
            yield process
        finally:
            process.stop()

    def log(self) -> str:
        """What the last watcher said."""
        return (self.folder / f"watcher{self._watchers}.log").read_text(errors="replace")


@contextlib.contextmanager
def host(folder: Path, release: Release) -> Iterator[Host]:
    """A host, while the context lasts."""
    with contextlib.ExitStack() as stack:
        space = stack.enter_context(namespace())
        etcd = Etcd(folder / "etcd").start()
        stack.callback(etcd.stop)
        bird = Bird(folder / "bird", space, release=release)
        bird.config.write_text(MINIMAL)
        bird.start()
        stack.callback(bird.stop)
        yield Host(folder, etcd, bird)


def address_of(number: int) -> str:
    """The address of one node of up to four million."""
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def session_of(address: str) -> str:
    """The session of the reflector with it."""
    return f"Global_{address.replace('.', '_')}"


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has taken so far, and all that it started and waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / _TICK


def scheduled_seconds(pid: int) -> float:
    """The CPU time of the threads that a process has now, to the nanosecond: for what is less than a tick."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def memory_mib(pid: int, name: str = "VmHWM") -> float:
    """The most memory that it has had, or with VmRSS what it has now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024

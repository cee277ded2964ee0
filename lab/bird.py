"""A real BIRD 1.6 in a network namespace of its own."""

import contextlib
import itertools
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.process import Process, program, wait_until

_numbers = itertools.count(1)

MINIMAL = "router id 192.0.2.1;\nprotocol device { scan time 2; }\n"
"""A configuration of somebody else's: BIRD runs, and peers with nobody."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A row of `show protocols`."""

    name: str
    proto: str
    state: str
    since: str
    info: str


class Namespace:
    """A network namespace, with nothing but its loopback interface up."""

    def __init__(self) -> None:
        self.name = f"rrw-{os.getpid()}-{next(_numbers)}"
        _ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> str:
        """Runs `ip` in it; -> what it printed."""
        return _ip("-n", self.name, *arguments)

    def remove(self) -> None:
        """Takes it away, and every interface in it."""
        _ip("netns", "delete", self.name)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace that is taken away at the end."""
    made = Namespace()
    try:
        yield made
    finally:
        made.remove()


def join(one: Namespace, one_address: str, other: Namespace, other_address: str) -> None:
    """Puts a cable between two namespaces.

    Args:
        one_address, other_address: with the length of the prefix.
    """
    near, far = f"v{next(_numbers)}", f"v{next(_numbers)}"
    _ip("-n", one.name, "link", "add", near, "type", "veth", "peer", "name", far, "netns", other.name)
    for space, interface, address in (one, near, one_address), (other, far, other_address):
        space.ip("address", "add", address, "dev", interface)
        space.ip("link", "set", interface, "up")


class Bird:
    """One BIRD daemon; it can be stopped and started again."""

    def __init__(self, folder: Path, space: Namespace, kind: str = "bird") -> None:
        """Names its files; `start()` sets it going.

        Args:
            folder: for its configuration and its control socket.
            kind: `bird`, or `bird6`.
        """
        self.folder, self._space, self._kind = folder, space, kind
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / f"{kind}.cfg"
        self.socket = folder / f"{kind}.ctl"
        # Apart from the folder that rrwatch watches: BIRD talks a lot.
        self._log = folder.parent / f"{folder.name}-{kind}.log"
        self._process: Process | None = None

    def start(self) -> "Bird":
        """Starts it, and waits until it takes commands."""
        command = [self._kind, "-d", "-c", str(self.config), "-s", str(self.socket), "-P", str(self.folder / "pid")]
        self._process = Process(command, self._log, self._space.name)
        wait_until(self._answers, f"{self._kind} on {self.socket}")
        return self

    @property
    def process(self) -> Process:
        """The running program."""
        assert self._process
        return self._process

    def stop(self) -> None:
        """Ends it, sessions and all."""
        if self._process:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """Ends it without warning; its socket's name stays behind."""
        if self._process:
            self._process.kill()
            self._process = None

    def command(self, text: str) -> str:
        """Asks it something, as birdc does; -> the reply without its codes."""
        client = program("birdc6" if self._kind == "bird6" else "birdc")
        command = [client, "-s", str(self.socket), text]
        reply = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=15, check=True)
        return reply.stdout.decode(errors="replace").split("ready.\n", 1)[-1]

    def protocols(self) -> dict[str, Protocol]:
        """All protocols that it runs, by name."""
        rows = [line.split(maxsplit=5) for line in self.command("show protocols").splitlines()[1:] if line.strip()]
        return {row[0]: Protocol(row[0], row[1], row[3], row[4], row[5] if len(row) > 5 else "") for row in rows}

    def sessions(self) -> set[str]:
        """The names of its BGP protocols."""
        return {name for name, protocol in self.protocols().items() if protocol.proto == "BGP"}

    def is_established(self, name: str) -> bool:
        """Is that BGP session up?"""
        protocol = self.protocols().get(name)
        return protocol is not None and protocol.info.startswith("Established")

    def generation(self) -> int | None:
        """The value of rrwatch's marker in what it runs."""
        found = re.fullmatch(r"(\d+)\n?", self.command("eval rrwatch_generation"))
        return int(found[1]) if found else None

    def reconfigurations(self) -> int:
        """How often it was told to read its configuration since it started, and did."""
        return self._log.read_text(errors="replace").count("Reconfiguring")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(1)
            try:
                line.connect(str(self.socket))
                return line.recv(4) == b"0001"
            except OSError:
                if self._process and not self._process.is_running():
                    log = self._log.read_text(errors="replace")
                    raise RuntimeError(f"{self._kind} did not start: {log}") from None
                return False


def _ip(*arguments: str) -> str:
    done = subprocess.run([program("ip"), *arguments], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout

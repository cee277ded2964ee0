"""A real BIRD, of any release, in a network namespace."""

import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.network import Namespace
from lab.process import Process, program, wait_until

MINIMAL = "router id 192.0.2.1;\nprotocol device { scan time 2; }\n"
"""A configuration that is not rrwatch's, without sessions."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A row of `show protocols`."""

    name: str
    proto: str
    state: str
    info: str


@dataclass(frozen=True, slots=True)
class Release:
    """The programs of one BIRD.

    Attributes:
        name: its name in tests: `1.6`, `2` or `3`.
        folder: the directory of its programs.
    """

    name: str
    folder: Path

    def __str__(self) -> str:
        return f"BIRD {self.name}"

    def program(self, name: str) -> str:
        """Returns the path of one of its programs.

        Raises:
            FileNotFoundError: there is no such program.
        """
        return program(str(self.folder / name))

    def refuses(self, config: Path) -> str:
        """Returns why `bird -p` rejects a configuration, empty if it does not; bird6 of 1.6 reads `bird6.cfg`."""
        kind = "bird6" if self.one_for_each_family and config.stem == "bird6" else "bird"
        command = [self.program(kind), "-p", "-c", str(config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stderr

    @property
    def one_for_each_family(self) -> bool:
        """Whether IPv4 and IPv6 need a daemon each."""
        return (self.folder / "bird6").exists()

    @property
    def path(self) -> str:
        """A value of PATH with which this BIRD is the one that is found."""
        return f"{self.folder}:/usr/bin:/bin"


BIRD1 = Release("1.6", Path("/usr/sbin"))
"""Debian's `bird`."""

BIRD2 = Release("2", Path(__file__).parent.parent / ".tools" / "bird2" / "usr" / "sbin")
"""Debian's `bird2`, which conflicts with `bird`: `scripts/setup` unpacks it there."""

_bird3 = os.environ.get("RRWATCH_TEST_BIRD3")

RELEASES = (BIRD1, BIRD2, *([Release("3", Path(_bird3).parent)] if _bird3 else []))
"""All releases to test with; BIRD 3 is included if RRWATCH_TEST_BIRD3 is the path of its program."""


class Bird:
    """One BIRD daemon; it can be stopped and started again."""

    def __init__(self, folder: Path, space: Namespace, kind: str = "bird", release: Release = BIRD1) -> None:
        """Creates a BIRD without starting it.

        Args:
            folder: the directory of its configuration and its control socket.
            kind: `bird` or `bird6`.
            release: the release that the next start uses.
        """
        self.folder, self._space, self._kind, self.release = folder, space, kind, release
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / f"{kind}.cfg"
        self.socket = folder / f"{kind}.ctl"
        # Outside of the directory that rrwatch watches, because BIRD logs a lot.
        self._log = folder.parent / f"{folder.name}-{kind}.log"
        self._process: Process | None = None

    def start(self) -> "Bird":
        """Starts it, and waits until it answers on its control socket."""
        command = [
            self.release.program(self._kind),
            "-d",
            "-c",
            str(self.config),
            "-s",
            str(self.socket),
            "-P",
            str(self.folder / "pid"),
        ]
        self._process = Process(command, self._log, self._space.name)
        wait_until(self._answers, f"{self._kind} on {self.socket}")
        return self

    @property
    def process(self) -> Process:
        """The running process."""
        assert self._process
        return self._process

    def stop(self) -> None:
        """Stops it."""
        if self._process:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """Kills it; the socket's file remains."""
        if self._process:
            self._process.kill()
            self._process = None

    def command(self, text: str) -> str:
        """Sends it a command with birdc, and returns the reply without its codes."""
        client = self.release.program("birdc6" if self._kind == "bird6" else "birdc")
        command = [client, "-s", str(self.socket), text]
        # The exit status has different meanings in different releases.
        reply = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=15, check=False)
        if not reply.stdout.startswith(b"BIRD "):
            raise RuntimeError(f"{text!r} on {self.socket}: {reply.stderr.decode(errors='replace').strip()}")
        return reply.stdout.decode(errors="replace").split("ready.\n", 1)[-1]

    def protocols(self) -> dict[str, Protocol]:
        """Returns all its protocols, by name."""
        rows = [line.split(maxsplit=5) for line in self.command("show protocols").splitlines()[1:] if line.strip()]
        return {row[0]: Protocol(row[0], row[1], row[3], row[5] if len(row) > 5 else "") for row in rows}

    def sessions(self) -> set[str]:
        """Returns the names of its BGP protocols."""
        return {name for name, protocol in self.protocols().items() if protocol.proto == "BGP"}

    def is_established(self, name: str) -> bool:
        """Returns whether that BGP session is established."""
        protocol = self.protocols().get(name)
        return protocol is not None and protocol.info.startswith("Established")

    def generation(self) -> int | None:
        """Returns the value of rrwatch's marker in the configuration that it runs."""
        found = re.fullmatch(r"(\d+)\n?", self.command("eval rrwatch_generation"))
        return int(found[1]) if found else None

    def reconfigurations(self) -> int:
        """Returns how often it has been reconfigured since it was created."""
        return self._log.read_text(errors="replace").count("Reconfiguring")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket))
                return connection.recv(4) == b"0001"
            except OSError:
                if self._process and not self._process.is_running():
                    log = self._log.read_text(errors="replace")
                    raise RuntimeError(f"{self._kind} did not start: {log}") from None
                return False

"""Runs a real BIRD of a chosen release in a network namespace."""

import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.network import Namespace
from lab.process import Process, program, wait_until

MINIMAL = "router id 192.0.2.1;\nprotocol device { scan time 2; }\n"
"""A configuration that rrwatch did not write, with which BIRD runs and peers with nobody."""


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
        name: `1.6`, `2` or `3`.
        folder: where its programs are.
    """

    name: str
    folder: Path

    def __str__(self) -> str:
        return f"BIRD {self.name}"

    def program(self, name: str) -> str:
        """Returns the path of one of its programs.

        Raises:
            FileNotFoundError: it is not installed.
        """
        return program(str(self.folder / name))

    def refuses(self, config: Path) -> str:
        """Returns why it refuses a configuration, or an empty text. With 1.6, `bird6.cfg` is read by bird6."""
        kind = "bird6" if self.one_for_each_family and config.stem == "bird6" else "bird"
        command = [self.program(kind), "-p", "-c", str(config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stderr

    @property
    def one_for_each_family(self) -> bool:
        """Whether it runs as two daemons, `bird` and `bird6`."""
        return (self.folder / "bird6").exists()

    @property
    def path(self) -> str:
        """A search path for programs on which this BIRD is found."""
        return f"{self.folder}:/usr/bin:/bin"


BIRD1 = Release("1.6", Path("/usr/sbin"))
"""Debian's `bird`."""

BIRD2 = Release("2", Path(__file__).parent.parent / ".tools" / "bird2" / "usr" / "sbin")
"""Debian's `bird2`, which cannot be installed beside `bird`: `scripts/setup` unpacks it there."""

_bird3 = os.environ.get("RRWATCH_TEST_BIRD3")

RELEASES = (BIRD1, BIRD2, *([Release("3", Path(_bird3).parent)] if _bird3 else []))
"""The releases that are tested. BIRD 3 is one of them if RRWATCH_TEST_BIRD3 is the path of its program."""


class Bird:
    """One BIRD daemon; it can be stopped and started again."""

    def __init__(self, folder: Path, space: Namespace, kind: str = "bird", release: Release = BIRD1) -> None:
        """Chooses its files; `start()` starts it.

        Args:
            folder: for its configuration and its control socket.
            space: the network namespace to run in.
            kind: `bird`, or `bird6`.
            release: the release of BIRD; if it is changed later, the next start uses the new one.
        """
        self.folder, self._space, self._kind, self.release = folder, space, kind, release
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / f"{kind}.cfg"
        self.socket = folder / f"{kind}.ctl"
        # Not in the folder that rrwatch watches, because BIRD logs a lot.
        self._log = folder.parent / f"{folder.name}-{kind}.log"
        self._process: Process | None = None

    def start(self) -> "Bird":
        """Starts it, and waits until it accepts commands."""
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
        """The running program."""
        assert self._process
        return self._process

    def stop(self) -> None:
        """Stops it."""
        if self._process:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """Kills it; the path of its socket remains."""
        if self._process:
            self._process.kill()
            self._process = None

    def command(self, text: str) -> str:
        """Sends a command with birdc, and returns the reply without codes."""
        client = self.release.program("birdc6" if self._kind == "bird6" else "birdc")
        command = [client, "-s", str(self.socket), text]
        # The exit status of birdc differs between releases.
        reply = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=15, check=False)
        if not reply.stdout.startswith(b"BIRD "):
            raise RuntimeError(f"{text!r} on {self.socket}: {reply.stderr.decode(errors='replace').strip()}")
        return reply.stdout.decode(errors="replace").split("ready.\n", 1)[-1]

    def protocols(self) -> dict[str, Protocol]:
        """Returns all protocols that it runs, by name."""
        rows = [line.split(maxsplit=5) for line in self.command("show protocols").splitlines()[1:] if line.strip()]
        return {row[0]: Protocol(row[0], row[1], row[3], row[5] if len(row) > 5 else "") for row in rows}

    def sessions(self) -> set[str]:
        """Returns the names of its BGP protocols."""
        return {name for name, protocol in self.protocols().items() if protocol.proto == "BGP"}

    def is_established(self, name: str) -> bool:
        """Returns whether that BGP session is up."""
        protocol = self.protocols().get(name)
        return protocol is not None and protocol.info.startswith("Established")

    def generation(self) -> int | None:
        """Returns the generation of the configuration that it runs."""
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

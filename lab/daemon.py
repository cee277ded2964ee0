"""Runs `rrwatch run` as a program, and reads the events that it logs."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.process import Process, wait_until

Event = dict[str, Any]


class Rrwatch:
    """A running `rrwatch run`."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *arguments: str,
        namespace: str | None = None,
        through: Sequence[str] = (),
    ) -> None:
        """Starts it; its status pages get a free port.

        Args:
            folder: for its log.
            environment: its environment.
            arguments: options of the command.
            namespace: the network namespace to run in.
            through: a command that runs it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.events: list[Event] = []
        self._lines: list[str] = []
        self.process = Process(
            [*through, sys.executable, "-m", "rrwatch", "run", *arguments],
            folder / "rrwatch.log",
            environment={"RRWATCH_STATUS_LISTEN": "127.0.0.1:0", "RRWATCH_LOG_FORMAT": "json", **environment},
            namespace=namespace,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self._lines.append(line.decode(errors="replace"))
            if line.startswith(b"{"):
                self.events.append(json.loads(line))

    def all(self, event: str, **fields: object) -> list[Event]:
        """Returns all events of that name so far that have these values in these fields."""
        return [
            entry
            for entry in list(self.events)
            if entry["event"] == event and all(entry.get(name) == value for name, value in fields.items())
        ]

    def wait_for(self, event: str, seconds: float = 15.0, after: int = 0, **fields: object) -> Event:
        """Waits for an event, and returns it; skips the first `after` events of that name."""

        def found() -> list[Event]:
            if not self.process.is_running():
                self._reader.join(timeout=5)
                if len(self.all(event, **fields)) <= after:
                    raise RuntimeError(f"rrwatch ended:\n{self.output()}")
            return self.all(event, **fields)[after:]

        try:
            return wait_until(found, f"{event} {fields}", seconds)[0]
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.output()}") from None

    def output(self) -> str:
        """Returns everything that it logged."""
        return "".join(self._lines)

    @property
    def status_address(self) -> str:
        """The address of its status pages."""
        return str(self.wait_for("status_served")["address"])

    def stop(self) -> int:
        """Sends SIGTERM, waits for its end, and returns its exit status."""
        status = self.process.stop()
        self.kill()
        return status

    def kill(self) -> None:
        """Kills it, if it has not ended already."""
        self.process.kill()
        self._reader.join(timeout=5)
        self.process.stderr.close()

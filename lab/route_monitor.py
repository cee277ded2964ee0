"""Records the kernel's route events in a network namespace, to find out whether a route was ever away."""

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.network import Namespace
from lab.process import Process, wait_until

REPLACED = 0.5
"""Seconds. BIRD 1.6 replaces a route by deleting it and adding it again 0.1 ms later, or later on a loaded machine. A
route that is lost stays away for the seconds that BIRD waits before it connects."""

_EVENT = re.compile(r"\[\d{4}-\d\d-\d\dT(\d\d):(\d\d):(\d\d\.\d+)\] (Deleted )?(\S+) (via \S+ dev \S+) proto bird")


class RouteMonitor:
    """The route events of one namespace since `begin()`, as `ip monitor` prints them."""

    def __init__(self, space: Namespace, log: Path) -> None:
        """Starts to listen.

        Args:
            space: the namespace.
            log: a file for the events.
        """
        self._space, self._log = space, log
        self._marks = itertools.count(1)
        self._begin = 0
        self.process = Process(["ip", "-ts", "-n", space.name, "monitor", "route"], log)

    def begin(self) -> None:
        """Forgets all events so far."""
        self.sync()
        self._begin = len(self._log.read_text())

    def sync(self) -> None:
        """Waits until every event so far is recorded."""
        mark = f"198.51.100.{next(self._marks) % 256}"
        before = len(self._log.read_text())
        wait_until(lambda: self._is_marked(mark, before), f"ip monitor in {self._space.name}")

    def absences(self) -> dict[str, float]:
        """Returns for each deleted route the longest time in seconds until it was back; infinite if it never was."""
        gone: dict[str, float] = {}
        longest: dict[str, float] = {}
        for hours, minutes, seconds, deleted, block, hop in _EVENT.findall(self._log.read_text()[self._begin :]):
            at, route = int(hours) * 3600 + int(minutes) * 60 + float(seconds), f"{block} {hop}"
            if deleted:
                gone[route] = at
            elif route in gone:
                absent = (at - gone.pop(route)) % 86400  # past midnight
                longest[route] = max(absent, longest.get(route, 0.0))
        return longest | dict.fromkeys(gone, float("inf"))

    def _is_marked(self, mark: str, after: int) -> bool:
        # The kernel reports only real changes, so each attempt adds a route and deletes it, in a table that BIRD does
        # not read. An event of this route shows that the monitor is listening, and that all earlier ones were recorded.
        for change in "add", "delete":
            self._space.ip("route", change, "blackhole", mark, "table", "99")
        return f"Deleted blackhole {mark} " in self._log.read_text()[after:]


@contextlib.contextmanager
def monitoring(spaces: Iterable[Namespace], folder: Path) -> Iterator[list[RouteMonitor]]:
    """Provides a monitor for each namespace, which has begun to record.

    Args:
        spaces: the namespaces.
        folder: for the logs.
    """
    made: list[RouteMonitor] = []
    try:
        for number, space in enumerate(spaces):
            made.append(RouteMonitor(space, folder / f"routes-{number}.log"))
            made[-1].begin()
        yield made
    finally:
        for monitor in made:
            monitor.process.stop()

"""The table of sessions over restarts of rrwatch: `sessions.json` in the state folder."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rrwatch.daemon.session_table import Remembered
from rrwatch.errors import StateError
from rrwatch.guard.baseline import StateFolder
from rrwatch.report.sessions import HOUR, Moment, ObservedBird, ObservedSession

SAVE_INTERVAL = 60.0
"""Seconds between two writes, so that a table of thousands of sessions costs nothing that matters."""

_FORMAT = 1
_NAME = "sessions.json"
_BATCH = 100  # sessions that are encoded before another thread may run
_PAUSE = 0.001  # seconds
_TIMES_MAX = 1000
_TIMES_SAVED = 100  # of one session: thousands that flap for an hour would make a file of 25 MB, each minute
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # proc(5); the monotonic clock is the same one until the next boot

_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a document of another shape raises."""


class SessionStore:
    """Reads the table at the start, and writes it once a minute if it has changed, in a thread, and at the end."""

    def __init__(self, folder: StateFolder, role: str, on_error: Callable[[Exception], None]) -> None:
        """Reads nothing yet.

        Args:
            role: the name of the role, as for the baseline: several roles may share a folder.
            on_error: told once that the file cannot be written or read.
        """
        self._folder, self._role, self._on_error = folder, role, on_error
        self._others: dict[str, Any] = {}
        self._saved: Mapping[str, Remembered] = {}
        self._due = time.monotonic() + SAVE_INTERVAL
        self._thread: threading.Thread | None = None
        self._error: StateError | None = None
        self._is_told = False

    def load(self, now: Moment) -> dict[str, Remembered]:
        """Returns what was remembered, by the names of BIRDs; empty if there is no file, or an unreadable one."""
        try:
            text = self._folder.read(_NAME)
            roles = dict(json.loads(text)["roles"]) if text is not None else {}
            birds = {str(daemon): _bird_of(bird, now) for daemon, bird in roles.pop(self._role, {}).items()}
        except StateError as error:
            self._tell(error)
        except _DAMAGE:
            self._tell(StateError(f"{_NAME} in state_dir is damaged: how long sessions are up is counted from now on"))
        else:
            self._others = roles
            return birds
        return {}

    def save(self, birds: Mapping[str, Remembered]) -> None:
        """Writes the table in a thread, if it has changed and the last write is a minute ago."""
        if self._error:
            self._tell(self._error)
        if time.monotonic() < self._due or (self._thread and self._thread.is_alive()):
            return
        self._due = time.monotonic() + SAVE_INTERVAL
        if _is_same(self._saved, birds):
            return
        self._saved = birds
        self._thread = threading.Thread(target=self._write, args=(birds,), name="saves sessions", daemon=True)
        self._thread.start()

    def close(self, birds: Mapping[str, Remembered]) -> None:
        """Writes the table before rrwatch ends, if a BIRD has answered."""
        if self._thread:
            self._thread.join(timeout=1.0)
            if self._thread.is_alive():
                return
        if any(bird.heard_at is not None for bird in birds.values()):
            self._write(birds, pause=0.0)
        if self._error:
            self._tell(self._error)

    def _write(self, birds: Mapping[str, Remembered], pause: float = _PAUSE) -> None:
        try:
            own = ", ".join(f"{json.dumps(name)}: {_document_of(bird, pause)}" for name, bird in birds.items())
            roles = [f"{json.dumps(self._role)}: {{{own}}}"]
            roles += [f"{json.dumps(role)}: {json.dumps(other)}" for role, other in self._others.items()]
            self._folder.replace(_NAME, f'{{"format": {_FORMAT}, "roles": {{{", ".join(roles)}}}}}\n')
        except StateError as error:
            self._error = error
            self._saved = {}  # it is not there: the next `save` must write it, changed or not

    def _tell(self, error: StateError) -> None:
        if not self._is_told:
            self._is_told = True
            self._on_error(error)


def _is_same(before: Mapping[str, Remembered], now: Mapping[str, Remembered]) -> bool:
    """Whether only the times of the polls differ."""

    def essence(birds: Mapping[str, Remembered]) -> object:
        return {name: (one.birth, one.observed.losses, one.observed.sessions) for name, one in birds.items()}

    return essence(before) == essence(now)


def _document_of(bird: Remembered, pause: float) -> str:
    """Returns a JSON object. Times in it are Unix times: the monotonic clock is another one after a boot."""
    epoch = bird.observed.epoch
    observed, items, parts = bird.observed, iter(bird.observed.sessions.items()), []
    while batch := dict(islice(items, _BATCH)):
        rows = {
            name: [
                one.state,
                round(one.since + epoch, 3),
                one.last_error,
                one.losses,
                [round(at + epoch, 1) for at in one.lost_at[-_TIMES_SAVED:]],
            ]
            for name, one in batch.items()
        }
        parts.append(json.dumps(rows)[1:-1])
        time.sleep(pause)  # a change that the loop applies must not wait for thousands of sessions
    head = {
        "birth": bird.birth,
        "heard_at": None if bird.heard_at is None else bird.heard_at + epoch,
        "boot": _boot(),
        "epoch": epoch,
        "losses": observed.losses,
        "lost_at": [(round(at + epoch, 1), number) for at, number in observed.lost_at],
    }
    return f'{json.dumps(head)[:-1]}, "sessions": {{{", ".join(parts)}}}}}'


def _boot() -> str:
    """Returns what names the boot of this host; empty where the kernel does not tell."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _bird_of(document: Mapping[str, Any], now: Moment) -> Remembered:
    boot = _boot()
    is_this_boot = boot != "" and document.get("boot") == boot
    epoch = _number(document["epoch"]) if is_this_boot else now.unix - now.monotonic

    def monotonic(unix: object) -> float:
        # The wall clock may have been set since; after a boot, nothing tells by how much.
        return min(now.monotonic, _number(unix) - epoch)

    def session(state: object, since: object, error: object, losses: object, lost_at: list[object]) -> ObservedSession:
        if not (state is None or isinstance(state, str)) or not isinstance(error, str):
            raise TypeError(state, error)
        times = tuple(sorted(at for at in map(monotonic, lost_at) if at > now.monotonic - HOUR))
        return ObservedSession(state, monotonic(since), error, _count(losses), times[-_TIMES_MAX:])

    lost_at = [(monotonic(at), _count(number)) for at, number in document["lost_at"]]
    observed = ObservedBird(
        sessions={str(name): session(*row) for name, row in document["sessions"].items()},
        epoch=epoch,  # or a time would be shown with another second than before
        losses=_count(document["losses"]),
        lost_at=tuple(one for one in lost_at if one[0] > now.monotonic - HOUR)[-_TIMES_MAX:],
    )
    heard_at = document["heard_at"]
    return Remembered(_count(document["birth"]), None if heard_at is None else monotonic(heard_at), observed)


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(value)
    return float(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(value)
    return value

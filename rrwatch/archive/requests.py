"""What operators ask of the running daemon, and its answers: files in `state_dir`."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from rrwatch.archive.files import StateFiles
from rrwatch.errors import RrwatchError

LONGEST = 366 * 86400.0
"""Seconds that a freeze with an end lasts at most, or that a rollback waits for its confirmation."""

_LATEST = 1 << 37  # Unix time, in the year 6325: so far no sum with `LONGEST` is without an ISO form
_NUMBER_MAX = 1 << 53
_PAUSE = 0.05  # seconds between two attempts to have the turn

_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a document of another shape raises."""


class Command(Enum):
    """What can be asked."""

    FREEZE = "freeze"
    THAW = "thaw"
    PLAN = "plan"
    ROLLBACK = "rollback"
    CONFIRM = "confirm"


class Result(Enum):
    """How a request ended; the values are exit statuses of commands."""

    DONE = 0
    FAILED = 1
    REFUSED = 3
    HELD = 4
    MISSING = 5


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        id: names it, for its answer.
        role: of the daemon that is asked.
        asked_at: Unix time.
        reason: of a freeze.
        seconds: how long a freeze lasts, or how long a rollback waits for its confirmation; None for no limit.
        number: of the change to roll back to.
    """

    id: str
    role: str
    command: Command
    asked_at: float
    reason: str = ""
    seconds: float | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request.

    Attributes:
        id: of the request.
        text: one line for people.
        waiting: the sessions that wait for a thaw, by daemon and by `added`, `removed`, `changed`.
    """

    id: str
    result: Result
    text: str
    waiting: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)


class RequestFiles:
    """`request.json` with the last request, and `answer.json` with the last answer.

    One command at a time may ask: the others wait for their turn.
    """

    def __init__(self, folder: Path) -> None:
        self._files = StateFiles(folder)
        self.request, self._answer = folder / "request.json", folder / "answer.json"
        self._lock = folder / "request.lock"

    @contextlib.contextmanager
    def turn(self, seconds: float) -> Iterator[None]:
        """A context in which no other command asks.

        Args:
            seconds: to wait for a command that asks already.

        Raises:
            RrwatchError: it is not done in this time.
            StateError: the folder cannot be used.
        """
        end = time.monotonic() + seconds
        with contextlib.ExitStack() as stack:
            with self._files.errors_named():
                while not self._is_locked(stack):
                    if time.monotonic() >= end:
                        raise RrwatchError("another command waits for rrwatch's answer; try again when it is done")
                    time.sleep(_PAUSE)
            yield

    def _is_locked(self, stack: contextlib.ExitStack) -> bool:
        """Takes the lock until the stack is closed, unless another command has it; returns whether it did."""
        try:
            stack.enter_context(self._files.locked(self._lock))
        except BlockingIOError:
            return False
        return True

    def ask(self, request: Request) -> None:
        """Leaves a request, in place of one that nobody has taken up.

        Raises:
            StateError: it cannot be written.
        """
        document = {
            "id": request.id,
            "role": request.role,
            "command": request.command.value,
            "asked_at": request.asked_at,
            "reason": request.reason,
            "seconds": request.seconds,
            "number": request.number,
        }
        self._write(self.request, document)

    def asked(self, role: str) -> Request | None:
        """Returns the request for a role, None where there is none that can be read."""
        try:
            document = json.loads(self.request.read_bytes())
            seconds, number = document["seconds"], document["number"]
            request = Request(
                id=_text(document["id"]),
                role=_text(document["role"]),
                command=Command(document["command"]),
                asked_at=_within(document["asked_at"], 0, _LATEST),
                reason=_text(document["reason"]),
                seconds=None if seconds is None else _within(seconds, 0, LONGEST),
                number=None if number is None else int(_within(number, 1, _NUMBER_MAX)),
            )
        except (OSError, *_DAMAGE):
            return None
        return request if request.role == role else None

    def answer(self, answer: Answer) -> None:
        """Answers a request, which is done with then.

        Raises:
            StateError: it cannot be written.
        """
        document = {
            "id": answer.id,
            "result": answer.result.value,
            "text": answer.text,
            "waiting": answer.waiting,
        }
        try:
            self._write(self._answer, document)
        finally:
            # A request that was carried out must not be carried out again.
            self.withdraw(answer.id)

    def withdraw(self, name: str) -> None:
        """Removes a request, if it is still that one."""
        with contextlib.suppress(OSError, *_DAMAGE):
            if json.loads(self.request.read_bytes())["id"] == name:
                self.request.unlink()

    def answered(self, name: str) -> Answer | None:
        """Returns the answer to a request, None where there is none yet."""
        try:
            document = json.loads(self._answer.read_bytes())
            if document["id"] != name:
                return None
            return Answer(name, Result(document["result"]), _text(document["text"]), dict(document["waiting"]))
        except (OSError, *_DAMAGE):
            return None

    def _write(self, path: Path, document: Mapping[str, Any]) -> None:
        with self._files.errors_named():
            self._files.folder.mkdir(exist_ok=True)
            self._files.replace(path, json.dumps(document).encode())


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _within(value: object, least: float, most: float) -> float:
    if not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(value)
    return value

"""Freezes and rollbacks that wait for a confirmation: their states, and the files `frozen.json` and `pending.json`."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rrwatch.archive.files import SECRET, StateFiles
from rrwatch.errors import StateError

_FORMAT = 1
_LATEST = 253402300800.0  # 10000-01-01; later times have no ISO form

_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a document of another shape raises."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The configurations that BIRD keeps, whatever the datastore asks for.

    Attributes:
        id: names this freeze.
        since: Unix time.
        reason: why, in the words of whoever asked for it.
        texts: the configurations, by the names of daemons.
        until: Unix time at which it ends by itself, None where it does not.
        number: of the change in the history that brought these configurations, None where that is not known.
    """

    id: str
    since: float
    reason: str
    texts: Mapping[str, str] = field(repr=False)
    until: float | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A rollback that BIRD undoes by itself, unless it is confirmed in time.

    Attributes:
        since, until: Unix time.
        trial: what applies once it is confirmed; BIRD runs this now.
        undone: what applies if it is not; BIRD ran this before, and its file has it still.
        before: the id of the freeze that applied before, empty where there was none.
    """

    since: float
    until: float
    trial: Frozen
    undone: Frozen
    before: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether anything is frozen, and whether a rollback waits for its confirmation.

    Of the two files, `pending.json` is written first and removed last. What decides is `frozen.json`: once it is
    another one than before the rollback, the rollback is decided.

    Attributes:
        frozen, pending: what the files say; a rollback that is decided does not count as pending.
        untold: the rollback is confirmed, and BIRD may not know it yet: `pending.json` is still there.
    """

    frozen: Frozen | None = None
    pending: Pending | None = None
    untold: bool = False

    @property
    def in_effect(self) -> Frozen | None:
        """What BIRD shall run now, None where the datastore decides."""
        return self.pending.trial if self.pending else self.frozen

    def begun(self, trial: Frozen, undone: Frozen, since: float, until: float) -> "Standing":
        """After a rollback that waits for its confirmation."""
        before = self.frozen.id if self.frozen else ""
        return replace(self, pending=Pending(since, until, trial, undone, before))

    def confirmed(self) -> "Standing":
        """After the confirmation of the rollback."""
        return Standing(self.pending.trial, untold=True) if self.pending else self

    def told(self) -> "Standing":
        """After BIRD knows that the rollback is confirmed."""
        return replace(self, untold=False)

    def undone(self) -> "Standing":
        """After BIRD has undone the rollback: what it runs then is frozen, or the next pass would do it again."""
        return Standing(self.pending.undone) if self.pending else self

    def consistent(self) -> "Standing":
        """Without a rollback that is decided already: a crash may have left its file."""
        if self.pending and self.pending.before != (self.frozen.id if self.frozen else ""):
            is_confirmed = self.frozen is not None and self.frozen.id == self.pending.trial.id
            return Standing(self.frozen, untold=is_confirmed)
        return self


class FreezeFiles:
    """`frozen.json` and `pending.json` in `state_dir`, each with an entry for each role that uses the folder."""

    def __init__(self, folder: Path, role: str) -> None:
        self._role, self._files = role, StateFiles(folder)
        self.frozen, self.pending = folder / "frozen.json", folder / "pending.json"
        self._lock = folder / "freeze.lock"

    def load(self) -> Standing:
        """Reads how things stand.

        Raises:
            StateError: something is frozen, or may be, and it cannot be read.
        """
        frozen, pending = self._read(self.frozen), self._read(self.pending)
        try:
            return Standing(
                None if frozen is None else _frozen_of(frozen),
                None if pending is None else _pending_of(pending),
            ).consistent()
        except _DAMAGE as error:
            raise StateError(f"{self.frozen} or {self.pending} is damaged, or is of another version") from error

    def save(self, standing: Standing) -> None:
        """Writes how things stand, so that a crash at any step leaves the state before or this one.

        Raises:
            StateError: it cannot be written.
        """
        frozen, pending = standing.frozen, standing.pending
        with self._files.errors_named(), self._files.locked(self._lock):
            if pending:
                self._write(self.pending, _document_of_pending(pending))
            self._write(self.frozen, _document_of(frozen) if frozen else None)
            if not (pending or standing.untold):
                self._write(self.pending, None)

    def _read(self, path: Path) -> Mapping[str, Any] | None:
        try:
            roles = self._roles(path)
            entry = _object(roles[self._role]) if self._role in roles else None
        except OSError as error:
            raise StateError(f"{path} cannot be read: {error.strerror}") from error
        except _DAMAGE as error:
            raise StateError(f"{path} is damaged, or was written by another version of rrwatch") from error
        return entry

    @staticmethod
    def _roles(path: Path) -> dict[str, Any]:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        if document["format"] != _FORMAT:
            raise ValueError(document["format"])
        return _object(document["roles"])

    def _write(self, path: Path, entry: Mapping[str, Any] | None) -> None:
        roles: dict[str, Any] = {}
        with contextlib.suppress(*_DAMAGE):
            roles = self._roles(path)
        known = roles.get(self._role) == entry and (self._role in roles) == (entry is not None)
        if known and (roles or not path.exists()):
            return
        roles.pop(self._role, None)
        if entry is not None:
            roles[self._role] = entry
        if roles:
            self._files.replace(path, json.dumps({"format": _FORMAT, "roles": roles}).encode(), SECRET)
        else:
            path.unlink(missing_ok=True)


def _document_of(frozen: Frozen) -> dict[str, Any]:
    return {
        "id": frozen.id,
        "since": frozen.since,
        "reason": frozen.reason,
        "until": frozen.until,
        "number": frozen.number,
        "texts": dict(frozen.texts),
    }


def _document_of_pending(pending: Pending) -> dict[str, Any]:
    return {
        "since": pending.since,
        "until": pending.until,
        "trial": _document_of(pending.trial),
        "undone": _document_of(pending.undone),
        "before": pending.before,
    }


def _frozen_of(document: Mapping[str, Any]) -> Frozen:
    until, number = document["until"], document["number"]
    if number is not None and not isinstance(number, int):
        raise TypeError(number)
    return Frozen(
        id=_text(document["id"]),
        since=_time(document["since"]),
        reason=_text(document["reason"]),
        texts={_text(name): _text(text) for name, text in document["texts"].items()},
        until=None if until is None else _time(until),
        number=number,
    )


def _pending_of(document: Mapping[str, Any]) -> Pending:
    return Pending(
        since=_time(document["since"]),
        until=_time(document["until"]),
        trial=_frozen_of(document["trial"]),
        undone=_frozen_of(document["undone"]),
        before=_text(document["before"]),
    )


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _time(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < _LATEST:
        raise ValueError(value)
    return seconds

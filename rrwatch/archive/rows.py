"""The lines of `history.jsonl`: one for each BIRD that a change was about. Pure: no I/O."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_LARGEST = 1 << 53  # of a number that every reader of JSON keeps exactly

_WILD = 10**12  # of a number that no host ever comes to: damage, which must not use the numbers up

_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a document of another shape raises."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a change did to one BIRD.

    Attributes:
        number: of the change; the rows of all BIRDs that it was about have the same one.
        time: ISO 8601, UTC.
        daemon: the name of the BIRD.
        state: the value of a `rrwatch.bird.apply.State`.
        message: why it is not confirmed, empty where it is.
        cause: the first keys, or words, that say why.
        causes: how many there were.
        added, removed, changed: how many sessions.
        took_ms: of the whole change.
        role: whose change it was, empty in rows of rrwatch 0.1.
        configuration: the number of the change that brought the configuration which ran afterwards; None where none
            was installed, and in rows of rrwatch 0.1.
        generations: of that configuration, by the names of daemons.
    """

    number: int
    time: str
    daemon: str
    state: str
    message: str
    cause: tuple[str, ...]
    causes: int
    added: int
    removed: int
    changed: int
    took_ms: float
    role: str = ""
    configuration: int | None = None
    generations: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file: as it is, and what it says; None where it cannot be read."""

    raw: bytes
    entry: Mapping[str, Any] | None = None


def lines_of(content: bytes) -> list[Line]:
    """Reads the file. Lines of rrwatch 0.1, which have no number, get the one after that of the line before."""
    lines, last = [], 0
    for raw in content.splitlines():
        entry = _entry_of(raw)
        if entry is None:
            lines.append(Line(raw))
            continue
        number = number_in(entry)
        if number is None:
            entry = {"number": last + 1, **{name: value for name, value in entry.items() if name != "number"}}
            lines.append(line_of(entry))
        else:
            lines.append(Line(raw, entry))
        last = number_after((last, number or last + 1)) - 1
    return lines


def number_after(numbers: Iterable[int]) -> int:
    """Returns the number of the next change. Wild numbers do not count."""
    return max((number for number in numbers if number < _WILD), default=0) + 1


def line_of(entry: Mapping[str, Any]) -> Line:
    """Returns an entry as a line of the file, without its end."""
    return Line(json.dumps(entry).encode(), entry)


def number_in(entry: Mapping[str, Any]) -> int | None:
    """Returns the number of an entry's change, None where it has none."""
    number = entry.get("number")
    return number if isinstance(number, int) and not isinstance(number, bool) and 0 < number < _LARGEST else None


def row_of(entry: Mapping[str, Any]) -> Row | None:
    """Returns an entry as a typed value; None where another program, or another version, wrote it otherwise."""
    try:
        configuration, generations = entry.get("configuration"), entry.get("generations")
        row = Row(
            number=_count(entry["number"]),
            time=_time(entry["time"]),
            daemon=_text(entry["daemon"]),
            state=_text(entry["state"]),
            message=_text(entry.get("message") or ""),
            cause=_texts(entry["cause"]),
            causes=_count(entry["causes"]),
            added=_count(entry["added"]),
            removed=_count(entry["removed"]),
            changed=_count(entry["changed"]),
            took_ms=_milliseconds(entry["took_ms"]),
            role=_text(entry.get("role") or ""),
            configuration=None if configuration is None else _count(configuration),
            generations=None if generations is None else {name: _count(value) for name, value in generations.items()},
        )
        if entry.get("generation") is not None:  # the one of this daemon, for the status
            _count(entry["generation"])
    except _DAMAGE:
        return None
    return row


def rows_of(lines: Iterable[Line], role: str) -> list[Row]:
    """Returns the rows of one role, and those that name none; the oldest first."""
    rows = (row_of(line.entry) for line in lines if line.entry is not None)
    return [row for row in rows if row and row.role in ("", role)]


def _entry_of(raw: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError):  # a crash may leave half a line
        return None
    return entry if isinstance(entry, dict) else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _time(value: object) -> str:
    text = _text(value)
    datetime.fromisoformat(text).astimezone(UTC)  # who shows it must be able to do so
    return text


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(value)
    return tuple(map(_text, value))


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST:
        raise TypeError(value)
    return value


def _milliseconds(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):  # JSON has no word for others
        raise TypeError(value)
    return float(value)

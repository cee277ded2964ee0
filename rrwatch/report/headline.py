"""The answer to "is this reflector all right; if not, why, since when, and what do I do?". Pure: no I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rrwatch.report.remedy import remedy


class Level(Enum):
    """How urgent a headline is."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a reader must know although it is not why a host is not ready.

    Attributes:
        what: a few words, such as "etcd away".
        since: since when, in ISO 8601; empty if that is not known.
        reason: one line, empty if there is none.
    """

    what: str
    since: str
    reason: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer in a few words.

    Attributes:
        word: how things stand: READY, NOT READY, STALLED or STARTING.
        level: how urgent it is.
        since: since when, in ISO 8601; empty if that is not known.
        reason: why it is not ready, in one line; empty if it is.
        notes: what else there is.
        advice: what to do, in one line with commands between backticks; empty if there is nothing to do.
    """

    word: str
    level: Level
    since: str = ""
    reason: str = ""
    notes: tuple[Note, ...] = ()
    advice: str = ""


STARTING = Headline("STARTING", Level.WARNING, reason="nothing is known yet")
"""For the first moments, before there is a status."""


def headline(document: Mapping[str, Any]) -> Headline:
    """Returns the headline of a status.

    Args:
        document: of `/status`; its `stalled` says why the loop counts as dead, and is empty or null if it is alive.
    """
    notes, advice = tuple(_notes(document)), remedy(document)
    if stalled := document["stalled"]:
        return Headline("STALLED", Level.BAD, reason=f"{stalled}; the rest is from before that", advice=advice)
    if not document["ready"]:
        since, held = document["not_ready_since"] or "", document["held"]
        reason = f"held: {held['reason']}" if held else document["reason"]
        return Headline("NOT READY", Level.BAD, since, reason, notes, advice or "`rrwatch check` says what is wrong")
    level = Level.WARNING if notes else Level.GOOD
    advice = advice or (_advice(document) if notes else "")
    return Headline("READY", level, document["ready_since"] or "", "", notes, advice)


def _is_away(document: Mapping[str, Any]) -> bool:
    etcd = document["etcd"]
    return bool(etcd["trouble"] or etcd["stale"])


def _notes(document: Mapping[str, Any]) -> Iterator[Note]:
    etcd = document["etcd"]
    if _is_away(document) and etcd["last_answer_at"]:
        yield Note("etcd away", etcd["last_answer_at"], etcd["trouble"] or "")
    if pending := document["pending"]:
        number = pending["number"]
        what = f"rolled back to {number}" if number else "rolled back"
        yield Note(what, pending["since"], "BIRD undoes it soon")
    elif frozen := document["frozen"]:
        yield Note("frozen", frozen["since"], frozen["reason"])


def _advice(document: Mapping[str, Any]) -> str:
    """What to do about the notes of a host that is ready; the first one comes first."""
    if _is_away(document):
        return "start etcd; BIRD keeps its sessions until then"
    return "`rrwatch confirm` keeps it" if document["pending"] else "`rrwatch thaw` ends it"

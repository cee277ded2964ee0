"""The answer to "is this reflector all right; if not, why, since when, and what do I do?". Pure: no I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rrwatch.report.remedy import remedy

_MANY_DOWN = 0.2  # of the sessions, as the alert RrwatchManySessionsDown


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


SEE_CHECK = "`rrwatch check` says what is wrong"
"""The advice if a status does not tell what to do."""

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
        since = document["not_ready_since"] or ""
        advice = advice or SEE_CHECK
        return Headline("NOT READY", Level.BAD, since, document["reason"], notes, advice)
    advice = _advice(document)
    level = Level.WARNING if advice else Level.GOOD
    return Headline("READY", level, document["ready_since"] or "", "", notes, advice)


def is_away(document: Mapping[str, Any]) -> bool:
    """Whether etcd does not answer, while that is not why the host is not ready."""
    etcd = document["etcd"]
    return bool((etcd["last_answer_at"] or document["ready"]) and (etcd["trouble"] or etcd["stale"]))


def _notes(document: Mapping[str, Any]) -> Iterator[Note]:
    etcd = document["etcd"]
    if is_away(document):
        yield Note("etcd away", etcd["last_answer_at"] or document["started_at"] or "", etcd["trouble"] or "")
    if pending := document["pending"]:
        number = pending["number"]
        what = f"rolled back to {number}" if number else "rolled back"
        yield Note(what, pending["since"], f"undone at {pending['until']}, unless confirmed")
    elif frozen := document["frozen"]:
        yield Note("frozen", frozen["since"], frozen["reason"])
    down, wanted = _down(document)
    if down:
        yield Note(f"{down:,} of {wanted:,} sessions down", "", "")


def _down(document: Mapping[str, Any]) -> tuple[int, int]:
    """Returns how many sessions are down, and how many are wanted."""
    daemons = document["daemons"].values()
    return sum(daemon["down"] or 0 for daemon in daemons), sum(daemon["sessions"] for daemon in daemons)


def _advice(document: Mapping[str, Any]) -> str:
    """What to do about the notes of a host that is ready, the most urgent first; empty if it can wait."""
    down, wanted = _down(document)
    if is_away(document):
        return "start etcd; BIRD keeps its sessions until then"
    if document["pending"]:
        return "`rrwatch confirm` keeps what BIRD runs"
    if document["frozen"]:
        return "`rrwatch thaw` lets etcd decide again what BIRD runs"
    return "`rrwatch sessions --state down` shows which, and why" if down > _MANY_DOWN * wanted else ""

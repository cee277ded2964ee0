"""The answer to "is this reflector all right; if not, why, since when, and what do I do?". Pure: no I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

_CHECK = "`rrwatch check` says what to do"

_ADVICE = {
    "waiting": "start {name}; its configuration is in place",
    "refused": "correct the template or filter that BIRD names; until then {name} runs what it ran before",
    "failed": _CHECK,
}
"""What to do about a BIRD that is in a state, by the state."""


class Level(Enum):
    """How urgent a headline is."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer in a few words.

    Attributes:
        word: how things stand: READY, NOT READY, STALLED or STARTING.
        level: how urgent it is.
        since: since when, in ISO 8601; empty if that is not known.
        reason: why it is not simply ready, in one line; empty if it is.
        advice: what to do, in one line with commands between backticks; empty if there is nothing to do.
    """

    word: str
    level: Level
    since: str = ""
    reason: str = ""
    advice: str = ""


STARTING = Headline("STARTING", Level.WARNING, reason="nothing is known yet")
"""For the first moments, before there is a status."""


def headline(document: Mapping[str, Any], stalled: str = "") -> Headline:
    """Returns the headline of a status document.

    Args:
        document: `Status.document()`.
        stalled: why the loop counts as dead, empty if it is alive.
    """
    if stalled:
        advice = "what follows is from before that; `systemctl restart rrwatch`, and look for `fault` in its log"
        return Headline("STALLED", Level.BAD, reason=stalled, advice=advice)
    if not document["ready"]:
        since, reason = document["not_ready_since"] or "", document["reason"]
        if held := document["held"]:
            number = held.get("sessions_total", len(held["sessions"]))
            advice = f"restore the records, or let {number:,} sessions end with `rrwatch release`"
            return Headline("NOT READY", Level.BAD, since, f"held: {held['reason']}", advice)
        return Headline("NOT READY", Level.BAD, since, reason, "; ".join(dict.fromkeys(_advice(document))))
    if etcd_away := document["etcd"]["trouble"]:
        reason, advice = f"etcd is away: {etcd_away}", "start etcd; until then BIRD keeps its sessions"
        return Headline("READY", Level.WARNING, document.get("ready_since") or "", reason, advice)
    if pending := document.get("pending"):
        reason = f"the rollback to {pending['number']} is undone at {pending['until']}"
        advice = "`rrwatch confirm` keeps it"
        return Headline("READY", Level.WARNING, document.get("ready_since") or "", reason, advice)
    if frozen := document.get("frozen"):
        reason = f"frozen: {frozen['reason']}"
        return Headline("READY", Level.WARNING, document.get("ready_since") or "", reason, "`rrwatch thaw` ends it")
    return Headline("READY", Level.GOOD, document.get("ready_since") or "")


def _advice(document: Mapping[str, Any]) -> Iterator[str]:
    """What to do, for each thing that is wrong."""
    if document["template_error"]:
        yield "correct the template; until then the last one that worked stays in use"
    elif document["etcd"]["index"] is None:
        yield "start etcd, or correct its address, certificates or password in the settings"
    for name, daemon in document["daemons"].items():
        if daemon["state"] in _ADVICE:
            yield _ADVICE[daemon["state"]].format(name=name)
    if not document["daemons"]:
        yield _CHECK

"""What was done so far: counts since the start, and the last changes."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rrwatch.bird.apply import Applied, State
from rrwatch.bird.target import Target
from rrwatch.report.outcome import Outcome

RECENT = 20
"""So many of the last changes are told in the status."""

_MOST_KEYS = 20  # that are named as the cause of one change


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one BIRD since rrwatch started.

    Attributes:
        changes, seconds: configurations that BIRD confirmed, and the time that they took together.
        drifts: of them, those that put right what another hand had changed.
        refusals, failures: attempts that ended so.
    """

    changes: int = 0
    seconds: float = 0.0
    drifts: int = 0
    refusals: int = 0
    failures: int = 0


class History:
    """Keeps count. It belongs to the loop; what it gives away does not change."""

    def __init__(self, history: list[dict[str, Any]]) -> None:
        """Begins with what was remembered.

        Args:
            history: entries as `passed` gives them, the oldest first.
        """
        self._recent = deque(history, maxlen=RECENT)
        self._tallies: dict[str, Counters] = {}
        self._told: dict[str, tuple[State, str]] = {}

    @property
    def recent(self) -> tuple[dict[str, Any], ...]:
        """The last changes, the oldest first."""
        return tuple(self._recent)

    @property
    def counters(self) -> Mapping[str, Counters]:
        """By the names of daemons."""
        return dict(self._tallies)

    def passed(self, outcome: Outcome, *, drift: bool) -> list[dict[str, Any]]:
        """Counts what one pass did; -> what of it is worth remembering.

        Args:
            drift: it found work although nothing had changed in etcd or in the templates.
        """
        entries = []
        for target, applied in outcome.applied.items():
            worked = applied.installed or applied.configured
            self._count(target.name, applied, outcome.took, drift=drift and worked)
            now = (applied.state, applied.message)
            if worked or (applied.state is not State.CONFIRMED and self._told.get(target.name) != now):
                entries.append(_entry(target, applied, outcome, drift=drift))
            self._told[target.name] = now
        self._recent.extend(entries)
        return entries

    def _count(self, name: str, applied: Applied, took: float, *, drift: bool) -> None:
        tally = self._tallies.get(name, Counters())
        done = applied.state is State.CONFIRMED and applied.configured
        self._tallies[name] = replace(
            tally,
            changes=tally.changes + done,
            seconds=tally.seconds + took * done,
            drifts=tally.drifts + drift,
            refusals=tally.refusals + (applied.state is State.REFUSED),
            failures=tally.failures + (applied.state is State.FAILED),
        )


def _entry(target: Target, applied: Applied, outcome: Outcome, *, drift: bool) -> dict[str, Any]:
    plan = applied.plan
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "daemon": target.name,
        "state": applied.state.value,
        "message": applied.message or None,
        "cause": ["drift"] if drift else list(outcome.cause[:_MOST_KEYS]),
        "causes": len(outcome.cause),
        "added": len(plan.added),
        "removed": len(plan.removed),
        "changed": len(plan.changed),
        "generation": outcome.wanted[target].generation,
        "took_ms": round(outcome.took * 1000, 1),
    }

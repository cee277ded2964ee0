"""What was done so far: counts since the start, and the latest changes."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rrwatch.archive.rows import row_of
from rrwatch.bird.apply import State
from rrwatch.bird.target import Target
from rrwatch.report.outcome import Outcome, Result, Work

RECENT = 20
"""How many of the latest changes the status shows."""

_CAUSES_MAX = 20  # keys that are named as the cause of one change


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts of one BIRD since rrwatch started.

    Attributes:
        changes, seconds: configurations that BIRD confirmed, and the time that they took together.
        drifts: those among them that repaired what another program had changed.
        refusals, failures: attempts that ended so.
    """

    changes: int = 0
    seconds: float = 0.0
    drifts: int = 0
    refusals: int = 0
    failures: int = 0


class History:
    """Counts outcomes and remembers changes. It belongs to the loop; the values that it returns never change."""

    def __init__(self, history: list[dict[str, Any]]) -> None:
        """Begins with what was remembered.

        Args:
            history: entries as the archive has them, the oldest first.
        """
        self._counters: dict[str, Counters] = {}
        self.recall(history)

    @property
    def recent(self) -> tuple[dict[str, Any], ...]:
        """The latest changes, the oldest first."""
        return tuple(self._recent)

    @property
    def counters(self) -> Mapping[str, Counters]:
        """Counters by the names of daemons."""
        return dict(self._counters)

    def passed(self, outcome: Outcome) -> list[dict[str, Any]]:
        """Counts what one pass did; returns the entries to remember."""
        entries = []
        for target, result in outcome.results.items():
            self._count(target.name, result, outcome.took)
            if result.is_worth_remembering:
                entries.append(_entry(target, result, outcome))
        self._recent.extend(entries)
        return entries

    def recall(self, history: Iterable[dict[str, Any]]) -> None:
        """Takes the latest changes from the archive, in place of those that are known.

        Args:
            history: entries as the archive has them, the oldest first.
        """
        # Another program, or another version, may have written some of them.
        self._recent = deque((entry for entry in history if row_of(entry)), maxlen=RECENT)

    def refused(self, names: Iterable[str]) -> None:
        """Counts refusals of templates that were given up for those that worked before.

        Args:
            names: of the BIRDs that refused.
        """
        for name in names:
            counters = self._counters.get(name, Counters())
            self._counters[name] = replace(counters, refusals=counters.refusals + 1)

    def _count(self, name: str, result: Result, took: float) -> None:
        counters, applied = self._counters.get(name, Counters()), result.applied
        done = applied.state is State.CONFIRMED and applied.configured
        self._counters[name] = replace(
            counters,
            changes=counters.changes + done,
            seconds=counters.seconds + took * done,
            drifts=counters.drifts + (result.work is Work.REPAIR),
            refusals=counters.refusals + (applied.state is State.REFUSED),
            failures=counters.failures + (applied.state is State.FAILED),
        )


def found(outcome: Outcome) -> list[dict[str, Any]]:
    """Returns entries for a pass that changed nothing, and found another configuration than the newest that is known.

    rrwatch was killed before it could write the change down, or an older rrwatch made it.
    """
    return [_entry(target, result, outcome) for target, result in outcome.results.items()]


def _entry(target: Target, result: Result, outcome: Outcome) -> dict[str, Any]:
    applied, plan = result.applied, result.applied.plan
    cause = _cause(result, outcome)
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "daemon": target.name,
        "state": applied.state.value,
        "message": applied.message or None,
        "cause": cause[:_CAUSES_MAX],
        "causes": len(cause),
        "added": len(plan.added),
        "removed": len(plan.removed),
        "changed": len(plan.changed),
        "generation": result.wanted.generation,
        "took_ms": round(outcome.took * 1000, 1),
    }


def _cause(result: Result, outcome: Outcome) -> list[str]:
    """The keys, or the words, that say why."""
    if result.work is Work.REPAIR:
        return ["drift"]
    if "start" in outcome.occasions:
        # By then every key is new.
        return [word for word in outcome.occasions if word != "start"] or ["start"]
    cause = [*outcome.occasions, *outcome.cause]
    if cause or result.work is Work.ATTEMPT:
        return cause
    if result.is_back:
        return ["bird started"]
    return ["bird stopped"] if result.was_confirmed and result.applied.state is State.WAITING else []

"""When to try again after a pass that did not achieve everything."""

import random

from rrwatch.bird.apply import State
from rrwatch.report.outcome import Outcome

ABSENT_RETRY = 1.0
"""Seconds until a BIRD that does not run is looked for again; its socket's folder is watched too, which is faster."""

_FIRST, _LONGEST, _JITTER = 0.5, 30.0, 0.5  # seconds


class Retries:
    """Exponential back-off over consecutive failures: 0.5 s and doubling, 30 s at most, plus up to 0.5 s of jitter."""

    def __init__(self) -> None:
        self._failures = 0

    def failed(self) -> float:
        """Counts a failure; returns the seconds until the next attempt."""
        self._failures += 1
        doublings = min(self._failures - 1, 10)
        return min(_LONGEST, _FIRST * (1 << doublings)) + random.uniform(0, _JITTER)  # noqa: S311  # no secret

    def after(self, outcome: Outcome) -> float | None:
        """Counts an outcome; returns the seconds until the next attempt, None where none is needed."""
        if outcome.needs_retry:
            return self.failed()
        self._failures = 0
        return ABSENT_RETRY if State.WAITING in outcome.states else None

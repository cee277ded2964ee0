"""How things stand: one immutable value, and what health checks and people are told of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rrwatch.bgp.topology import Remark
from rrwatch.bird.apply import State
from rrwatch.bird.target import Target
from rrwatch.guard.baseline import Hold
from rrwatch.report.history import Counters
from rrwatch.report.outcome import Outcome, Result
from rrwatch.report.sessions import (
    Moment,
    ObservedBird,
    SessionRow,
    Totals,
    down_longest,
    iso,
    rows,
    totals,
    totals_document,
)

STALLED_AFTER = 60.0
"""Seconds without a turn of the loop after which it counts as dead; its longest wait is for two BIRDs that hang."""


@dataclass(frozen=True, slots=True)
class EtcdStatus:
    """What is known of etcd.

    Attributes:
        endpoint: the URL that answered last, or was asked last.
        index: etcd's index in the last good answer, None where there was none yet.
        heard_at: when that was, on the monotonic clock.
        keys: number of keys that are mirrored.
        trouble: why the last request failed, empty where it did not.
        events: number of single changes that were received.
        lists: number of whole folders that were received.
        failures: number of requests that failed.
    """

    endpoint: str = ""
    index: int | None = None
    heard_at: float | None = None
    keys: int = 0
    trouble: str = ""
    events: int = 0
    lists: int = 0
    failures: int = 0

    def heard(self, endpoint: str, index: int, keys: int, *, event: bool = False) -> "EtcdStatus":
        """After a good answer."""
        now = time.monotonic()
        return replace(
            self, endpoint=endpoint, index=index, heard_at=now, keys=keys, trouble="", events=self.events + event
        )

    def listed(self, endpoint: str, index: int, keys: int) -> "EtcdStatus":
        """After a whole folder."""
        return replace(self.heard(endpoint, index, keys), lists=self.lists + 1)

    def lost(self, endpoint: str, reason: str) -> "EtcdStatus":
        """After a failure."""
        return replace(self, endpoint=endpoint, trouble=reason, failures=self.failures + 1)


@dataclass(frozen=True, slots=True)
class Status:
    """How rrwatch stood at one moment.

    Attributes:
        role: who this is: a reflector or a node, and which.
        beat: that moment, on the monotonic clock.
        outcome: of the last pass, None where there was none yet.
        template_error: why the operator's templates are not in use, empty where they are.
        hold: what the guard holds, None where nothing is held.
        not_ready_since: Unix time since when it is not ready, None where it is.
        counters, recent: what was done, see `rrwatch.report.history`.
        observed: what each BIRD said about its sessions, by the name of the BIRD.
        session_metrics: whether there is a metric for each session.
    """

    role: str
    beat: float
    etcd: EtcdStatus
    outcome: Outcome | None
    template_error: str
    hold: Hold | None = None
    not_ready_since: float | None = None
    counters: Mapping[str, Counters] = field(default_factory=dict)
    recent: tuple[dict[str, Any], ...] = ()
    observed: Mapping[str, ObservedBird] = field(default_factory=dict)
    session_metrics: bool = False

    def session_rows(self) -> tuple[SessionRow, ...]:
        """The sessions of all BIRDs, wanted and actual; computed for each call, in 10 ms for 5,000."""
        return rows(self.outcome, self.observed, Moment.now())

    def session_totals(self) -> dict[str, Totals]:
        """The numbers of sessions, by the name of the BIRD."""
        return totals(self.outcome, self.observed, Moment.now())

    def stalled(self) -> str:
        """Why the loop counts as dead; empty where it is alive."""
        age = time.monotonic() - self.beat
        return f"the loop has not turned for {age:.0f} s" if age > STALLED_AFTER else ""

    def unready(self) -> str:
        """Why BIRD does not, or may not, run what etcd asks for; empty where it does."""
        if self.outcome and self.outcome.waits_for:
            return f"waiting for {self.outcome.waits_for} in etcd"
        if self.hold:
            return f"held: {self.hold.loss.reason}; `rrwatch release` lets it go ahead"
        if self.outcome is None and self.template_error:
            return f"templates: {self.template_error}"
        if self.outcome is None:
            return f"etcd has not answered yet: {self.etcd.trouble or 'connecting'}"
        reasons = [
            f"{target.name} {result.applied.state.value}: {result.applied.message}"
            for target, result in self.outcome.results.items()
            if result.applied.state is not State.CONFIRMED
        ]
        if self.template_error:
            reasons.append(f"templates: {self.template_error}")
        return "; ".join(reasons)

    @property
    def is_settled(self) -> bool:
        """Whether BIRD runs what it should, or rrwatch knows what it waits for; failures to reach etcd do not count."""
        return bool(self.outcome or self.template_error)

    def summary(self) -> str:
        """One line for the service manager: what BIRD runs, or what rrwatch waits for."""
        if not self.is_settled:
            return f"waiting for etcd: {self.etcd.trouble or 'connecting'}"
        results = self.outcome.results.items() if self.outcome else ()
        state = self.unready() or "; ".join(
            f"{target.name} confirmed: {len(result.wanted.blocks)} sessions" for target, result in results
        )
        return f"{state}; etcd does not answer: {self.etcd.trouble}" if self.etcd.trouble else state

    def document(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        etcd = self.etcd
        derived = self.outcome.derived if self.outcome else None
        results = self.outcome.results if self.outcome else {}
        numbers = self.session_totals()
        return {
            "viewer": self.role,
            "ready": not self.unready(),
            "reason": self.unready() or None,
            "not_ready_since": None if self.not_ready_since is None else iso(self.not_ready_since),
            "etcd": {
                "endpoint": etcd.endpoint,
                "index": etcd.index,
                "keys": etcd.keys,
                "events": etcd.events,
                "last_answer_age_s": None if etcd.heard_at is None else round(time.monotonic() - etcd.heard_at, 1),
                "trouble": etcd.trouble or None,
            },
            "daemons": {
                target.name: {
                    **_daemon(target, result),
                    **totals_document(numbers[target.name]),
                    **_poll(self.observed.get(target.name) or ObservedBird()),
                }
                for target, result in results.items()
            },
            "down_longest": [row.document() for row in down_longest(self.session_rows())],
            "held": self._held(),
            "recent": list(self.recent),
            "rejected": _remarks(derived.rejected) if derived else [],
            "warnings": _remarks(derived.warnings) if derived else [],
            "template_error": self.template_error or None,
        }

    def _held(self) -> dict[str, Any] | None:
        if self.hold is None:
            return None
        return {
            "reason": self.hold.loss.reason,
            "since": iso(self.hold.since),
            "nodes": list(self.hold.loss.nodes),
            "sessions": list(self.hold.loss.sessions),
        }


def _daemon(target: Target, result: Result) -> Mapping[str, Any]:
    applied = result.applied
    return {
        "state": applied.state.value,
        "message": applied.message or None,
        "config": str(target.config),
        "socket": str(target.socket),
        "wanted_generation": result.wanted.generation,
        "installed_generation": applied.on_disk,
        "confirmed_generation": applied.running,
        "version": applied.version and str(applied.version),
        "sessions": len(result.wanted.blocks),
    }


def _poll(bird: ObservedBird) -> dict[str, Any]:
    return {
        "polled_at": None if bird.polled_at is None else iso(max(0.0, bird.epoch + bird.polled_at)),
        "poll_ms": None if bird.poll_seconds is None else round(bird.poll_seconds * 1000, 1),
        "poll_error": bird.poll_error or None,
    }


def _remarks(remarks: tuple[Remark, ...]) -> list[dict[str, str]]:
    return [{"key": remark.key, "reason": remark.reason} for remark in remarks]

"""How things stand: one immutable value, and what health checks and people are told of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rrwatch.archive.freeze import Frozen, Pending
from rrwatch.bgp.topology import Remark
from rrwatch.bird.apply import State
from rrwatch.bird.plan import Plan
from rrwatch.bird.refusal import Refusal
from rrwatch.bird.render import generation_in
from rrwatch.bird.target import Target
from rrwatch.guard.baseline import Hold
from rrwatch.report.document import heading
from rrwatch.report.history import Counters
from rrwatch.report.hooks import Counts
from rrwatch.report.outcome import Outcome, Result
from rrwatch.report.sessions import (
    Moment,
    ObservedBird,
    SessionRow,
    Totals,
    down_longest,
    rows,
    totals,
    totals_document,
)
from rrwatch.report.text import iso

STALLED_AFTER = 60.0
"""Seconds without a turn of the loop after which it counts as dead; its longest wait is for two BIRDs that hang."""

ETCD_STALE_AFTER = 120.0
"""Seconds without an answer of etcd after which what is known of it counts as stale. A quiet etcd is
asked every `etcd_watch_timeout`, 20 by default."""

LISTED_MAX = 100
"""Entries that a list in the status has at most; beside it is the number of all."""


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
        asked_at: when etcd was asked first, on the monotonic clock, None where it was not asked yet.
    """

    endpoint: str = ""
    index: int | None = None
    heard_at: float | None = None
    keys: int = 0
    trouble: str = ""
    events: int = 0
    lists: int = 0
    failures: int = 0
    asked_at: float | None = None

    @property
    def is_stale(self) -> bool:
        """Whether etcd has not answered for so long that it may ask for something else by now."""
        last = self.asked_at if self.heard_at is None else self.heard_at
        return last is not None and time.monotonic() - last > ETCD_STALE_AFTER

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
        role: who this is: `reflector` or `node`, and after a space which one.
        beat: that moment, on the monotonic clock.
        outcome: of the last pass, None where there was none yet.
        template_error: why the operator's templates are not in use, empty where they are.
        hold: what the guard holds, None where nothing is held.
        frozen: what BIRD keeps whatever etcd asks for, None where nothing is frozen.
        pending: the rollback that waits for its confirmation, None where none does.
        waiting: what waits for a thaw, by the names of daemons; None where nothing is frozen, or that is not known.
        not_ready_since: Unix time since when it is not ready, None where it is.
        ready_since: Unix time since when it is ready, None where it is not.
        started_at: Unix time when rrwatch started, None where that is not known.
        counters, recent: what was done, see `rrwatch.report.history`.
        observed: what each BIRD said about its sessions, by the name of the BIRD.
        session_metrics: whether there is a metric for each session.
        hooks: what has become of the events for hooks, see `rrwatch.report.hooks`.
    """

    role: str
    beat: float
    etcd: EtcdStatus
    outcome: Outcome | None
    template_error: str
    hold: Hold | None = None
    frozen: Frozen | None = None
    pending: Pending | None = None
    waiting: Mapping[str, Plan] | None = None
    not_ready_since: float | None = None
    ready_since: float | None = None
    started_at: float | None = None
    counters: Mapping[str, Counters] = field(default_factory=dict)
    recent: tuple[dict[str, Any], ...] = ()
    observed: Mapping[str, ObservedBird] = field(default_factory=dict)
    session_metrics: bool = False
    hooks: Counts = field(default_factory=dict)

    def session_rows(self) -> tuple[SessionRow, ...]:
        """The sessions of all BIRDs, wanted and actual; computed for each call, in 10 ms for 5,000."""
        return rows(self.outcome, self.observed, Moment.now(), is_frozen=self.frozen is not None)

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
        is_decided = self.hold or self.frozen or self.pending or self.template_error
        # What a freeze made of BIRD is not what etcd asks for: once it is thawed, etcd must have answered.
        if not is_decided and (self.outcome is None or self.etcd.heard_at is None):
            return self._waiting_for_etcd()
        reasons = [f"held: {self.hold.loss.reason}"] if self.hold else []
        reasons += [
            f"{target.name} {result.applied.state.value}: {result.applied.message}"
            for target, result in (self.outcome.results.items() if self.outcome else ())
            if result.applied.state is not State.CONFIRMED
        ]
        if self.template_error:
            reasons.append(f"templates: {self.template_error}")
        return "; ".join(reasons)

    def explained(self) -> str:
        """What `unready` says, and how a hold ends."""
        release = "; `rrwatch release` lets the held change go ahead" if self.hold else ""
        return f"{self.unready()}{release}"

    @property
    def is_settled(self) -> bool:
        """Whether BIRD runs what it should, or rrwatch knows what it waits for; failures to reach etcd do not count."""
        return bool(self.outcome or self.template_error)

    def summary(self) -> str:
        """One line for the service manager: what BIRD runs, or what rrwatch waits for."""
        if not self.is_settled:
            return self._waiting_for_etcd()
        results = self.outcome.results.items() if self.outcome else ()
        state = self.explained() or "; ".join(
            f"{target.name} confirmed: {len(result.wanted.blocks)} sessions" for target, result in results
        )
        is_away = self.etcd.trouble and state != self._waiting_for_etcd()
        away = f"etcd does not answer: {self.etcd.trouble}" if is_away else ""
        return "; ".join(filter(None, (self.standing(), state, away)))

    def _waiting_for_etcd(self) -> str:
        return f"waiting for etcd: {self.etcd.trouble or 'connecting'}"

    def standing(self) -> str:
        """What is frozen or waits for a confirmation, in one line; empty where nothing is."""
        if self.pending:
            number, until = self.pending.trial.number, iso(self.pending.until)
            return f"rollback to {number} is undone at {until}, unless `rrwatch confirm` keeps it"
        if not self.frozen:
            return ""
        until = f" until {iso(self.frozen.until)}" if self.frozen.until else ""
        counts = self._waiting()
        changes = ", ".join(f"{counts[name]} {name}" for name in ("added", "removed", "changed")) if counts else ""
        waits = f"; waiting for `rrwatch thaw`: sessions {changes}" if changes else ""
        return f"frozen since {iso(self.frozen.since)}{until}: {self.frozen.reason}{waits}"

    def document(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        etcd = self.etcd
        derived = self.outcome.derived if self.outcome else None
        results = self.outcome.results if self.outcome else {}
        reason = self.unready()
        numbers = self.session_totals()
        return {
            **heading("status"),
            "started_at": _iso_or_none(self.started_at),
            "viewer": self.role,
            "ready": not reason,
            "reason": reason or None,
            "stalled": self.stalled() or None,
            "ready_since": _iso_or_none(self.ready_since),
            "not_ready_since": _iso_or_none(self.not_ready_since),
            "etcd": {
                "endpoint": etcd.endpoint,
                "index": etcd.index,
                "keys": etcd.keys,
                "events": etcd.events,
                "last_answer_age_s": None if etcd.heard_at is None else round(time.monotonic() - etcd.heard_at, 1),
                "last_answer_at": _iso_or_none(_unix(etcd.heard_at)),
                "stale": etcd.is_stale,
                "trouble": etcd.trouble or None,
            },
            "daemons": {
                target.name: {
                    **_daemon(target, result, self._refusal(target)),
                    **totals_document(numbers[target.name]),
                    **_poll(self.observed.get(target.name) or ObservedBird()),
                }
                for target, result in results.items()
            },
            "down_longest": [row.document() for row in down_longest(self.session_rows())],
            "held": self._held(),
            "frozen": self._frozen(),
            "pending": self._pending(),
            "recent": list(self.recent),
            "rejected": _remarks(derived.rejected[:LISTED_MAX]) if derived else [],
            "rejected_total": len(derived.rejected) if derived else 0,
            "warnings": _remarks(derived.warnings[:LISTED_MAX]) if derived else [],
            "warnings_total": len(derived.warnings) if derived else 0,
            "template_error": self.template_error or None,
        }

    def records_document(self) -> dict[str, Any]:
        """All records that are left out or have a warning, as JSON has them."""
        derived = self.outcome.derived if self.outcome else None
        return {
            **heading("records"),
            "viewer": self.role,
            "rejected": _remarks(derived.rejected) if derived else [],
            "rejected_total": len(derived.rejected) if derived else 0,
            "warnings": _remarks(derived.warnings) if derived else [],
            "warnings_total": len(derived.warnings) if derived else 0,
        }

    def _refusal(self, target: Target) -> Refusal | None:
        """What this BIRD refuses now, or refused of the newest templates, while it runs what older ones gave."""
        newest = self.outcome.templates.refused.get(target.name) if self.outcome and self.template_error else None
        applied = self.outcome.results[target].applied if self.outcome else None
        return (applied and applied.refusal) or newest

    def _held(self) -> dict[str, Any] | None:
        if self.hold is None:
            return None
        return {
            "reason": self.hold.loss.reason,
            "since": iso(self.hold.since),
            "nodes": list(self.hold.loss.nodes[:LISTED_MAX]),
            "nodes_total": len(self.hold.loss.nodes),
            "sessions": list(self.hold.loss.sessions[:LISTED_MAX]),
            "sessions_total": len(self.hold.loss.sessions),
        }

    def _frozen(self) -> dict[str, Any] | None:
        frozen = self.frozen
        if frozen is None:
            return None
        generations = {name: generation_in(text) for name, text in frozen.texts.items()}
        return {
            "since": iso(frozen.since),
            "reason": frozen.reason,
            "until": iso(frozen.until) if frozen.until else None,
            "number": frozen.number,
            "generation": next(iter(generations.values()), None),
            "waiting": self._waiting(),
        }

    def _waiting(self) -> dict[str, int] | None:
        """How many sessions a thaw would add, remove and change; None where that is not known."""
        if self.waiting is None:
            return None
        plans = self.waiting.values()
        return {
            "added": sum(len(plan.added) for plan in plans),
            "removed": sum(len(plan.removed) for plan in plans),
            "changed": sum(len(plan.changed) for plan in plans),
        }

    def _pending(self) -> dict[str, Any] | None:
        if self.pending is None:
            return None
        return {
            "number": self.pending.trial.number,
            "since": iso(self.pending.since),
            "until": iso(self.pending.until),
        }


def _daemon(target: Target, result: Result, refusal: Refusal | None) -> Mapping[str, Any]:
    applied = result.applied
    return {
        "state": applied.state.value,
        "message": applied.message or None,
        "refused": refusal and refusal.document(),
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


def _iso_or_none(timestamp: float | None) -> str | None:
    return None if timestamp is None else iso(timestamp)


def _unix(monotonic: float | None) -> float | None:
    return None if monotonic is None else time.time() - (time.monotonic() - monotonic)


def _remarks(remarks: tuple[Remark, ...]) -> list[dict[str, str]]:
    return [{"key": remark.key, "reason": remark.reason} for remark in remarks]

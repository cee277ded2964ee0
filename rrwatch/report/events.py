"""Outcomes and news as log events: each told once, when it changes."""

import time
from collections.abc import Iterable

import structlog

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Remark
from rrwatch.bird.apply import Applied, State
from rrwatch.bird.plan import Plan
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar
from rrwatch.datastore.follow import Alarm, Unreachable
from rrwatch.datastore.port import Snapshot
from rrwatch.guard.rule import Held
from rrwatch.report.outcome import Outcome

_MOST = 20  # items of a list in one event; beyond that a count tells more
_REPEAT = 60.0  # seconds after which a lasting outage is told again
_OUTAGE_GAP = 10.0  # seconds without a failure after which the next one is another outage


class EventLog:
    """Tells what happens. It remembers what it told, so that a lasting state makes one line and not one a pass."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("rrwatch")
        self._endpoints: dict[str, str] = {}
        self._waits_for = ""
        self._outage = False
        self._lost_told = self._lost_last = -_REPEAT
        self._held_told = -_REPEAT
        self._states: dict[Target, tuple[State, str]] = {}
        self._rejected: set[Remark] = set()
        self._warnings: set[Remark] = set()
        self._template_error = ""
        self._grammar: set[Grammar | None] = set()

    def started(self, **fields: object) -> None:
        """The daemon runs."""
        self._log.info("started", **fields)

    def reloading(self) -> None:
        """A person wants everything read again."""
        self._log.info("reloading")

    def fault(self, error: Exception, retry_in: float | None) -> None:
        """Something that should not happen; nothing has changed for BIRD."""
        self._log.error("fault", reason=repr(error), retry_in_s=retry_in and round(retry_in, 1), exc_info=error)

    def stopped(self, reason: str) -> None:
        """The daemon ends."""
        self._log.info("stopped", reason=reason)

    def synced(self, snapshot: Snapshot, changed: int) -> None:
        """Etcd was listed."""
        after_outage, self._outage = self._outage, False
        news = after_outage or snapshot.endpoint != self._endpoints.get(snapshot.prefix)
        tell = self._log.info if news else self._log.debug
        self._endpoints[snapshot.prefix] = snapshot.endpoint
        tell(
            "etcd_synced",
            prefix=snapshot.prefix,
            endpoint=snapshot.endpoint,
            index=snapshot.index,
            keys=len(snapshot.items),
            changed=changed,
        )

    def lost(self, lost: Unreachable) -> None:
        """Etcd does not answer; told at once and then every minute."""
        now = time.monotonic()
        # While lists work and watches do not, each list would look like the end of an outage.
        is_new = not self._outage and now - self._lost_last >= _OUTAGE_GAP
        self._outage, self._lost_last = self._outage or is_new, now
        if is_new or now - self._lost_told >= _REPEAT:
            self._lost_told = now
            self._log.warning("etcd_lost", endpoint=lost.endpoint, reason=lost.reason, kept="the last configuration")

    def alarm(self, alarm: Alarm) -> None:
        """Etcd's data took a leap."""
        self._log.error("etcd_alarm", endpoint=alarm.endpoint, reason=alarm.reason)

    def templates_loaded(self, folder: object) -> None:
        """Changed templates are in use."""
        self._template_error = ""
        self._log.info("templates_loaded", folder=str(folder))

    def template_error(self, reason: str, kept: str) -> None:
        """Templates that cannot be used."""
        if reason != self._template_error:
            self._template_error = reason
            self._log.error("template_error", reason=reason, kept=kept)

    def held(self, held: Held | None) -> None:
        """What does not go ahead by itself; None: nothing. Told at once and then every minute."""
        now = time.monotonic()
        if held is None:
            if self._held_told >= 0:
                self._held_told = -_REPEAT
                self._log.info("hold_ended")
        elif now - self._held_told >= _REPEAT:
            self._held_told = now
            self._log.error(
                "held",
                reason=held.reason,
                **_some("nodes_gone", held.nodes),
                **_some("sessions_kept", held.sessions),
                hint="nothing goes ahead until the nodes are back, or `rrwatch release`",
            )

    def state_lost(self, error: Exception) -> None:
        """What must outlive a restart cannot be kept."""
        self._log.error("state_lost", reason=str(error), kept="in memory, until rrwatch ends")

    def waiting_for_key(self, key: str) -> None:
        """A record is missing without which nothing can be said."""
        if key != self._waits_for:
            self._waits_for = key
            self._log.warning("waiting_for_key", key=key, kept="the last configuration")

    def derived(self, derived: Derived) -> None:
        """What is left out, and what will not come up, each once while it lasts."""
        self._waits_for = ""
        rejected: set[Remark] = set(derived.rejected)
        warnings = set(derived.warnings)
        for remark in sorted(rejected - self._rejected, key=lambda remark: remark.key):
            self._log.warning("record_rejected", key=remark.key, reason=remark.reason)
        for remark in sorted(warnings - self._warnings, key=lambda remark: remark.key):
            self._log.warning("record_warning", key=remark.key, reason=remark.reason)
        gone = {remark.key for remark in self._rejected} - {remark.key for remark in rejected}
        for key in sorted(gone):
            self._log.info("record_no_longer_rejected", key=key)
        self._rejected, self._warnings = rejected, warnings

    def bird_known(self, grammar: Grammar | None) -> None:
        """For which BIRD the configuration is written; None: that is not known yet."""
        if grammar in self._grammar:
            return
        self._grammar = {grammar}
        if grammar:
            self._log.info("bird_known", written_for=f"BIRD {grammar.value}")
        else:
            self._log.warning("bird_unknown", hint="it is asked as soon as it runs; bird_version can name it before")

    def bird_restarted(self, target: Target) -> None:
        """Another BIRD listens where one did before."""
        self._log.info("bird_restarted", daemon=target.name, socket=str(target.socket))

    def passed(self, outcome: Outcome, drift: bool, retry_in: float | None) -> None:
        """A pass is over.

        Args:
            drift: it found work although nothing in etcd or the templates had changed.
            retry_in: seconds until the next attempt, where one is due.
        """
        for target, applied in outcome.applied.items():
            self._applied(target, applied, outcome, drift, retry_in)

    def _applied(self, target: Target, applied: Applied, outcome: Outcome, drift: bool, retry_in: float | None) -> None:
        log = self._log.bind(daemon=target.name)
        before, now = self._states.get(target), (applied.state, applied.message)
        self._states[target] = now
        worked = applied.configured or applied.installed
        if drift and before and worked and before[0] is State.CONFIRMED:
            found = "the file was changed by another hand" if applied.installed else "BIRD ran something else"
            log.warning("drift_found", config=str(target.config), found=found)
        if applied.state is State.CONFIRMED:
            if worked:
                log.info(
                    "configured",
                    **_sessions(applied.plan),
                    **_some("cause", outcome.cause),
                    generation=applied.running,
                    version=str(applied.version),
                    sessions=len(outcome.wanted[target].blocks),
                    took_ms=_ms(outcome.took),
                    steps_ms={step: _ms(seconds) for step, seconds in applied.took.items()},
                )
            elif before is None or before[0] is not State.CONFIRMED:
                log.info("confirmed", generation=applied.running, version=str(applied.version))
        elif applied.installed:
            log.info("installed", **_sessions(applied.plan), **_some("cause", outcome.cause), config=str(target.config))
        if applied.state is not State.CONFIRMED and now != before:
            tell = log.info if applied.state is State.WAITING else log.error
            event = {State.WAITING: "waiting_for_bird", State.REFUSED: "refused", State.FAILED: "apply_failed"}
            tell(event[applied.state], reason=applied.message, retry_in_s=retry_in and round(retry_in, 1))


def _sessions(plan: Plan) -> dict[str, object]:
    return {
        **_some("sessions_added", plan.added),
        **_some("sessions_removed", plan.removed),
        **_some("sessions_changed", plan.changed),
    }


def _some(name: str, items: Iterable[str]) -> dict[str, object]:
    items = list(items)
    if len(items) <= _MOST:
        return {name: items}
    return {name: [*items[:_MOST], f"and {len(items) - _MOST} more"], f"{name}_count": len(items)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)

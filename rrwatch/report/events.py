"""Log events: every outcome, and what happens between passes. A lasting state is logged once, when it begins."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

import structlog

from rrwatch.bgp.sessions import Derived, Session
from rrwatch.bgp.topology import Remark
from rrwatch.bird.apply import State
from rrwatch.bird.plan import Plan
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar
from rrwatch.datastore.follow import Alarm, Unreachable
from rrwatch.datastore.port import Snapshot
from rrwatch.errors import BaselineUnreadable
from rrwatch.guard.baseline import Hold
from rrwatch.report.outcome import Outcome, Result, TemplateState, Work
from rrwatch.report.sessions import Lost

_ITEMS_MAX = 20  # of a list in one event; beyond that a count is more useful
_SESSIONS_MAX = 10  # that are logged one by one if they are lost, or come up, between two polls
_REPEAT = 60.0  # seconds after which a lasting outage or hold is logged again
_OUTAGE_GAP = 10.0  # seconds without a failure after which the next one is another outage

_NOT_CONFIRMED = {State.WAITING: "waiting_for_bird", State.REFUSED: "refused", State.FAILED: "apply_failed"}


class EventLog:
    """Writes log events. It remembers what it logged, so that a lasting state makes one line and not one a pass."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("rrwatch")
        self._endpoints: dict[str, str] = {}
        self._waits_for = ""
        self._outage = False
        self._lost_told = self._lost_last = -_REPEAT
        self._held_told = -_REPEAT
        self._rejected: set[Remark] = set()
        self._warnings: set[Remark] = set()
        self._template_error = ""
        self._grammar: set[Grammar | None] = set()

    def started(self, **fields: object) -> None:
        """The daemon starts."""
        self._log.info("started", **fields)

    def reloading(self) -> None:
        """An operator asked for everything to be read again."""
        self._log.info("reloading")

    def fault(self, error: Exception, retry_in: float | None) -> None:
        """A pass failed with a defect of rrwatch; nothing has changed for BIRD."""
        self._log.error("fault", reason=repr(error), retry_in_s=retry_in and round(retry_in, 1), exc_info=error)

    def stopped(self, reason: str) -> None:
        """The daemon ends."""
        self._log.info("stopped", reason=reason)

    def synced(self, snapshot: Snapshot, changed: int) -> None:
        """A folder of the datastore was listed."""
        after_outage, self._outage = self._outage, False
        is_news = after_outage or snapshot.endpoint != self._endpoints.get(snapshot.prefix)
        write = self._log.info if is_news else self._log.debug
        self._endpoints[snapshot.prefix] = snapshot.endpoint
        write(
            "etcd_synced",
            prefix=snapshot.prefix,
            endpoint=snapshot.endpoint,
            index=snapshot.index,
            keys=len(snapshot.items),
            changed=changed,
        )

    def lost(self, lost: Unreachable) -> None:
        """The datastore does not answer; logged at once and then every minute."""
        now = time.monotonic()
        # While lists work and watches do not, each list would look like the end of an outage.
        is_new = not self._outage and now - self._lost_last >= _OUTAGE_GAP
        self._outage, self._lost_last = self._outage or is_new, now
        if is_new or now - self._lost_told >= _REPEAT:
            self._lost_told = now
            self._log.warning("etcd_lost", endpoint=lost.endpoint, reason=lost.reason, kept="the last configuration")

    def alarm(self, alarm: Alarm) -> None:
        """The datastore is not the continuation of what it was."""
        self._log.error("etcd_alarm", endpoint=alarm.endpoint, reason=alarm.reason)

    def templates(self, state: TemplateState) -> None:
        """How the operator's templates stand."""
        if state.loaded:
            self._log.info("templates_loaded", folder=str(state.loaded))
        if state.error and state.error != self._template_error:
            self._log.error("template_error", reason=state.error, kept=state.kept)
        self._template_error = state.error

    def state_lost(self, error: Exception) -> None:
        """What must survive a restart cannot be read or written."""
        unreadable = isinstance(error, BaselineUnreadable)
        kept = "the sessions that BIRD has" if unreadable else "in memory, until rrwatch ends"
        self._log.error("state_lost", reason=str(error), kept=kept)

    def sessions_moved(self, daemon: str, lost: Sequence[Lost], up: Sequence[str], sessions: Iterable[Session]) -> None:
        """Sessions of a BIRD were lost, or came up; many at once make one line.

        Args:
            sessions: those that are derived, whose nodes are named.
        """
        log, some = self._log.bind(daemon=daemon), {one.name for one in lost[:_SESSIONS_MAX]} | set(up[:_SESSIONS_MAX])
        nodes = {session.name: session.node for session in sessions if session.name in some} if some else {}
        if len(lost) > _SESSIONS_MAX:
            ((error, _),) = Counter(one.error for one in lost).most_common(1)
            names = [one.name for one in lost[:_SESSIONS_MAX]]
            log.warning("session_lost", count=len(lost), sessions=names, last_error=error or None)
        else:
            for one in lost:
                log.warning(
                    "session_lost",
                    session=one.name,
                    node=nodes.get(one.name),
                    state=one.state,
                    last_error=one.error or None,
                    up_for_s=round(one.up_for, 1),
                )
        if len(up) > _SESSIONS_MAX:
            log.info("session_up", count=len(up), sessions=list(up[:_SESSIONS_MAX]))
        else:
            for name in up:
                log.info("session_up", session=name, node=nodes.get(name))

    def passed(self, outcome: Outcome) -> None:
        """A pass is over."""
        self._bird_known(outcome.grammar)
        self._waiting_for_key(outcome.waits_for)
        if outcome.derived:
            self._derived(outcome.derived)
        self._held(outcome.hold)
        for target in outcome.restarted:
            self._log.info("bird_restarted", daemon=target.name, socket=str(target.socket))
        self.templates(outcome.templates)
        for target, result in outcome.results.items():
            self._result(target, result, outcome)

    def _held(self, hold: Hold | None) -> None:
        now = time.monotonic()
        if hold is None:
            if self._held_told >= 0:
                self._held_told = -_REPEAT
                self._log.info("hold_ended")
        elif now - self._held_told >= _REPEAT:
            self._held_told = now
            self._log.error(
                "held",
                reason=hold.loss.reason,
                **_some("nodes_gone", hold.loss.nodes),
                **_some("sessions_kept", hold.loss.sessions),
                hint="these sessions stay until their records are back, or until `rrwatch release`"
                if not hold.frozen
                else "BIRD keeps all that it has until the records are back, or until `rrwatch release`",
            )

    def _waiting_for_key(self, key: str) -> None:
        if key and key != self._waits_for:
            self._log.warning("waiting_for_key", key=key, kept="the last configuration")
        self._waits_for = key

    def _derived(self, derived: Derived) -> None:
        """Logs what is left out, and what will not come up: each once while it lasts."""
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

    def _bird_known(self, grammar: Grammar | None) -> None:
        if grammar in self._grammar:
            return
        self._grammar = {grammar}
        if grammar:
            self._log.info("bird_known", written_for=f"BIRD {grammar.value}")
        else:
            self._log.warning("bird_unknown", hint="it is asked as soon as it runs; bird_version can name it before")

    def _result(self, target: Target, result: Result, outcome: Outcome) -> None:
        log, applied = self._log.bind(daemon=target.name), result.applied
        worked = result.work in (Work.CHANGE, Work.REPAIR)
        if result.work is Work.REPAIR:
            found = "the file was changed by another program" if applied.installed else "BIRD ran something else"
            log.warning("drift_found", config=str(target.config), found=found)
        if applied.state is State.CONFIRMED and worked:
            log.info(
                "configured",
                **_sessions(applied.plan),
                **_some("cause", outcome.cause),
                generation=applied.running,
                version=str(applied.version),
                sessions=len(result.wanted.blocks),
                took_ms=_ms(outcome.took),
                steps_ms={step: _ms(seconds) for step, seconds in applied.took.items()},
            )
        elif applied.state is State.CONFIRMED and not result.was_confirmed:
            log.info("confirmed", generation=applied.running, version=str(applied.version))
        elif applied.installed:
            log.info("installed", **_sessions(applied.plan), **_some("cause", outcome.cause), config=str(target.config))
        if applied.state is not State.CONFIRMED and result.is_new:
            write = log.info if applied.state is State.WAITING else log.error
            retry_in_s = outcome.retry_in and round(outcome.retry_in, 1)
            write(_NOT_CONFIRMED[applied.state], reason=applied.message, retry_in_s=retry_in_s)


def _sessions(plan: Plan) -> dict[str, object]:
    return {
        **_some("sessions_added", plan.added),
        **_some("sessions_removed", plan.removed),
        **_some("sessions_changed", plan.changed),
    }


def _some(name: str, items: Iterable[str]) -> dict[str, object]:
    items = list(items)
    if len(items) <= _ITEMS_MAX:
        return {name: items}
    return {name: [*items[:_ITEMS_MAX], f"and {len(items) - _ITEMS_MAX} more"], f"{name}_count": len(items)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)

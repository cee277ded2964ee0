"""What the BIRDs said about their sessions, remembered: since when, why, how often lost. Pure: no I/O, no clock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from rrwatch.bird.plan import Plan
from rrwatch.bird.protocols import BgpProtocol, age
from rrwatch.report.sessions import ESTABLISHED, HOUR, Lost, Moment, ObservedBird, ObservedSession

BIRD_STOPPED = "BIRD stopped"
"""The error of sessions that were lost because their BIRD ended."""

_NOT_CONFIGURED = "not in BIRD's configuration"
_RECONFIGURED = "its configuration was changed"
_WORDS = (BIRD_STOPPED, _NOT_CONFIGURED, _RECONFIGURED)  # which rrwatch says where BIRD names no error

_JITTER = 3.0  # seconds by which BIRD 1.6 may show one moment differently, and the age of the time that BIRD tells
_CLOCK_SET = 2.0  # seconds of difference between the clocks from which on the wall clock counts as set
_LOSSES_MAX = 1000  # of one session, or polls of one BIRD, whose times are remembered for the last hour


@dataclass(frozen=True, slots=True)
class Observation:
    """What one poll of one BIRD found.

    Attributes:
        daemon: the name of the BIRD.
        at: when BIRD was asked.
        took: seconds until its answer was read.
        birth: a number that differs for each BIRD that is started, see `rrwatch.bird.detect.birth`.
        sessions: as `rrwatch.bird.protocols.bgp_protocols` returned them; None if BIRD did not answer.
        server_time: BIRD's own time, None if it did not tell.
        causes: why sessions ended since the poll before, by the name of the session, as BIRD logged it.
        error: why BIRD did not answer, empty if it did.
        stopped: BIRD does not run.
    """

    daemon: str
    at: Moment
    took: float = 0.0
    birth: int = 0
    sessions: Mapping[str, BgpProtocol] | None = None
    server_time: datetime | None = None
    causes: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Transitions:
    """The sessions that were lost, and those that came up, between two polls of one BIRD."""

    lost: tuple[Lost, ...] = ()
    up: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of one BIRD, over restarts of rrwatch too.

    Attributes:
        birth: of the BIRD that answered last.
        heard_at: when that was, on the monotonic clock; None if none has answered yet.
        observed: what it said.
    """

    birth: int = 0
    heard_at: float | None = None
    observed: ObservedBird = field(default_factory=ObservedBird)


class SessionTable:
    """The table of all sessions of the BIRDs. It belongs to the loop; the values that it returns never change."""

    def __init__(self, remembered: Mapping[str, Remembered] | None = None) -> None:
        """Begins with what was remembered, by the names of BIRDs; nothing of it counts as known before a poll."""
        self._birds = {
            daemon: replace(bird, observed=replace(bird.observed, losses_before=bird.observed.losses))
            for daemon, bird in (remembered or {}).items()
        }
        self._lines: dict[str, Mapping[str, BgpProtocol]] = {}
        self._applied_at: dict[str, float] = {}
        self._changed: dict[str, set[str]] = {}

    @property
    def remembered(self) -> Mapping[str, Remembered]:
        """What must survive a restart, by the names of BIRDs."""
        return dict(self._birds)

    @property
    def observed(self) -> Mapping[str, ObservedBird]:
        """What each BIRD said, by the names of BIRDs."""
        return {daemon: bird.observed for daemon, bird in self._birds.items()}

    def applied(self, daemon: str, plan: Plan, at: float) -> None:
        """Takes note of a change that rrwatch made. The end of a session that it removed is no loss.

        Args:
            at: when the change was complete, on the monotonic clock; polls before that are ignored.
        """
        self._applied_at[daemon] = at
        self._changed.setdefault(daemon, set()).update(plan.changed)
        bird = self._birds.get(daemon)
        if bird and plan.removed:
            sessions = dict(bird.observed.sessions)
            for name in plan.removed:
                sessions.pop(name, None)
            self._birds[daemon] = replace(bird, observed=replace(bird.observed, sessions=sessions))
            # The same answer again would mean that BIRD still has them.
            self._lines[daemon] = dict(self._lines.get(daemon, {}))

    def take(self, seen: Observation, wanted: Collection[str]) -> Transitions:
        """Takes the result of one poll.

        Args:
            wanted: the names of the sessions that this BIRD should have.
        """
        daemon = seen.daemon
        if seen.at.monotonic < self._applied_at.get(daemon, seen.at.monotonic):
            return Transitions()
        bird = self._birds.get(daemon, Remembered())
        epoch = seen.at.unix - seen.at.monotonic
        if abs(epoch - bird.observed.epoch) > _CLOCK_SET:
            bird = replace(bird, observed=replace(bird.observed, epoch=epoch))
        if seen.sessions is None and not seen.stopped:
            self._birds[daemon] = replace(
                bird, observed=replace(bird.observed, known=False, poll_error=seen.error or "BIRD does not answer")
            )
            return Transitions()
        poll = _Poll(seen, bird, self._lines.pop(daemon, {}), self._changed.pop(daemon, set()), wanted)
        if seen.sessions is not None:
            self._lines[daemon] = seen.sessions
        self._birds[daemon] = poll.result()
        return Transitions(tuple(poll.lost), tuple(poll.up) if bird.heard_at is not None else ())


class _Poll:
    """One poll that tells how the sessions are, compared with what was known before it."""

    def __init__(
        self,
        seen: Observation,
        bird: Remembered,
        lines: Mapping[str, BgpProtocol],
        changed: Collection[str],
        wanted: Collection[str],
    ) -> None:
        self._seen, self._bird, self._changed = seen, bird, changed
        self._now = seen.at.monotonic
        self._sessions = dict(bird.observed.sessions)
        self._ages: dict[str, float | None] = {}
        self.lost: list[Lost] = []
        self.up: list[str] = []
        if seen.stopped or bird.birth not in (0, seen.birth):
            lines = {}
            for name in self._sessions:
                self._gone(name, BIRD_STOPPED)
        if seen.sessions is not None:
            self._compare(seen.sessions, lines, wanted)

    def result(self) -> Remembered:
        """Returns what is known after the poll."""
        seen, before, now = self._seen, self._bird.observed, self._now
        lost_at = tuple((at, number) for at, number in before.lost_at if at > now - HOUR)
        if self.lost:
            lost_at = (*lost_at[-_LOSSES_MAX:], (now, len(self.lost)))
        answered = seen.sessions is not None
        observed = replace(
            before,
            sessions=self._sessions,
            known=True,
            polled_at=now if answered else before.polled_at,
            poll_seconds=seen.took if answered else before.poll_seconds,
            poll_error=seen.error,
            losses=before.losses + len(self.lost),
            lost_at=lost_at,
        )
        if answered:
            return Remembered(seen.birth, now, observed)
        return replace(self._bird, observed=observed)

    def _compare(
        self, sessions: Mapping[str, BgpProtocol], lines: Mapping[str, BgpProtocol], wanted: Collection[str]
    ) -> None:
        causes = self._seen.causes
        if sessions is lines and not causes:
            return
        for line, protocol in sessions.items():
            before = self._sessions.get(protocol.name)
            if before is None or lines.get(line) is not protocol or protocol.name in causes:
                self._sessions[protocol.name] = self._after(before, protocol)
        for name in self._sessions.keys() - {protocol.name for protocol in sessions.values()}:
            if name in wanted:
                self._gone(name, _NOT_CONFIGURED)
            else:
                del self._sessions[name]

    def _gone(self, name: str, error: str) -> None:
        """A session that BIRD does not have."""
        before = self._sessions[name]
        if before.up:
            self._sessions[name] = self._after_loss(name, before, None, error, self._now)
        elif before.state is not None:
            self._sessions[name] = replace(before, state=None)

    def _after(self, before: ObservedSession | None, protocol: BgpProtocol) -> ObservedSession:
        name, state, up = protocol.name, protocol.state, protocol.state == ESTABLISHED
        changed_at, error = self._changed_at(protocol), self._seen.causes.get(name, "") or protocol.error
        if before is None:
            if up:
                self.up.append(name)
            return ObservedSession(state, self._now if changed_at is None else changed_at, "" if up else error)
        at = changed_at if changed_at is not None and changed_at > before.since else self._now
        if before.up and (not up or self._came_back(before, changed_at)):
            error = error or (_RECONFIGURED if name in self._changed else "")
            after = self._after_loss(name, before, state, error, at)
            if up:
                self.up.append(name)
            return after
        if up and not before.up:
            self.up.append(name)
            # An error is kept if it tells of a loss; that of the attempts before the session came up is of no use.
            return replace(before, state=state, since=at, last_error=before.last_error if before.losses else "")
        error = before.last_error if up else _newer_error(before, error)
        same = (before.state, before.last_error) == (state, error)
        # Quicker than `replace`: of thousands of sessions that try to connect, most differ in each poll.
        return before if same else ObservedSession(state, before.since, error, before.losses, before.lost_at)

    def _came_back(self, before: ObservedSession, changed_at: float | None) -> bool:
        """Whether a session that is up was lost, and came up again, since the poll before."""
        heard_at = self._bird.heard_at
        if changed_at is None or heard_at is None:
            return False
        return changed_at > before.since + _JITTER and changed_at > heard_at - _JITTER

    def _after_loss(
        self, name: str, before: ObservedSession, state: str | None, error: str, at: float
    ) -> ObservedSession:
        self.lost.append(Lost(name, state, error, max(0.0, at - before.since)))
        recent = tuple(one for one in before.lost_at if one > self._now - HOUR)
        return ObservedSession(state, at, error, before.losses + 1, (*recent[-_LOSSES_MAX:], at))

    def _changed_at(self, protocol: BgpProtocol) -> float | None:
        """When BIRD's protocol came into its state, on the monotonic clock; None if BIRD's text does not tell."""
        clock, since = self._seen.server_time, protocol.since
        if clock is None:
            return None
        if since not in self._ages:  # many sessions came up at the same time
            self._ages[since] = age(since, clock)
        seconds = self._ages[since]
        return None if seconds is None else self._now - seconds


def _newer_error(before: ObservedSession, error: str) -> str:
    """The error of a session that is still down.

    BIRD goes on trying to connect, and shows why the last attempt failed. That must not hide why a session was lost.
    """
    is_lost = before.losses and before.last_error and before.last_error not in _WORDS
    is_attempt = error.startswith("Socket: ")
    return before.last_error if not error or (is_attempt and is_lost) else error

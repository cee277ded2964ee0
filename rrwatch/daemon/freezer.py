"""Freezes and rollbacks: what operators ask for, when it ends, and what BIRD keeps meanwhile."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from rrwatch.archive.archive import Archive
from rrwatch.archive.freeze import FreezeFiles, Frozen, Standing
from rrwatch.archive.requests import Answer, Command, Request, RequestFiles, Result
from rrwatch.bird.apply import Applied, State
from rrwatch.bird.plan import Plan
from rrwatch.bird.render import Rendered, installed
from rrwatch.bird.target import BirdPaths, Target
from rrwatch.bird.version import Grammar
from rrwatch.daemon.birds import Bird
from rrwatch.errors import BirdAbsent, BirdError, BirdRefused, InstallError, LintError, StateError, Stopping
from rrwatch.report.outcome import Outcome
from rrwatch.report.text import iso

_UNDO_MARGIN = 2.0
"""Seconds that BIRD may take longer than rrwatch until a rollback is undone: its clock starts after rrwatch's."""

_LOOK_PAUSE, _LOOK_INTERVAL = 0.25, 5.0
"""Seconds between two looks at whether BIRD still runs a rollback that waits for its confirmation."""


class Listener(Protocol):
    """What is told of freezes and rollbacks; `rrwatch.report.events.EventLog` is the real thing."""

    def frozen(self, frozen: Frozen) -> None:
        """BIRD keeps what it runs."""

    def thawed(self, reason: str) -> None:
        """The datastore decides again."""

    def rolled_back(self, number: int, until: float | None) -> None:
        """BIRD runs an older configuration."""

    def rollback_confirmed(self, number: int | None) -> None:
        """An operator confirmed the rollback."""

    def rollback_undone(self, number: int | None, reason: str) -> None:
        """BIRD runs again what it ran before the rollback."""

    def state_lost(self, error: Exception) -> None:
        """What must survive a restart cannot be read or written."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A request whose answer depends on what comes of this pass."""

    request: Request
    text: str


class Freezer:
    """Knows what is frozen. It belongs to the loop."""

    def __init__(
        self,
        files: FreezeFiles,
        requests: RequestFiles,
        role: str,
        archive: Archive,
        paths: BirdPaths,
        bird: Bird,
        listener: Listener,
    ) -> None:
        """Reads what survived the last run."""
        self._files, self._requests, self._role, self._archive = files, requests, role, archive
        self._paths, self._bird, self._listener = paths, bird, listener
        self._standing = Standing()
        self._unreadable = ""
        try:
            self._standing = files.load()
        except StateError as error:
            listener.state_lost(error)
            self._unreadable = str(error)
        self._ends_at = self._end_of(self._standing)
        self._task: _Task | None = None
        self._told = ""
        self._looks: Mapping[Target, Applied] = {}
        self.occasion = ""
        """What `turn` changed, as a word for the history; empty where it changed nothing."""

    @property
    def standing(self) -> Standing:
        """How things stand."""
        return self._standing

    @property
    def frozen(self) -> Frozen | None:
        """What BIRD keeps, None where the datastore decides."""
        return self._standing.in_effect

    @property
    def looks(self) -> Mapping[Target, Applied] | None:
        """How BIRD stands with a rollback that waits for its confirmation; None where there is no such rollback."""
        return self._looks if self._standing.pending else None

    @property
    def has_request(self) -> bool:
        """Whether an operator asks for something."""
        return self._requests.asked(self._role) is not None

    @property
    def is_asked(self) -> bool:
        """Whether this pass answers a request."""
        return self._task is not None

    @property
    def due_in(self) -> float | None:
        """Seconds until `turn` has something to do; None where nothing is to be expected."""
        if self._ends_at is None:
            return None
        left = max(0.0, self._ends_at - time.monotonic())
        return min(max(left, _LOOK_PAUSE), _LOOK_INTERVAL) if self._standing.pending else left

    def wanted(self) -> dict[Target, Rendered]:
        """Returns the configurations that BIRD keeps."""
        return self._configurations(self.frozen.texts) if self.frozen else {}

    def turn(self, running: Callable[[], Mapping[str, str]]) -> None:
        """Takes up what operators ask for, and ends what has run out.

        Args:
            running: the configurations that BIRD runs, by the names of daemons.
        """
        self.occasion = ""
        if self._unreadable:
            self._freeze_unreadable(running())
        if self._standing.untold:
            self._tell_birds()
        elif self._standing.pending:
            self._look()
        elif self._ends_at is not None and time.monotonic() >= self._ends_at:
            self._thaw("its time is over")
        self._tell()
        request = self._requests.asked(self._role)
        if request and not self._task:
            self._take(request, running)

    def finish(self, outcome: Outcome | None, waiting: Mapping[str, Plan] | None) -> None:
        """Answers the request that `turn` took up, if there was one.

        Args:
            outcome: of the pass; None where the datastore has not been heard yet.
            waiting: what waits for a thaw, by daemon; None where that is not known.
        """
        task, self._task = self._task, None
        if task is None:
            return
        request, text = task.request, task.text
        if request.command is Command.PLAN:
            self._answer(request, Result.DONE, text, waiting)
        elif request.command is Command.THAW and outcome is None:
            self._answer(request, Result.DONE, f"{text}; etcd has not answered yet")
        else:
            self._answer(request, *_judged(outcome, text, held=request.command is Command.THAW))

    def _take(self, request: Request, running: Callable[[], Mapping[str, str]]) -> None:
        try:
            match request.command:
                case Command.FREEZE:
                    self._freeze(request, running())
                case Command.THAW | Command.PLAN:
                    self._thaw_asked(request)
                case Command.ROLLBACK:
                    self._roll_back(request, running())
                case Command.CONFIRM:
                    self._confirm(request)
        except (BirdRefused, LintError) as error:
            self._answer(request, Result.REFUSED, f"BIRD refuses it: {error}")
        except (BirdError, InstallError, StateError) as error:
            self._answer(request, Result.FAILED, str(error))
        except Stopping:
            raise
        except Exception as error:
            # A request that meets a defect must not make each pass fail.
            self._answer(request, Result.FAILED, f"a defect of rrwatch, which its log has in full: {error!r}")
            raise

    def _freeze(self, request: Request, texts: Mapping[str, str]) -> None:
        if self._standing.pending:
            self._answer(request, Result.FAILED, self._is_pending())
            return
        until = None if request.seconds is None else min(request.asked_at, time.time()) + request.seconds
        if until is not None and until <= time.time():
            self._answer(request, Result.DONE, "the time of this freeze is over already")
            return
        if self._standing.frozen:
            frozen = replace(self._standing.frozen, id=_new_id(), reason=request.reason, until=until)
        elif texts:
            newest = self._archive.newest()
            number = newest.number if newest and newest.texts == texts else None
            frozen = Frozen(_new_id(), time.time(), request.reason, texts, until, number)
        else:
            self._answer(request, Result.FAILED, "there is no configuration of rrwatch's that BIRD could stay at")
            return
        self._become(Standing(frozen), "freeze")
        self._tell()
        self._answer(request, Result.DONE, f"frozen{f', until {iso(until)}' if until else ''}: {request.reason}")

    def _freeze_unreadable(self, texts: Mapping[str, str]) -> None:
        reason, self._unreadable = self._unreadable, ""
        if texts:
            self._standing = Standing(Frozen(_new_id(), time.time(), f"{reason}; `rrwatch thaw` ends it", texts))

    def _thaw_asked(self, request: Request) -> None:
        if self._standing.pending:
            self._answer(request, Result.HELD, self._is_pending())
        elif not self._standing.frozen:
            self._answer(request, Result.DONE, "nothing is frozen")
        elif request.command is Command.PLAN:
            self._task = _Task(request, f"frozen: {self._standing.frozen.reason}")
        else:
            self._thaw("an operator asked for it")
            self._task = _Task(request, "thawed")

    def _thaw(self, reason: str) -> None:
        self._become_anyway(Standing(), "thaw")
        self._listener.thawed(reason)

    def _roll_back(self, request: Request, running: Mapping[str, str]) -> None:
        number = request.number or 0
        texts = self._archive.texts(number)
        if texts is None:
            self._answer(request, Result.MISSING, f"there is no configuration {number}; `rrwatch history` lists them")
            return
        # A BIRD that configuration N does not know keeps what it has.
        trial = Frozen(_new_id(), time.time(), f"rollback to {number}", {**running, **texts}, number=number)
        wanted = self._configurations(trial.texts)
        if not wanted:
            self._answer(request, Result.FAILED, f"no BIRD of this host could run configuration {number}")
            return
        for target, rendered in wanted.items():
            self._bird.trial(target, rendered).check()
        if request.seconds is None:
            self._become(Standing(trial), f"rollback to {number}")
            self._listener.rolled_back(number, None)
            self._tell()
            self._task = _Task(request, f"rolled back to {number}, and frozen; `rrwatch thaw` ends it")
        elif self._standing.pending:
            self._answer(request, Result.FAILED, self._is_pending())
        else:
            self._try_out(request, trial, wanted, running)

    def _try_out(
        self, request: Request, trial: Frozen, wanted: Mapping[Target, Rendered], running: Mapping[str, str]
    ) -> None:
        before, seconds = self._standing, max(1, round(request.seconds or 0))
        since = time.time()
        reason = f"rollback to {trial.number} was not confirmed, and BIRD undid it; `rrwatch thaw` ends this freeze"
        undone = before.frozen or Frozen(_new_id(), since, reason, running)
        self._become(before.begun(trial, undone, since, since + seconds), f"rollback to {trial.number}")
        looks: dict[Target, Applied] = {}
        try:
            for target, rendered in wanted.items():
                looks[target] = self._bird.trial(target, rendered).begin(seconds)
        except (BirdError, InstallError, LintError):
            for target in wanted:
                self._undo(target, wanted[target])
            self._become_anyway(before, "")
            raise
        self._looks = looks
        self._ends_at = time.monotonic() + seconds
        self._listener.rolled_back(trial.number or 0, since + seconds)
        text = f"BIRD runs configuration {trial.number}, and undoes that{_at(since + seconds)}"
        self._answer(request, Result.DONE, f"{text}; `rrwatch confirm` keeps it")

    def _undo(self, target: Target, rendered: Rendered) -> None:
        try:
            self._bird.trial(target, rendered).undo()
        except BirdError as error:
            # BIRD does so itself when its time is over.
            self._listener.rollback_undone(None, f"{target.name} could not be told: {error}")

    def _confirm(self, request: Request) -> None:
        pending = self._standing.pending
        if pending is None:
            self._answer(request, Result.FAILED, "no rollback waits for a confirmation")
            return
        # From here on the rollback is decided, whatever happens to rrwatch or to BIRD.
        self._become(self._standing.confirmed(), f"rollback to {pending.trial.number}")
        self._tell_birds()
        self._listener.rollback_confirmed(pending.trial.number)
        self._tell()
        text = f"rollback to {pending.trial.number} is confirmed, and frozen; `rrwatch thaw` ends it"
        self._task = _Task(request, text)

    def _tell_birds(self) -> None:
        """Makes BIRD keep a rollback that is confirmed; where that fails, the next pass tries again."""
        try:
            for target, rendered in self.wanted().items():
                with contextlib.suppress(BirdAbsent):  # when it starts, it has nothing to undo
                    self._bird.trial(target, rendered).confirm()
        except (BirdError, InstallError):
            return
        self._become_anyway(self._standing.told(), self.occasion)

    def _look(self) -> None:
        """Finds out how a rollback stands that waits for its confirmation."""
        pending = self._standing.pending
        if pending is None:
            return
        wanted = self._configurations(pending.trial.texts)
        self._looks = {target: self._bird.trial(target, rendered).look() for target, rendered in wanted.items()}
        is_over = self._ends_at is not None and time.monotonic() >= self._ends_at + _UNDO_MARGIN
        others = [look for look in self._looks.values() if look.version and look.state is not State.CONFIRMED]
        if not (is_over or others):
            return
        expired = self._ends_at is not None and time.monotonic() >= self._ends_at
        reason = "it was not confirmed in time" if expired else others[0].message
        for target, rendered in wanted.items():
            if self._looks[target].state is State.CONFIRMED:
                self._undo(target, rendered)
        self._become_anyway(self._standing.undone(), f"rollback to {pending.trial.number} undone")
        self._listener.rollback_undone(pending.trial.number, reason)

    def _become(self, standing: Standing, occasion: str) -> None:
        """Writes how things stand from now on.

        Raises:
            StateError: it cannot be written, and things stand as they did.
        """
        self._files.save(standing)
        self._standing, self._ends_at, self.occasion = standing, self._end_of(standing), occasion

    def _become_anyway(self, standing: Standing, occasion: str) -> None:
        """The same for what happens in any case: if it cannot be written, it is kept in memory."""
        try:
            self._become(standing, occasion)
        except StateError as error:
            self._listener.state_lost(error)
            self._standing, self._ends_at, self.occasion = standing, self._end_of(standing), occasion

    def _tell(self) -> None:
        frozen = self._standing.frozen
        if frozen and not self._standing.pending and frozen.id != self._told:
            self._listener.frozen(frozen)
        self._told = frozen.id if frozen else ""

    def _answer(self, request: Request, result: Result, text: str, waiting: Mapping[str, Plan] | None = None) -> None:
        plans = {
            name: {"added": list(plan.added), "removed": list(plan.removed), "changed": list(plan.changed)}
            for name, plan in (waiting or {}).items()
        }
        try:
            self._requests.answer(Answer(request.id, result, text, plans))
        except StateError as error:
            self._listener.state_lost(error)

    def _is_pending(self) -> str:
        pending = self._standing.pending
        number, until = (pending.trial.number, pending.until) if pending else (None, None)
        return f"rollback to {number} waits for `rrwatch confirm`; BIRD undoes it{_at(until)}"

    def _configurations(self, texts: Mapping[str, str]) -> dict[Target, Rendered]:
        """Returns texts as configurations of the BIRDs of this host."""
        found = ((name, installed(text)) for name, text in texts.items())
        return {
            target: rendered
            for name, rendered in found
            if rendered and rendered.grammar
            for target in _named(self._paths, rendered.grammar, name)
        }

    @staticmethod
    def _end_of(standing: Standing) -> float | None:
        """When it ends by itself, on the monotonic clock; a clock that was set back does not make it longer."""
        ends, begun = None, 0.0
        if standing.pending:
            ends, begun = standing.pending.until, standing.pending.since
        elif standing.frozen:
            ends, begun = standing.frozen.until, standing.frozen.since
        return None if ends is None else time.monotonic() + min(ends - time.time(), max(0.0, ends - begun))


def _at(until: float | None) -> str:
    """Returns a time as the end of a sentence; empty where there is none."""
    return "" if until is None else f" at {iso(until)}"


def _named(paths: BirdPaths, grammar: Grammar, name: str) -> Iterable[Target]:
    return (target for target in paths.targets(grammar) if target.name == name)


def _judged(outcome: Outcome | None, text: str, *, held: bool) -> tuple[Result, str]:
    """Returns what came of a request by the pass that carried it out."""
    if outcome is None:
        return Result.FAILED, f"{text}; but nothing could be applied yet"
    for state, result in (State.REFUSED, Result.REFUSED), (State.FAILED, Result.FAILED):
        for target, one in outcome.results.items():
            if one.applied.state is state:
                return result, f"{text}; but {target.name} {state.value}: {one.applied.message}"
    if held and outcome.hold:
        return Result.HELD, f"{text}; but held: {outcome.hold.loss.reason}; `rrwatch release` lets it go ahead"
    for target, one in outcome.results.items():
        if one.applied.state is State.WAITING:
            return Result.DONE, f"{text}; {target.name} finds it when it starts"
    return Result.DONE, text


def _new_id() -> str:
    return f"{time.time_ns():x}-{os.getpid():x}"

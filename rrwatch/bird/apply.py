"""The sequence of a change: stage, check, replace, configure, confirm; or restore the previous configuration."""

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from rrwatch.bird import program
from rrwatch.bird.config_file import ConfigFile, Stamp
from rrwatch.bird.control import Connection, connect
from rrwatch.bird.detect import birth
from rrwatch.bird.lint import lint, require_sessions
from rrwatch.bird.plan import NOTHING, Plan, compared, plan
from rrwatch.bird.refusal import Refusal, locate
from rrwatch.bird.render import Rendered, generation_in
from rrwatch.bird.syntax import session_names
from rrwatch.bird.target import Target
from rrwatch.bird.version import Version, version_in
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdAbsent, BirdElsewhere, BirdError, BirdRefused, InstallError, LintError

TIMEOUT = 20.0
"""Seconds for all steps with one BIRD. BIRD was seen busy for up to 10 s with peers that read slowly."""


class State(Enum):
    """The result of an attempt; the values appear in logs and in the status."""

    CONFIRMED = "confirmed"
    WAITING = "waiting"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of one attempt to make BIRD run a configuration.

    Attributes:
        state: CONFIRMED: BIRD reports that it runs this generation. WAITING: the file is in place, and BIRD does not
            run. REFUSED: BIRD, or the lint before it, rejected the text; file and BIRD are as they were. FAILED:
            anything else.
        message: why the state is not CONFIRMED, in one line; empty if it is.
        installed: whether the file was replaced.
        configured: whether BIRD was told to read the text, and accepted it.
        running: the generation that BIRD reported last; None if unknown.
        on_disk: the generation of the file as it is now; None if it is missing or not rrwatch's.
        version: the release of the BIRD that answered; None if none did.
        plan: what the text changes, compared with the file as it was.
        refusal: where the fault is; None unless the state is REFUSED.
        took: seconds of each step, by name, in order.
    """

    state: State
    message: str = ""
    installed: bool = False
    configured: bool = False
    running: int | None = None
    on_disk: int | None = None
    version: Version | None = None
    plan: Plan = NOTHING
    refusal: Refusal | None = None
    took: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """What is known since the last attempt that was confirmed, and need not be found out again.

    Attributes:
        rendered: what BIRD runs.
        stamp: the file's stamp, when its text was that.
        reader: the `birth` of a BIRD that has read this file as its own; 0 if none has.
    """

    rendered: Rendered
    stamp: Stamp | None
    reader: int


class Applier:
    """Makes BIRDs run configurations. It remembers what each of them has confirmed, which makes changes faster."""

    def __init__(self, stop: threading.Event) -> None:
        """Creates an applier without any knowledge.

        Args:
            stop: is set to ask rrwatch to stop.
        """
        self._stop = stop
        self._confirmed: dict[Target, _Confirmed] = {}

    def apply(self, target: Target, wanted: Rendered) -> Applied:
        """Makes one BIRD run one configuration, unless it does so already. Every wait has a limit.

        Raises:
            Stopping: rrwatch was asked to stop; the file is complete, and the next attempt continues from there.
        """
        born = birth(target.socket)
        attempt = _Attempt(target, wanted, Deadline(TIMEOUT, self._stop), self._confirmed.get(target), born)
        if target not in self._confirmed:
            attempt.file.remove_probes()
        try:
            attempt.run()
        except (BirdRefused, LintError) as error:
            attempt.refuse(str(error))
        except (BirdError, InstallError) as error:
            attempt.note(state=State.FAILED, message=str(error))
        finally:
            attempt.file.discard()
        if attempt.applied.state is State.CONFIRMED:
            has_read_it = attempt.trusted or attempt.applied.configured
            reader = born if has_read_it and birth(target.socket) == born else 0
            self._confirmed[target] = _Confirmed(wanted, attempt.stamp, reader)
        return attempt.applied


class _Attempt:
    """One attempt, whose result so far is in `applied`.

    If this BIRD has shown that it reads rrwatch's file, a change makes it parse the text once: `configure` with the
    staged file accepts or rejects the text as a whole, and the rename follows. Otherwise BIRD checks the staged file
    and then reads its own file, which makes it parse the text twice.
    """

    def __init__(
        self, target: Target, wanted: Rendered, deadline: Deadline, confirmed: _Confirmed | None, born: int
    ) -> None:
        self._target, self._wanted, self._deadline = target, wanted, deadline
        self._before = confirmed.rendered if confirmed else None
        self.stamp = confirmed.stamp if confirmed else None
        self.trusted = confirmed is not None and confirmed.reader == born != 0
        self.file = ConfigFile(target.config)
        self.applied = Applied(State.FAILED)

    def note(self, **facts: Any) -> None:
        """Adds facts to the result."""
        self.applied = replace(self.applied, **facts)

    def refuse(self, message: str) -> None:
        """Keeps the text, which BIRD or the lint has refused with a message."""
        kept = self.file.keep_rejected(self._wanted.text)
        refusal = locate(self._wanted, message, (self.file.staged, self.file.path), kept)
        self.note(state=State.REFUSED, message=refusal.reason, refusal=refusal)

    def run(self) -> None:
        """Makes the attempt.

        Raises:
            BirdError, InstallError, LintError: it failed; `applied` has what was done until then.
            Stopping: rrwatch was asked to stop.
        """
        found = self._read()
        if self._wanted.grammar is None and found is not None:
            reason = f"{self.file.path} stays as it is until it is known which BIRD will read it"
            self.note(state=State.WAITING, message=reason)
            return
        plan = self._compare(found)
        self.note(plan=plan)
        incomplete = None if plan.is_empty else self._lint(found, plan)
        asked_at = time.perf_counter()
        try:
            with connect(self._target.socket, self._deadline) as bird:
                self.note(version=version_in(bird.greeting))
                self._apply_to(bird, incomplete, asked_at)
        except BirdAbsent as absent:
            self._apply_without_bird(incomplete)
            self.note(state=State.WAITING, message=str(absent))

    def _read(self) -> str | None:
        """Returns the installed text; a file that has not changed is not read again."""
        now = self.file.stamp()
        unchanged = now is not None and now == self.stamp and self._before is not None
        found = self._before.text if unchanged and self._before else self.file.read()
        self.stamp = now
        self.note(on_disk=generation_in(found or ""))
        return found

    def _compare(self, found: str | None) -> Plan:
        before, wanted = self._before, self._wanted
        if found == wanted.text:
            return NOTHING
        if before and found == before.text and before.frame and wanted.frame:
            rest = before.frame != wanted.frame
            return compared(before.blocks, wanted.blocks, rest=rest or list(before.blocks) != list(wanted.blocks))
        if wanted.frame and not session_names(found or ""):
            return compared({}, wanted.blocks, rest=True)
        return plan(found, wanted.text)

    def _lint(self, found: str | None, plan: Plan) -> LintError | None:
        """Checks the text that BIRD has not run yet.

        Returns:
            The error of a text that lacks a session: BIRD parses that text first, and may name the cause.

        Raises:
            LintError: BIRD must not parse the text.
        """
        before, wanted = self._before, self._wanted
        if before and found == before.text and wanted.frame:
            with contextlib.suppress(LintError):
                lint(wanted.frame)
                for name in (*plan.added, *plan.changed):
                    lint(wanted.blocks[name])
                    require_sessions(wanted.blocks[name], [name])
                return None
        # In the whole text, an error has the right line.
        lint(wanted.text)
        try:
            require_sessions(wanted.text, wanted.blocks)
        except LintError as incomplete:
            return incomplete
        return None

    def _apply_to(self, bird: Connection, incomplete: LintError | None, asked_at: float) -> None:
        is_installed = self.applied.plan.is_empty
        self.note(running=bird.generation())
        if is_installed and self.applied.running == self._wanted.generation:
            self._confirm()
            return
        # A BIRD that is busy with its sessions greets late.
        self.applied.took["connect"] = time.perf_counter() - asked_at
        with self._timed("wait"):
            bird.wait_until_idle()
        if not self.trusted:
            self._require_own_file(bird, incomplete)
        if is_installed:
            self._configure(bird)
        elif self.trusted and not incomplete:
            staged = self._stage()
            with self._timed("configure"):
                bird.configure(staged)
            self.note(configured=True)
            self._commit()
        else:
            self._check_and_commit(bird, incomplete)
            self._configure(bird)
        with self._timed("confirm"):
            bird.wait_until_idle()
            self.note(running=bird.generation())
        if self.applied.running == self._wanted.generation:
            self._confirm()
        else:
            reason = f"BIRD runs another file than {self.file.path}: is it started with -c and this path?"
            self.note(state=State.FAILED, message=reason)

    def _require_own_file(self, bird: Connection, incomplete: LintError | None) -> None:
        """Checks that BIRD reads this file. If it does not, the file is replaced all the same, for BIRD's next start.

        BIRD is not told to read the other file again: someone may be editing it.

        Raises:
            BirdElsewhere: BIRD reads another file.
        """
        try:
            self._target.require_own(bird.own_file())
        except BirdElsewhere:
            if not self.applied.plan.is_empty:
                self._check_and_commit(bird, incomplete)
            self.file.settle()
            raise

    def _check_and_commit(self, bird: Connection, incomplete: LintError | None) -> None:
        staged = self._stage()
        with self._timed("check"):
            bird.check(staged)
        if incomplete:
            raise incomplete
        self._commit()

    def _configure(self, bird: Connection) -> None:
        """Makes BIRD read its own file, which is this one."""
        with self._timed("configure"):
            try:
                bird.configure()
            except BirdRefused:
                if self.file.roll_back():
                    self.note(installed=False, on_disk=generation_in(self.file.read() or ""))
                raise
        self.note(configured=True)

    def _apply_without_bird(self, incomplete: LintError | None) -> None:
        """Puts the file in place for BIRD's next start."""
        if not self.applied.plan.is_empty and not self.applied.installed:
            staged = self._stage()
            with self._timed("check"):
                if self._wanted.grammar:
                    program.check(self._target.name, staged, self._wanted.grammar)
            if incomplete:
                raise incomplete
            self._commit()
        self.file.settle()

    def _stage(self) -> Path:
        with self._timed("stage"):
            return self.file.stage(self._wanted.text)

    def _commit(self) -> None:
        with self._timed("replace"):
            self.file.commit()
        self.stamp = self.file.stamp()
        self.note(installed=True, on_disk=self._wanted.generation)

    def _confirm(self) -> None:
        self.file.settle()
        self.note(state=State.CONFIRMED)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.applied.took[step] = time.perf_counter() - began

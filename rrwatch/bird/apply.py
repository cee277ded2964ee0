"""One configuration to one BIRD: checked, put in place, taken up, confirmed, or taken back."""

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from rrwatch.bird import program
from rrwatch.bird.control import Conversation, connect
from rrwatch.bird.install import ConfigFile, Stamp
from rrwatch.bird.lint import lint, require_sessions
from rrwatch.bird.plan import NOTHING, Plan, compared, plan, session_names
from rrwatch.bird.recognize import birth
from rrwatch.bird.render import Rendered, generation_in
from rrwatch.bird.target import Target
from rrwatch.bird.version import Version, version_in
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdAbsent, BirdElsewhere, BirdError, BirdRefused, InstallError, LintError

TIMEOUT = 20.0
"""Seconds for one BIRD, all steps together. BIRD was seen busy for up to 10 s with peers that read slowly."""


class State(Enum):
    """How BIRD stands to what it shall run; the value stands in logs and in the status."""

    CONFIRMED = "confirmed"
    WAITING = "waiting"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of one attempt.

    Attributes:
        state: CONFIRMED: BIRD said that it runs this generation. WAITING: the file is in place, BIRD is not there.
            REFUSED: BIRD, or the lint before it, said no; file and BIRD are as they were. FAILED: something else.
        message: why it is not confirmed; one line, empty where it is.
        installed: was the file written?
        configured: was BIRD told to read it, and did it accept?
        running: the generation that BIRD was last seen to run, None where that is not known.
        on_disk: the generation of the file as it is now, None where it is missing, or not rrwatch's.
        version: of the BIRD that was spoken with, None where there was none.
        plan: what the text changes against the file that was there before.
        took: seconds of each step, by name, in the order in which they were begun.
    """

    state: State
    message: str = ""
    installed: bool = False
    configured: bool = False
    running: int | None = None
    on_disk: int | None = None
    version: Version | None = None
    plan: Plan = NOTHING
    took: dict[str, float] = field(default_factory=dict)


class Applier:
    """Makes BIRDs run configurations. It remembers what it saw of them, so that a change costs no more than it must."""

    def __init__(self, stop: threading.Event) -> None:
        """Remembers nothing yet.

        Args:
            stop: set where rrwatch is asked to end.
        """
        self._stop = stop
        self._seen: dict[Path, tuple[Rendered, Stamp | None]] = {}
        self._reads_it: dict[Path, int] = {}

    def apply(self, target: Target, wanted: Rendered) -> Applied:
        """Makes one BIRD run one configuration, if it does not do so already. Every wait in it is bounded.

        Raises:
            Stopping: rrwatch was asked to stop; what is in place is whole, and the next attempt goes on from there.
        """
        born = birth(target.socket)
        trusted = born != 0 and self._reads_it.get(target.socket) == born
        seen, stamp = self._seen.get(target.config, (None, None))
        attempt = _Attempt(target, wanted, Deadline(TIMEOUT, self._stop), seen, stamp, trusted)
        try:
            applied = attempt.run()
        except (BirdRefused, LintError) as error:
            applied = Applied(State.REFUSED, str(error))
        except (BirdError, InstallError) as error:
            applied = Applied(State.FAILED, str(error))
        finally:
            attempt.file.discard()
        if applied.state is State.CONFIRMED:
            self._seen[target.config] = wanted, attempt.stamp
            if attempt.read_it and birth(target.socket) == born:
                self._reads_it[target.socket] = born
        return replace(
            applied,
            installed=attempt.installed,
            configured=attempt.configured,
            running=attempt.running,
            on_disk=attempt.on_disk,
            version=attempt.version,
            plan=attempt.plan,
            took=attempt.took,
        )


class _Attempt:
    """One attempt.

    Once a BIRD has shown that the file is the one that it reads, a change takes it one look: it is told to run the
    staged text, which it refuses as a whole or takes, and what it has taken is put in place. Before that, it is asked
    to check, and then to read its own file, which costs it a second look.
    """

    def __init__(
        self,
        target: Target,
        wanted: Rendered,
        deadline: Deadline,
        seen: Rendered | None,
        stamp: Stamp | None,
        trusted: bool,
    ) -> None:
        self._target, self._wanted, self._deadline = target, wanted, deadline
        self._seen, self._trusted = seen, trusted
        self.stamp = stamp
        self.file = ConfigFile(target.config)
        self.plan = NOTHING
        self.incomplete: LintError | None = None
        self.installed = self.configured = self.read_it = False
        self.running: int | None = None
        self.on_disk: int | None = None
        self.version: Version | None = None
        self.took: dict[str, float] = {}

    def run(self) -> Applied:
        now = self.file.stamp()
        # A look at a file that nobody has touched costs no more than that.
        untouched = now is not None and now == self.stamp and self._seen is not None
        found = self._seen.text if untouched and self._seen else self.file.read()
        self.stamp = now
        self.on_disk = generation_in(found or "")
        if self._wanted.grammar is None and found is not None:
            return Applied(State.WAITING, f"which BIRD will read {self.file.path} is not known: it stays as it is")
        self.plan = self._compare(found)
        if not self.plan.is_empty:
            self._lint(found)
        try:
            with connect(self._target.socket, self._deadline) as bird:
                self.version = version_in(bird.greeting)
                return self._with(bird)
        except BirdAbsent as absent:
            return self._without(absent)

    def _compare(self, found: str | None) -> Plan:
        seen, wanted = self._seen, self._wanted
        if found == wanted.text:
            return NOTHING
        if seen and found == seen.text and seen.frame and wanted.frame:
            rest = seen.frame != wanted.frame
            return compared(seen.blocks, wanted.blocks, rest=rest or list(seen.blocks) != list(wanted.blocks))
        if wanted.frame and not session_names(found or ""):
            return compared({}, wanted.blocks, rest=True)
        return plan(found, wanted.text)

    def _lint(self, found: str | None) -> None:
        """Looks at all that BIRD has not run yet.

        Raises:
            LintError: BIRD must not even see it.
        """
        seen, wanted = self._seen, self._wanted
        if seen and found == seen.text and wanted.frame:
            new = {name: wanted.blocks[name] for name in (*self.plan.added, *self.plan.changed)}
            with contextlib.suppress(LintError):
                lint(wanted.frame)
                for name, block in new.items():
                    lint(block)
                    require_sessions(block, [name])
                return
        # The whole text tells the line.
        lint(wanted.text)
        try:
            require_sessions(wanted.text, wanted.blocks)
        except LintError as incomplete:
            self.incomplete = incomplete  # BIRD may have a better word for it

    def _with(self, bird: Conversation) -> Applied:
        right = self.plan.is_empty
        self.running = bird.generation()
        if right and self.running == self._wanted.generation:
            self.file.settle()
            return Applied(State.CONFIRMED)
        with self._timed("wait"):
            bird.wait_until_idle()
        if not self._trusted:
            self._require_own_file(bird)
        if right:
            self._configure(bird)
        else:
            with self._timed("stage"):
                staged = self.file.stage(self._wanted.text)
            if self._trusted and not self.incomplete:
                with self._timed("configure"):
                    bird.configure(staged)
                self.configured = True
                self._commit()
            else:
                self._check_and_commit(bird, staged)
                self._configure(bird)
        with self._timed("confirm"):
            bird.wait_until_idle()
            self.running = bird.generation()
        if self.running != self._wanted.generation:
            other = f"BIRD took up another file than {self.file.path}: is it started with -c and this path?"
            return Applied(State.FAILED, other)
        self.file.settle()
        return Applied(State.CONFIRMED)

    def _require_own_file(self, bird: Conversation) -> None:
        """Makes sure that BIRD reads this file; one that reads another finds this one in place when it is restarted.

        It is not told to read its own file: what stands there is not for rrwatch to put into effect.

        Raises:
            BirdElsewhere: it reads another one.
        """
        try:
            self._target.require_own(bird.own_file())
        except BirdElsewhere:
            if not self.plan.is_empty:
                with self._timed("stage"):
                    staged = self.file.stage(self._wanted.text)
                self._check_and_commit(bird, staged)
            self.file.settle()
            raise

    def _check_and_commit(self, bird: Conversation, staged: Path) -> None:
        with self._timed("check"):
            bird.check(staged)
        self._require_all()
        self._commit()

    def _configure(self, bird: Conversation) -> None:
        """Makes BIRD read its own file."""
        with self._timed("configure"):
            try:
                bird.configure()
            except BirdRefused:
                if self.file.roll_back():
                    self.installed, self.on_disk = False, generation_in(self.file.read() or "")
                raise
        self.configured = self.read_it = True

    def _without(self, absent: BirdAbsent) -> Applied:
        """BIRD is not there: it shall find the right file when it comes."""
        if not self.plan.is_empty and not self.installed:
            with self._timed("stage"):
                staged = self.file.stage(self._wanted.text)
            with self._timed("check"):
                if self._wanted.grammar:
                    program.check(self._target.name, staged, self._wanted.grammar)
            self._require_all()
            self._commit()
        # Also what an earlier attempt left that came to its end here.
        self.file.settle()
        return Applied(State.WAITING, str(absent))

    def _require_all(self) -> None:
        if self.incomplete:
            raise self.incomplete

    def _commit(self) -> None:
        with self._timed("replace"):
            self.file.commit()
        self.installed, self.on_disk, self.stamp = True, self._wanted.generation, self.file.stamp()

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.took[step] = time.perf_counter() - began

"""What one pass found and did, as one value that log, history, status and metrics are views of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from rrwatch.bgp.sessions import Derived
from rrwatch.bird.apply import Applied, State
from rrwatch.bird.refusal import Refusal
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar
from rrwatch.guard.baseline import Hold


class Work(Enum):
    """What a pass did about one BIRD."""

    NOTHING = "nothing"
    CHANGE = "change"
    REPAIR = "repair"
    ATTEMPT = "attempt"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a pass for one BIRD.

    Attributes:
        wanted: what it should run.
        applied: what was done, and how it stands now.
        work: CHANGE: the file was written or BIRD configured, as the records, the templates or BIRD's start asked for.
            REPAIR: the same, although nothing of that had changed: another program had changed the file, or what BIRD
            runs. ATTEMPT: it was tried and did not work. NOTHING: all was as it should be, or BIRD is not there.
        is_new: its state, or the reason for it, differs from the pass before.
        was_confirmed: it ran what it should in the pass before.
    """

    wanted: Rendered
    applied: Applied
    work: Work
    is_new: bool
    was_confirmed: bool

    @classmethod
    def of(cls, wanted: Rendered, applied: Applied, before: "Result | None", *, unprompted: bool) -> "Result":
        """Classifies what was done.

        Args:
            before: the result of the pass before, None in the first one.
            unprompted: neither records nor templates had changed.
        """
        was_confirmed = before is not None and before.applied.state is State.CONFIRMED
        if applied.installed or applied.configured:
            work = Work.REPAIR if unprompted and was_confirmed else Work.CHANGE
        elif applied.state in (State.REFUSED, State.FAILED):
            work = Work.ATTEMPT
        else:
            work = Work.NOTHING
        standing = (applied.state, applied.message)
        is_new = before is None or (before.applied.state, before.applied.message) != standing
        return cls(wanted, applied, work, is_new, was_confirmed)

    @property
    def is_worth_remembering(self) -> bool:
        """Whether it belongs in the history: something was done, or something new is wrong."""
        done = self.work in (Work.CHANGE, Work.REPAIR)
        return done or (self.is_new and self.applied.state is not State.CONFIRMED)


@dataclass(frozen=True, slots=True)
class TemplateState:
    """How the operator's templates stand.

    Attributes:
        error: why the newest are not in use, empty where they are.
        kept: what is in use instead.
        loaded: the folder that changed templates were just read from.
        refused: what a BIRD refused of the newest, by the BIRD's name.
    """

    error: str = ""
    kept: str = ""
    loaded: Path | None = None
    refused: Mapping[str, Refusal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one pass found and did.

    Attributes:
        cause: the keys that changed since the last successful pass, sorted; empty where something else was the reason.
        derived: what follows from the records in force; None where that is not known.
        hold: what the guard holds, None where nothing is held.
        waits_for: the key without which nothing can be derived, empty where none is missing.
        grammar: for which BIRD the configuration is written, None where that is not known.
        restarted: BIRDs that were started again since the pass before.
        templates: how the operator's templates stand.
        results: by target; empty where nothing could be applied.
        took: seconds for all of it.
        retry_in: seconds until the next attempt, None where none is needed.
    """

    cause: tuple[str, ...] = ()
    derived: Derived | None = None
    hold: Hold | None = None
    waits_for: str = ""
    grammar: Grammar | None = None
    restarted: tuple[Target, ...] = ()
    templates: TemplateState = TemplateState()
    results: Mapping[Target, Result] = field(default_factory=dict)
    took: float = 0.0
    retry_in: float | None = None

    @property
    def states(self) -> set[State]:
        """How the BIRDs stand."""
        return {result.applied.state for result in self.results.values()}

    @property
    def needs_retry(self) -> bool:
        """Whether something failed that a later attempt may achieve."""
        failed = bool(self.states & {State.REFUSED, State.FAILED})
        return failed or not (self.results or self.waits_for)

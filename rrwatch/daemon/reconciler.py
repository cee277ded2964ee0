"""One pass: from what the datastore says to what BIRD runs; the same for `run` and for `once`."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import islice

from rrwatch.bgp.increment import Deriver
from rrwatch.bgp.topology import Rejected, Topology
from rrwatch.bird.apply import State
from rrwatch.bird.config import Capabilities
from rrwatch.bird.lock import FolderLock
from rrwatch.bird.render import Rendered, Templates
from rrwatch.bird.target import Target
from rrwatch.calico.store import RecordStore
from rrwatch.daemon.birds import Bird
from rrwatch.daemon.desired import Desired, EffectsOfRecords, render
from rrwatch.daemon.passwords import Passwords
from rrwatch.daemon.retries import Retries
from rrwatch.daemon.template_trial import TemplateTrial
from rrwatch.datastore.follow import Alarm, UpToDate
from rrwatch.datastore.port import Changes, Snapshot
from rrwatch.errors import TemplateError
from rrwatch.guard.baseline import StateFolder
from rrwatch.guard.guard import Guard, Verdict
from rrwatch.guard.in_force import Items
from rrwatch.report.events import EventLog
from rrwatch.report.history import RECENT, History
from rrwatch.report.outcome import Outcome, Result
from rrwatch.settings.model import Settings

_CAUSES_MAX = 10_000  # keys that are remembered as the cause of a change; a BIRD may be away for weeks


class Reconciler:
    """Makes BIRD run what the records in force ask for, one pass at a time.

    First the datastore is heard (`hear`), then its records are settled (`settle`), then BIRD is brought in line
    (`run_pass`). The caller decides when.
    """

    def __init__(
        self,
        settings: Settings,
        bird: Bird,
        log: EventLog,
        retries: Retries | None = None,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Loads what survived the last run.

        Args:
            log: is told of every outcome.
            retries: when to try again after a failure; None where no other attempt follows.
            asked_to_stop: called while a template takes long.
        """
        role, folder = settings.role, StateFolder(settings.state_dir)
        self._role, self._paths, self._bird, self._log, self._retries = role, settings.bird_paths, bird, log, retries
        self.templates = TemplateTrial(settings.templates, asked_to_stop)
        self.passwords = Passwords(settings.passwords, bird.passwords)
        self.history = History(folder.history(RECENT))
        self.guard = Guard(
            folder,
            settings.guard,
            role.baseline(),
            role.model,
            effects=EffectsOfRecords(role),
            running=bird.sessions,
            on_error=log.state_lost,
        )
        self._lock = FolderLock()
        self._records = RecordStore(role.model)
        self._deriver = Deriver(role.sessions, role.own_hosts)
        self._verdict: Verdict | None = None
        self._unread: set[str] = set()  # keys in force that the store has not read; an exception must not lose them
        self._cause: set[str] = set()
        self._desired: Desired | None = None
        self._rendered: dict[Templates, Mapping[Target, Rendered]] = {}
        self._births: dict[Target, int] = {}
        self._results: Mapping[Target, Result] = {}

    def claim(self) -> None:
        """Makes sure that no other rrwatch looks after the same files, for as long as this process runs.

        Raises:
            OwnedElsewhere: another one does.
        """
        self._lock.claim(target.config for target in self._paths.first())

    def close(self) -> None:
        """Writes what must survive, and lets another rrwatch have the files."""
        self.guard.close()
        self._lock.release()

    def hear(self, event: Snapshot | Changes | UpToDate | Alarm, changed: Collection[str] = ()) -> None:
        """Takes note of how the datastore changed.

        Args:
            changed: the keys whose values differ now.
        """
        self.guard.hear(event, changed)

    def settle(self, in_datastore: Items) -> Topology:
        """Decides which records are in force.

        Args:
            in_datastore: what the datastore says, as key -> value; every folder that matters has been listed.

        Returns:
            The cluster by the records in force.
        """
        self._verdict = self.guard.settle(in_datastore)
        self._unread |= self._verdict.changed
        if self._records.update(self._unread, self._verdict.items):
            room = max(0, _CAUSES_MAX - len(self._cause))
            self._cause.update(islice(sorted(self._unread), room))
        self._unread = set()
        return self._records.topology()

    def run_pass(self, topology: Topology | None) -> Outcome | None:
        """Runs one pass, and reports it.

        Args:
            topology: the cluster as `settle` returned it, None where the datastore has not been heard yet.

        Returns:
            None where there is nothing to go by yet.

        Raises:
            Stopping: rrwatch was asked to stop.
            OwnedElsewhere: another rrwatch looks after the same files.
        """
        began = time.monotonic()
        has_new_templates = self.templates.refresh()
        if topology is None or self._verdict is None:
            self._log.templates(self.templates.state)
            return None
        outcome = self._reconcile(topology, self._verdict, has_new_templates=has_new_templates)
        retry_in = self._retries.after(outcome) if self._retries else None
        outcome = replace(outcome, took=time.monotonic() - began, retry_in=retry_in)
        if not outcome.needs_retry:
            self._cause = set()
        self._log.passed(outcome)
        for entry in self.history.passed(outcome):
            self.guard.remember(entry)
        return outcome

    def _reconcile(self, topology: Topology, verdict: Verdict, *, has_new_templates: bool) -> Outcome:
        capabilities = self._bird.capabilities(topology, filters=self._role.takes_filters)
        before, waits_for = self._desired, self._role.waits_for(topology)
        if not waits_for:
            self._desired = self._decide(topology, capabilities, verdict.unreadable)
        prompted = self._desired is not before or has_new_templates
        restarted = self._restarted()
        if verdict.keep_installed:
            results = self._apply(self._bird.installed(capabilities), prompted=prompted)
        elif self._desired:
            results = self._apply_templates(self._desired, prompted=prompted)
        else:
            results = {}
        self._results = results or self._results
        return Outcome(
            cause=tuple(sorted(self._cause)),
            derived=self._desired.derived if self._desired else None,
            hold=verdict.hold,
            # Where the records in force are not known, what is missing among them need not be missing in etcd.
            waits_for="" if verdict.keep_installed else waits_for,
            grammar=capabilities.grammar if capabilities else None,
            restarted=restarted,
            templates=self.templates.state,
            results=results,
        )

    def _decide(
        self, topology: Topology, capabilities: Capabilities | None, unreadable: tuple[Rejected, ...]
    ) -> Desired:
        """What BIRD should run; the same object as before where that has not changed."""
        known, passwords = self._desired, self.passwords
        self._cause.update(passwords.refresh())
        before = known and (known.topology, known.capabilities, known.unreadable, known.passwords)
        if known and before == (topology, capabilities, unreadable, passwords.revision):
            return known
        derived = self._role.with_remarks(self._deriver.derive(topology), topology, capabilities)
        derived = passwords.resolve(derived, topology)
        if unreadable:
            rejected = {one.key: one for one in (*derived.rejected, *unreadable)}
            derived = replace(derived, rejected=tuple(rejected[key] for key in sorted(rejected)))
        self._rendered = {}
        return Desired(topology, derived, capabilities, unreadable, passwords.revision)

    def _apply_templates(self, desired: Desired, *, prompted: bool) -> dict[Target, Result]:
        """Applies what is desired; templates that fail, or that BIRD refuses, give way to those that worked before."""
        trial = self.templates
        for templates in trial.candidates(retry=prompted):
            try:
                rendered = self._render(templates, desired)
            except TemplateError as error:
                trial.reject(templates, str(error))
                continue
            results = self._apply(rendered, prompted=prompted)
            states = {result.applied.state for result in results.values()}
            if State.REFUSED in states and trial.has_fallback(templates):
                refused = {
                    target.name: one.applied.refusal
                    for target, one in results.items()
                    if one.applied.refusal is not None
                }
                self.history.refused(refused)
                trial.reject(templates, f"refused: {next(iter(refused.values()))}", refused)
                continue
            proven = State.CONFIRMED in states and states <= {State.CONFIRMED, State.WAITING}
            trial.accept(templates, proven=proven)
            return results
        return {}

    def _render(self, templates: Templates, desired: Desired) -> Mapping[Target, Rendered]:
        """Renders what is desired, once with each set of templates that is tried."""
        if templates not in self._rendered:
            rendered = render(self._role, templates, self._paths, desired, self._bird.is_ours)
            in_use = self.templates.candidates(retry=False)
            self._rendered = {one: self._rendered[one] for one in in_use if one in self._rendered}
            self._rendered[templates] = rendered
        return self._rendered[templates]

    def _apply(self, wanted: Mapping[Target, Rendered], *, prompted: bool) -> dict[Target, Result]:
        """Brings every BIRD of this host to its configuration; none of them waits for another one to succeed."""
        self._lock.claim(target.config for target in wanted)
        applied = {target: self._bird.apply(target, rendered) for target, rendered in wanted.items()}
        return {
            target: Result.of(wanted[target], done, self._results.get(target), unprompted=not prompted)
            for target, done in applied.items()
        }

    def _restarted(self) -> tuple[Target, ...]:
        """The BIRDs that were started again since the pass before."""
        births = self._bird.births()
        restarted = tuple(one for one, born in births.items() if self._births.get(one, born) != born)
        self._births |= births
        return restarted

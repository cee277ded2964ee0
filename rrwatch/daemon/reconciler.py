"""One pass: from what the datastore says to what BIRD runs; the same for `run` and for `once`."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import islice

from rrwatch.archive.archive import Archive
from rrwatch.archive.freeze import FreezeFiles
from rrwatch.archive.requests import RequestFiles
from rrwatch.bgp.increment import Deriver
from rrwatch.bgp.topology import Rejected, Topology
from rrwatch.bird.apply import Applied, State
from rrwatch.bird.config import Capabilities
from rrwatch.bird.lock import FolderLock
from rrwatch.bird.plan import Plan, plan
from rrwatch.bird.render import Rendered, Templates
from rrwatch.bird.target import Target
from rrwatch.calico.store import RecordStore
from rrwatch.daemon.birds import Bird
from rrwatch.daemon.desired import Desired, EffectsOfRecords, render
from rrwatch.daemon.freezer import Freezer
from rrwatch.daemon.passwords import Passwords
from rrwatch.daemon.retries import Retries
from rrwatch.daemon.template_trial import TemplateTrial
from rrwatch.datastore.follow import Alarm, UpToDate
from rrwatch.datastore.port import Changes, Snapshot
from rrwatch.errors import StateError, TemplateError
from rrwatch.guard.baseline import StateFolder
from rrwatch.guard.guard import Guard, Verdict
from rrwatch.guard.in_force import Items
from rrwatch.report.events import EventLog
from rrwatch.report.history import RECENT, History, found
from rrwatch.report.outcome import Outcome, Result
from rrwatch.settings.model import Settings

_COMPARE_SHARE = 0.05
"""Share of the time that may go into comparing what is frozen with what etcd asks for: both are compared as a whole."""

_CLAIM_PATIENCE = 1.0  # seconds; commands look only for moments whether a daemon runs

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
        self.archive = Archive(settings.state_dir, role.baseline(), log.history_damaged)
        self.history = History(self.archive.entries(RECENT))
        self.guard = Guard(
            folder,
            settings.guard,
            role.baseline(),
            role.model,
            effects=EffectsOfRecords(role),
            running=bird.sessions,
            on_error=log.state_lost,
        )
        self.freezer = Freezer(
            FreezeFiles(settings.state_dir, role.baseline()),
            RequestFiles(settings.state_dir),
            role.baseline(),
            self.archive,
            settings.bird_paths,
            bird,
            log,
        )
        self._lock = FolderLock()
        self._records = RecordStore(role.model)
        self._deriver = Deriver(role.sessions, role.own_hosts)
        self._verdict: Verdict | None = None
        self._unread: set[str] = set()  # keys in force that the store has not read; an exception must not lose them
        self._cause: set[str] = set()
        self._occasions: dict[str, None] = {"start": None}
        self._desired: Desired | None = None
        self._rendered: dict[Templates, Mapping[Target, Rendered]] = {}
        self._births: dict[Target, int] = {}
        self._results: Mapping[Target, Result] = {}
        self._compared: tuple[object, ...] = ()
        self._compare_at = 0.0
        self.waiting: Mapping[str, Plan] | None = None
        """What waits for a thaw, by the names of daemons; None where nothing is frozen, or that is not known."""
        self._is_archive_failing = False

    def claim(self) -> None:
        """Makes sure that no other rrwatch looks after the same files, for as long as this process runs.

        Raises:
            OwnedElsewhere: another one does.
        """
        self._lock.claim((target.config for target in self._paths.first()), _CLAIM_PATIENCE)

    def close(self) -> None:
        """Writes what must survive, and lets another rrwatch have the files."""
        self.guard.close()
        self._keep_archive()
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
        if self._verdict.released:
            self._occasions["release"] = None
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
        self.freezer.turn(self._running)
        if self.freezer.occasion:
            self._occasions[self.freezer.occasion] = None
        verdict = self._verdict
        if topology is None or verdict is None:
            if not self.freezer.frozen:
                self.freezer.finish(None, None)
                self._log.templates(self.templates.state)
                return None
            outcome = self._keep_frozen(Outcome(hold=self.guard.hold, templates=self.templates.state))
        else:
            outcome = self._reconcile(topology, verdict, has_new_templates=has_new_templates)
        retry_in = self._retries.after(outcome) if self._retries else None
        outcome = replace(outcome, took=time.monotonic() - began, retry_in=retry_in)
        if not outcome.needs_retry:
            # The keys that changed during a freeze are the cause of what follows its end.
            self._cause = self._cause if self.freezer.frozen else set()
            self._occasions = {}
        self.freezer.finish(outcome, self.waiting)
        self._log.passed(outcome)
        self._archive(outcome)
        return outcome

    def _reconcile(self, topology: Topology, verdict: Verdict, *, has_new_templates: bool) -> Outcome:
        capabilities = self._bird.capabilities(topology, filters=self._role.takes_filters)
        before, waits_for = self._desired, self._role.waits_for(topology)
        if not waits_for:
            self._desired = self._decide(topology, capabilities, verdict.unreadable)
        if has_new_templates and self._desired is before:
            self._occasions["templates"] = None
        outcome = Outcome(
            derived=self._desired.derived if self._desired else None,
            hold=verdict.hold,
            # Where the records in force are not known, what is missing among them need not be missing in etcd.
            waits_for="" if verdict.keep_installed else waits_for,
            grammar=capabilities.grammar if capabilities else None,
            templates=self.templates.state,
        )
        if self.freezer.frozen:
            self.waiting = self._what_waits(self._desired, has_new_templates=has_new_templates)
            return self._keep_frozen(replace(outcome, templates=self.templates.state))
        self.waiting, self._compared = None, ()
        prompted = self._desired is not before or has_new_templates or bool(self.freezer.occasion)
        restarted = self._restarted()
        if verdict.keep_installed:
            results = self._apply(self._bird.installed(capabilities), restarted, prompted=prompted)
        elif self._desired:
            results = self._apply_templates(self._desired, restarted, prompted=prompted)
        else:
            results = {}
        self._results = results or self._results
        return replace(
            outcome,
            cause=tuple(sorted(self._cause)),
            occasions=tuple(self._occasions),
            restarted=restarted,
            templates=self.templates.state,
            results=results,
        )

    def _keep_frozen(self, outcome: Outcome) -> Outcome:
        """Makes BIRD run what is frozen; a rollback that waits for its confirmation must not be disturbed."""
        restarted, wanted = self._restarted(), self.freezer.wanted()
        prompted = bool(self.freezer.occasion)
        if self.freezer.looks is None:
            results = self._apply(wanted, restarted, prompted=prompted)
        else:
            results = self._results_of(wanted, self.freezer.looks, restarted, prompted=prompted)
        self._results = results or self._results
        return replace(outcome, occasions=tuple(self._occasions), restarted=restarted, results=results)

    def _what_waits(self, desired: Desired | None, *, has_new_templates: bool) -> Mapping[str, Plan] | None:
        """Compares what is frozen with what would be installed without the freeze."""
        frozen = self.freezer.frozen
        if not (desired and frozen):
            return None
        began = time.monotonic()
        if self._compared and began < self._compare_at and not self.freezer.is_asked:
            return self.waiting
        for templates in self.templates.candidates(retry=has_new_templates):
            if self._compared == (desired, frozen.id, templates):
                return self.waiting
            try:
                rendered = self._render(templates, desired)
            except TemplateError as error:
                self.templates.reject(templates, str(error))
                continue
            self._compared = desired, frozen.id, templates
            plans = {target.name: plan(frozen.texts.get(target.name), one.text) for target, one in rendered.items()}
            now = time.monotonic()
            self._compare_at = now + (now - began) / _COMPARE_SHARE
            return plans
        return None

    def _running(self) -> dict[str, str]:
        """The configurations that BIRD runs or will start with, by the names of daemons."""
        capabilities = self._desired.capabilities if self._desired else None
        if capabilities is None:
            grammars = (one.grammar for one in self._bird.installed(None).values())
            capabilities = next((Capabilities(grammar) for grammar in grammars if grammar), None)
        texts = {target.name: one.text for target, one in self._bird.installed(capabilities).items() if one.grammar}
        confirmed = {
            target.name: result.wanted.text
            for target, result in self._results.items()
            if result.applied.state is State.CONFIRMED and result.wanted.grammar
        }
        return texts | confirmed

    def _archive(self, outcome: Outcome) -> None:
        """Adds what a pass did to the history, and the configurations that were installed."""
        entries = self.history.passed(outcome)
        installed = {
            target.name: result.wanted.text
            for target, result in outcome.results.items()
            if result.wanted.grammar
            and (
                result.applied.state is State.CONFIRMED
                or (result.applied.state is State.WAITING and result.applied.on_disk == result.wanted.generation)
            )
        }
        newest = self.archive.newest()
        if installed and newest and len(installed) < len(outcome.results):
            # One BIRD took its configuration up and the other one did not.
            names = {target.name for target in outcome.results}
            installed = {name: text for name, text in newest.texts.items() if name in names} | installed
        if installed and not entries and not self.archive.is_newest(installed):
            entries = found(outcome)
        if entries:
            self.archive.record(entries, installed)
        self._keep_archive()

    def _keep_archive(self) -> None:
        try:
            if self.archive.keep():
                # By now the entries have their numbers.
                self.history.recall(self.archive.entries(RECENT))
        except StateError as error:
            # Only the first failure is reported, until it works again.
            if not self._is_archive_failing:
                self._log.state_lost(error)
            self._is_archive_failing = True
        else:
            self._is_archive_failing = False

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

    def _apply_templates(
        self, desired: Desired, restarted: Collection[Target], *, prompted: bool
    ) -> dict[Target, Result]:
        """Applies what is desired; templates that fail, or that BIRD refuses, give way to those that worked before."""
        trial = self.templates
        for templates in trial.candidates(retry=prompted):
            try:
                rendered = self._render(templates, desired)
            except TemplateError as error:
                trial.reject(templates, str(error))
                continue
            results = self._apply(rendered, restarted, prompted=prompted)
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

    def _apply(
        self, wanted: Mapping[Target, Rendered], restarted: Collection[Target], *, prompted: bool
    ) -> dict[Target, Result]:
        """Brings every BIRD of this host to its configuration; none of them waits for another one to succeed."""
        self._lock.claim((target.config for target in wanted), _CLAIM_PATIENCE)
        applied = {target: self._bird.apply(target, rendered) for target, rendered in wanted.items()}
        return self._results_of(wanted, applied, restarted, prompted=prompted)

    def _results_of(
        self,
        wanted: Mapping[Target, Rendered],
        applied: Mapping[Target, Applied],
        restarted: Collection[Target],
        *,
        prompted: bool,
    ) -> dict[Target, Result]:
        return {
            target: Result.of(
                wanted[target],
                done,
                self._results.get(target),
                unprompted=not prompted,
                restarted=target in restarted,
            )
            for target, done in applied.items()
        }

    def _restarted(self) -> tuple[Target, ...]:
        """The BIRDs that were started again since the pass before."""
        births = self._bird.births()
        restarted = tuple(one for one, born in births.items() if self._births.get(one, born) != born)
        self._births |= births
        return restarted

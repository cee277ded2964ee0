"""The one loop: wait for a reason, reconcile, try again later; it owns all state."""

import contextlib
import gc
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path

from tenacity import RetryCallState, Retrying, wait_exponential_jitter

import rrwatch
from rrwatch.bgp.increment import Deriver
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Topology
from rrwatch.bird import templates as template_folders
from rrwatch.bird.apply import Applied, Applier, State
from rrwatch.bird.capabilities import CapabilityProbe
from rrwatch.bird.config import Capabilities
from rrwatch.bird.config_file import ConfigFile, Stamp
from rrwatch.bird.detect import birth
from rrwatch.bird.lock import FolderLock
from rrwatch.bird.render import Rendered, Templates
from rrwatch.bird.target import Target
from rrwatch.calico.store import RecordStore
from rrwatch.daemon.folder_watcher import FileChanged, FolderWatcher
from rrwatch.daemon.reconciler import adopt_all, apply_all, render_all, sessions_there
from rrwatch.datastore.etcd_v2 import EtcdV2
from rrwatch.datastore.folders import Folders
from rrwatch.datastore.follow import Alarm, Follower, Heard, Lost, News
from rrwatch.datastore.members import Members
from rrwatch.datastore.mirror import Change, Snapshot
from rrwatch.errors import Stopping, TemplateError
from rrwatch.guard.baseline import StateFolder
from rrwatch.guard.guard import Guard
from rrwatch.report.events import EventLog
from rrwatch.report.history import RECENT, History
from rrwatch.report.outcome import Outcome
from rrwatch.report.status import EtcdStatus, Status
from rrwatch.report.systemd import Notifier
from rrwatch.settings.model import Settings

TEMPLATE_REST = 0.3
"""Seconds for which the operator's folder must be still before it is read: editors save in more than one step."""

VERIFY_INTERVAL = 5.0
"""Seconds until a host at rest is looked at again: is the file still ours, does BIRD still run it?"""

START_GRACE = 3.0
"""Seconds after which rrwatch counts as started whatever it waits for: an outage must not block a boot."""

_MOST_EVENTS = 1000  # that are taken before the loop looks whether a pass is due
_BEAT = 5.0  # seconds; the loop turns at least this often, and feeds systemd's watchdog
_ABSENT_RETRY = 1.0  # seconds between two looks for a BIRD that is not running; the folder's watch is faster


class Ask(Enum):
    """What a signal asks of the loop."""

    STOP = auto()
    RELOAD = auto()


Event = News | FileChanged | Ask

_Look = Mapping[Path, Stamp | int | None]


@dataclass(slots=True)
class _Wanted:
    """What BIRD shall run, by the keys as they are; rendered once by each set of templates that is tried.

    Attributes:
        adopted: the configurations themselves, where no keys tell what they came from.
    """

    topology: Topology
    derived: Derived
    capabilities: Capabilities | None
    rendered: dict[Templates, dict[Target, Rendered]] = field(default_factory=dict)
    adopted: Mapping[Target, Rendered] | None = None

    def names(self) -> set[str]:
        """Of its sessions."""
        if self.adopted is None:
            return {session.name for session in self.derived.sessions}
        return set[str]().union(*(rendered.blocks for rendered in self.adopted.values()))


class Daemon:
    """Keeps every BIRD of this host equal to etcd until it is told to stop."""

    def __init__(self, settings: Settings, notifier: Notifier, publish: Callable[[Status], None]) -> None:
        """Makes a daemon; `run()` is its life.

        Args:
            publish: is called with the status after every turn of the loop that may have changed it.
        """
        self._settings, self._notifier, self._publish = settings, notifier, publish
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._journal = EventLog()
        self._members = Members(settings.etcd.endpoints)
        self._following = Folders(self._follower_of)
        folders = [settings.templates] if settings.templates else []
        paths = [path for target in settings.bird_paths.candidates() for path in (target.config, target.socket)]
        paths.append(StateFolder(settings.state_dir).release_file)
        self._folders = FolderWatcher(paths, folders, self._events.put)

        self._records = RecordStore(settings.role.model)
        self._etcd = EtcdStatus()
        self._cause: set[str] = set()
        self._dirty = False
        self._wanted: _Wanted | None = None
        self._waits_for = ""
        state = StateFolder(settings.state_dir)
        self._deriver = Deriver(settings.role.sessions, settings.role.own_hosts)
        self._guard = Guard(
            state, settings.guard, settings.role.summary(), settings.role.model, self._journal.state_lost
        )
        self._ledger = History(state.history(RECENT))
        self._folder_lock = FolderLock()
        self._probe = CapabilityProbe(settings.bird_paths, settings.grammar, self._stop)
        self._applier = Applier(self._stop)
        self._templates: Templates | None = None
        self._trusted: Templates | None = None
        self._distrusted: Templates | None = None
        self._template_files: object = None
        self._template_seen: object = None
        self._template_due = 0.0
        self._template_error = ""
        self._outcome: Outcome | None = None
        self._look: _Look = {}
        self._born: dict[Path, int] = {}
        self._due = 0.0
        self._effort = -settings.min_interval
        self._failures = 0
        self._not_ready_since: float | None = None

    def run(self) -> None:
        """Runs until SIGTERM or SIGINT; sessions stay as they are.

        Raises:
            OwnedElsewhere: another rrwatch looks after the same files.
        """
        self._folder_lock.claim(target.config for target in self._settings.bird_paths.first())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        viewer, endpoints = self._settings.role.summary(), list(self._settings.etcd.endpoints)
        self._journal.started(version=rrwatch.__version__, viewer=viewer, etcd=endpoints)
        self._load_templates()
        self._following.want(self._settings.role.prefixes(None))
        self._folders.start()
        self._tell()
        started = threading.Timer(START_GRACE, self._notifier.ready)
        started.daemon = True
        started.start()
        try:
            while not self._stop.is_set():
                self._turn()
        except Stopping:
            pass
        finally:
            started.cancel()
            self._notifier.stopping()
            self._folders.stop()
            self._following.stop()
            self._guard.close()
            self._folder_lock.release()
            self._journal.stopped("asked to")

    def _follower_of(self, prefix: str) -> Follower:
        return Follower(
            EtcdV2(self._settings.etcd, self._members),
            prefix,
            self._events.put,
            self._settings.resync_interval,
            self._settings.etcd_spread,
        )

    def _on_signal(self, number: int, _: object) -> None:
        # A handler may run between any two steps of the loop: it only leaves word.
        if number == signal.SIGHUP:
            self._events.put(Ask.RELOAD)
        else:
            self._stop.set()
            self._events.put(Ask.STOP)

    def _turn(self) -> None:
        self._hear(max(0.0, min(_BEAT, self._due - time.monotonic())))
        self._notifier.alive()
        if time.monotonic() >= self._due and not self._stop.is_set():
            try:
                self._pass()
            except Stopping:
                raise
            # A fault of rrwatch's own: a crash would come back with every start, a retry may find other records.
            except Exception as error:  # noqa: BLE001  # told in full
                self._journal.fault(error, self._plan_next({}))
        self._tell()

    def _hear(self, patience: float) -> None:
        """Takes the events that are there, after waiting for a first one."""
        with contextlib.suppress(queue.Empty):
            self._take(self._events.get(timeout=patience))
            for _ in range(_MOST_EVENTS):
                self._take(self._events.get_nowait())

    def _take(self, event: Event) -> None:
        match event:
            case FileChanged():
                if self._guard.held or self._look != self._look_around() or self._template_files != self._fingerprint():
                    self._want_soon()
            case Ask.RELOAD:
                self._journal.reloading()
                self._following.relist()
                self._template_files = None
                self._want_soon()
            case Ask.STOP:
                pass
            case news:
                self._take_news(news)

    def _take_news(self, news: News) -> None:
        match news:
            case Snapshot():
                # Even an empty folder completes what is known.
                first = self._wanted is None or not self._following.is_complete()
                before = self._following.size_of(news.prefix)
                changed = self._following.take(news)
                self._guard.hear(news, before)
                self._etcd = self._etcd.listed(news.endpoint, news.index, self._following.size)
                self._journal.synced(news, len(changed))
                self._changed(changed, first=first)
            case Change():
                before = self._following.size_of(news.prefix)
                changed = self._following.take(news)
                self._guard.hear(news, before)
                self._etcd = self._etcd.heard(self._etcd.endpoint, news.index, self._following.size, event=True)
                self._changed(changed)
            case Heard():
                self._etcd = self._etcd.heard(news.endpoint, news.index, self._following.size)
            case Lost():
                self._etcd = self._etcd.lost(news.endpoint, news.reason)
                self._journal.lost(news)
            case Alarm():
                self._guard.hear(news, 0)
                self._journal.alarm(news)

    def _changed(self, keys: set[str], first: bool = False) -> None:
        changed = self._records.update(keys, self._following.items)
        if changed or first:
            self._dirty = True
            self._cause |= keys
            self._want_soon()

    def _want_soon(self) -> None:
        """A pass at once, or as soon as BIRD has had its rest."""
        self._due = min(self._due, max(time.monotonic(), self._effort + self._settings.min_interval))

    def _pass(self) -> None:
        """Reconciles all that is wanted, whatever the reason was."""
        began = time.monotonic()
        self._due = began + VERIFY_INTERVAL
        self._folders.refresh()
        new_templates = self._load_templates()
        known = self._wanted
        wanted = self._now_wanted()
        if wanted is None:
            return
        news = wanted is not known or new_templates
        self._notice_restarts()
        applied, rendered = self._apply(wanted, news)
        retry_in = self._plan_next(applied)
        if applied:
            took = time.monotonic() - began
            self._outcome = Outcome(tuple(sorted(self._cause)), wanted.derived, rendered, applied, took)
            if not self._failures:
                self._cause = set()
            if not gc.isenabled():
                # From now on the collector looks at what is new: at 20,000 nodes the rest would take it a second.
                gc.freeze()
                gc.enable()
            self._journal.passed(self._outcome, drift=not news, retry_in=retry_in)
            for entry in self._ledger.passed(self._outcome, drift=not news):
                self._guard.remember(entry)
        self._guard.keep()
        if any(result.took for result in applied.values()):
            self._effort = time.monotonic()
        self._look = self._look_around()

    def _notice_restarts(self) -> None:
        for target in self._settings.bird_paths.candidates():
            born, known = birth(target.socket), self._born.get(target.socket)
            if born:
                self._born[target.socket] = born
                if known not in (None, born):
                    self._journal.bird_restarted(target)

    def _now_wanted(self) -> _Wanted | None:
        """What BIRD shall run by all that is known; what it was, where too little is; None where nothing ever was."""
        view, wanted = self._settings.role, self._wanted
        fresh = wanted is None or self._dirty  # what is held stays so
        topology = self._complete_topology() if wanted is None or fresh else wanted.topology
        if topology is None:
            return wanted  # etcd has not spoken yet, or not of all that matters
        self._waits_for = view.waits_for(topology)
        if self._waits_for:
            self._journal.waiting_for_key(self._waits_for)
            return wanted
        learned = self._probe.learn(topology, filters=view.takes_filters)
        self._journal.bird_known(learned.grammar if learned else None)
        if fresh:
            derived = view.derive(topology, learned, self._deriver.derive(topology))
            wanted = self._weighed(_Wanted(topology, derived, learned))
        if wanted and wanted.adopted is None and wanted.capabilities != learned:
            wanted = _Wanted(wanted.topology, view.derive(wanted.topology, learned), learned)
        self._wanted = wanted
        return wanted

    def _complete_topology(self) -> Topology | None:
        """The cluster as etcd describes it; None where that is not known whole."""
        if not self._following.is_complete():
            return None
        topology = self._records.topology()
        self._following.want(self._settings.role.prefixes(topology))
        if not self._following.is_complete():
            return None  # more matters than before: what is known would take sessions away
        if gone := self._following.narrow():
            self._records.update(gone, self._following.items)
            topology = self._records.topology()
        return topology

    def _weighed(self, fresh: _Wanted) -> _Wanted:
        """What may go ahead: what is new, or what was wanted before, while the new is held."""
        before = self._wanted

        def ending() -> set[str]:
            there = before.names() if before else set()
            if before is None or before.adopted is not None:
                there |= sessions_there(self._settings.bird_paths, self._stop)
            return there - fresh.names()

        held = self._guard.weigh(self._settings.role.nodes(fresh.topology), ending)
        self._journal.held(held)
        if held is None:
            self._dirty = False
            self._journal.derived(fresh.derived)
            return fresh
        if before:
            return before
        # Just started: what is installed is all that is known of what was wanted.
        derived = replace(fresh.derived, sessions=())
        return replace(fresh, derived=derived, adopted=adopt_all(self._settings.bird_paths, fresh.capabilities))

    def _apply(self, wanted: _Wanted, news: bool) -> tuple[dict[Target, Applied], dict[Target, Rendered]]:
        """Applies what is wanted; templates that fail, or that BIRD refuses, give way to those that worked before.

        Args:
            news: there is something to try the newest templates on again, if they failed before.
        """
        if wanted.adopted is not None:
            return self._apply_all(wanted.adopted), dict(wanted.adopted)
        if news:
            self._distrusted = None
        for templates in dict.fromkeys((self._templates, self._trusted)):
            if templates is None or templates is self._distrusted:
                continue
            try:
                rendered = wanted.rendered.get(templates) or self._render(wanted, templates)
            except TemplateError as error:
                self._distrust(templates, str(error))
                continue
            applied = self._apply_all(rendered)
            refused = next((result for result in applied.values() if result.state is State.REFUSED), None)
            if refused and templates is not self._trusted and self._trusted:
                self._distrust(templates, f"refused: {refused.message}")
                continue
            if templates is self._templates:
                self._template_error = ""
            states = {result.state for result in applied.values()}
            if State.CONFIRMED in states and states <= {State.CONFIRMED, State.WAITING}:
                self._trusted = templates
            return applied, rendered
        return {}, {}

    def _apply_all(self, rendered: Mapping[Target, Rendered]) -> dict[Target, Applied]:
        self._folder_lock.claim(target.config for target in rendered)
        return apply_all(rendered, self._applier)

    def _render(self, wanted: _Wanted, templates: Templates) -> dict[Target, Rendered]:
        wanted.rendered[templates] = render_all(
            self._settings.role,
            templates,
            self._settings.bird_paths,
            wanted.topology,
            wanted.derived,
            wanted.capabilities,
        )
        return wanted.rendered[templates]

    def _distrust(self, templates: Templates | None, reason: str) -> None:
        self._template_error = reason
        if self._trusted:
            self._distrusted = templates
        kept = "the templates that worked before" if self._trusted else "the last configuration"
        self._journal.template_error(reason, kept)

    def _load_templates(self) -> bool:
        """Takes up the templates where their files have changed, and are at rest."""
        files = self._fingerprint()
        if files == self._template_files:
            return False
        now = time.monotonic()
        if files != self._template_seen:
            self._template_seen, self._template_due = files, now + TEMPLATE_REST
        if self._template_files is not None and now < self._template_due:
            return False
        first, self._template_files = self._templates is None, files
        try:
            self._templates = template_folders.load(self._settings.templates, self._stop.is_set)
        except TemplateError as error:
            self._distrust(None, str(error))
            return False
        if self._settings.templates and not first:
            self._journal.templates_loaded(self._settings.templates)
        return True

    def _plan_next(self, applied: Mapping[Target, Applied]) -> float | None:
        """Sets when to look again; -> the seconds until a retry, where one is needed."""
        states = {result.state for result in applied.values()}
        failed = not applied or bool(states & {State.FAILED, State.REFUSED})
        self._failures = self._failures + 1 if failed else 0
        retry_in = _back_off(self._failures) if failed else _ABSENT_RETRY if State.WAITING in states else None
        self._due = time.monotonic() + (retry_in or VERIFY_INTERVAL)
        if self._template_seen != self._template_files:
            self._due = min(self._due, self._template_due)
        return retry_in

    def _tell(self) -> None:
        """Publishes how things stand, to the status pages and to the service manager."""
        status = self._status()
        if not status.unready():
            self._not_ready_since = None
        elif self._not_ready_since is None:
            self._not_ready_since = time.time()
        self._publish(replace(status, not_ready_since=self._not_ready_since))
        self._notifier.status(status.summary())
        if status.is_settled:
            self._notifier.ready()

    def _fingerprint(self) -> object:
        return template_folders.fingerprint(self._settings.templates)

    def _look_around(self) -> _Look:
        targets = self._settings.bird_paths.candidates()
        files: _Look = {target.config: ConfigFile(target.config).stamp() for target in targets}
        return {**files, **{target.socket: birth(target.socket) for target in targets}}

    def _status(self) -> Status:
        return Status(
            viewer=self._settings.role.summary(),
            beat=time.monotonic(),
            etcd=self._etcd,
            outcome=self._outcome,
            template_error=self._template_error,
            waits_for=self._waits_for,
            baseline=self._guard.baseline,
            counters=self._ledger.counters,
            recent=self._ledger.recent,
        )


def _back_off(failures: int) -> float:
    """Seconds until the next attempt: 0.5 and doubling, 30 at most, and some jitter."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = failures
    return float(wait_exponential_jitter(multiplier=0.5, max=30, jitter=0.5)(state))

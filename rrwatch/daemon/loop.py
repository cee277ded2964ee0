"""The loop of `rrwatch run`: it waits for a reason, runs a pass, and owns all state."""

import contextlib
import gc
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum, auto
from pathlib import Path

import rrwatch
from rrwatch.archive.requests import RequestFiles
from rrwatch.bird.config_file import ConfigFile, Stamp
from rrwatch.daemon.birds import Bird, LocalBird
from rrwatch.daemon.cluster import Cluster
from rrwatch.daemon.folder_watcher import FileChanged, FolderWatcher
from rrwatch.daemon.reconciler import Reconciler
from rrwatch.daemon.retries import Retries
from rrwatch.daemon.session_store import SessionStore
from rrwatch.daemon.session_table import Observation
from rrwatch.daemon.session_watch import SessionWatch
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.folders import Folders
from rrwatch.datastore.follow import Alarm, DatastoreEvent, Follower, Unreachable, UpToDate
from rrwatch.datastore.members import Members
from rrwatch.datastore.port import Changes, Snapshot
from rrwatch.errors import Stopping
from rrwatch.guard.baseline import StateFolder
from rrwatch.report.events import EventLog
from rrwatch.report.hooks import Hooks
from rrwatch.report.outcome import Outcome
from rrwatch.report.status import EtcdStatus, Status
from rrwatch.report.systemd import Notifier
from rrwatch.settings.model import Settings

VERIFY_INTERVAL = 5.0
"""Seconds between two passes on a host at rest: is the file still rrwatch's, does BIRD still run it?"""

START_GRACE = 3.0
"""Seconds after which rrwatch counts as started whatever it waits for: an outage must not block a boot."""

_EVENTS_MAX = 1000  # taken before the loop checks whether a pass is due
_BEAT = 5.0  # seconds; the loop turns at least this often, and feeds systemd's watchdog

_COLLECT_NORMALLY = gc.get_threshold()
_COLLECT_RARELY = (50_000, 20, 100)
"""Thresholds of the garbage collector until the first pass: what is read until then stays, and is not garbage."""


class Request(Enum):
    """What a signal asks of the loop."""

    STOP = auto()
    RELOAD = auto()


Event = DatastoreEvent | FileChanged | Observation | Request


class Daemon:
    """Keeps every BIRD of this host equal to the datastore until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        notifier: Notifier,
        publish: Callable[[Status], None],
        make_bird: Callable[[Settings, threading.Event], Bird] = LocalBird,
        hooks: Hooks | None = None,
    ) -> None:
        """Reads what survived the last run; `run()` starts everything else.

        Args:
            publish: called with the status after every turn of the loop.
            make_bird: makes the BIRDs that it configures; the event is set when rrwatch is asked to stop.
            hooks: are told of events; the caller starts and stops them.
        """
        self._hooks = hooks or Hooks()
        self._settings, self._notifier, self._publish = settings, notifier, publish
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._log = EventLog(self._hooks.tell)
        self._members = Members(settings.etcd.endpoints)
        self._folders = Folders(self._follower_of)
        self._watcher = FolderWatcher(
            [path for target in settings.bird_paths.candidates() for path in (target.config, target.socket)]
            + [StateFolder(settings.state_dir).release_file, RequestFiles(settings.state_dir).request],
            [settings.templates] if settings.templates else [],
            self._events.put,
        )
        self._retries = Retries()
        self._bird = make_bird(settings, self._stop)
        self._reconciler = Reconciler(settings, self._bird, self._log, self._retries, self._stop.is_set)
        self._cluster = Cluster(settings.role, self._folders, self._reconciler)
        store = SessionStore(StateFolder(settings.state_dir), settings.role.baseline(), self._log.state_lost)
        self._sessions = SessionWatch(store, self._log, self._events.put)
        self._etcd = EtcdStatus(asked_at=time.monotonic())
        self._outcome: Outcome | None = None
        self._due = 0.0
        self._configured_at = -settings.min_interval
        self._files: dict[Path, Stamp | int | None] = {}
        self._started_at = time.time()
        self._ready_since: float | None = None
        self._not_ready_since: float | None = None

    def run(self) -> None:
        """Runs until SIGTERM or SIGINT; BIRD keeps its sessions.

        Raises:
            OwnedElsewhere: another rrwatch looks after the same files.
        """
        self._reconciler.claim()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        gc.set_threshold(*_COLLECT_RARELY)
        role, endpoints = self._settings.role, list(self._settings.etcd.endpoints)
        self._log.started(version=rrwatch.__version__, viewer=role.summary(), etcd=endpoints)
        self._cluster.start()
        self._watcher.start()
        started = threading.Timer(START_GRACE, self._notifier.ready)
        started.daemon = True
        started.start()
        self._report()  # the status pages answer before the first pass
        try:
            while not self._stop.is_set():
                self._turn()
        except Stopping:
            pass
        finally:
            started.cancel()
            self._notifier.stopping()
            self._watcher.stop()
            self._folders.stop()
            self._sessions.stop()
            self._reconciler.close()
            self._log.stopped("asked to")

    def _follower_of(self, prefix: str) -> Follower:
        role = self._settings.role
        # The nodes' own keys tell by themselves whether they were deleted one node at a time.
        is_of_nodes = role.model.names.host_of(f"{prefix}/name") is not None
        return Follower(
            open_datastore(self._settings.etcd, self._members),
            prefix,
            self._events.put,
            self._settings.resync_interval,
            self._settings.etcd_spread,
            () if is_of_nodes else [other for other in role.prefixes(None) if other != prefix],
        )

    def _on_signal(self, number: int, _: object) -> None:
        # A handler may run between any two steps of the loop: it only leaves a request.
        if number == signal.SIGHUP:
            self._events.put(Request.RELOAD)
        else:
            self._stop.set()
            self._events.put(Request.STOP)

    def _turn(self) -> None:
        write_due_in = self._reconciler.guard.write_due_in
        waits = (_BEAT, self._due - time.monotonic(), _BEAT if write_due_in is None else write_due_in)
        with self._faults_logged():
            try:
                self._take_events(max(0.0, min(waits)))
            except Exception:
                self._folders.relist()  # the event that caused it is lost
                raise
        self._notifier.alive()
        with self._faults_logged():
            if time.monotonic() >= self._due and not self._stop.is_set():
                self._pass()
            self._reconciler.guard.keep()
        self._report()

    @contextlib.contextmanager
    def _faults_logged(self) -> Iterator[None]:
        """Logs a defect and continues: a restart would meet the same records, while a later pass may see others."""
        try:
            yield
        except Stopping:
            raise
        except Exception as error:  # noqa: BLE001  # logged in full
            retry_in = self._retries.failed()
            self._due = time.monotonic() + retry_in
            self._log.fault(error, retry_in)

    def _take_events(self, timeout: float) -> None:
        """Takes the events that have come, after waiting for the first one."""
        with contextlib.suppress(queue.Empty):
            self._take(self._events.get(timeout=timeout))
            for _ in range(_EVENTS_MAX):
                self._take(self._events.get_nowait())

    def _take(self, event: Event) -> None:
        match event:
            case FileChanged():
                reconciler = self._reconciler
                operators = reconciler.templates.has_changed() or reconciler.passwords.has_changed()
                asked = reconciler.guard.hold or reconciler.freezer.has_request
                if asked or operators or self._files != self._stamps():
                    self._want_pass()
            case Request.RELOAD:
                self._log.reloading()
                self._folders.relist()
                self._reconciler.templates.reread()
                self._want_pass()
            case Observation():
                self._sessions.take(event, self._outcome)
            case Request.STOP:
                pass
            case Snapshot() | Changes():
                self._take_records(event)
            case UpToDate():
                self._reconciler.hear(event)
                self._etcd = self._etcd.heard(event.endpoint, event.index, self._folders.size)
            case Unreachable():
                self._etcd = self._etcd.lost(event.endpoint, event.reason)
                self._log.lost(event)
            case Alarm():
                self._reconciler.hear(event)
                self._log.alarm(event)

    def _take_records(self, event: Snapshot | Changes) -> None:
        changed = self._cluster.take(event)
        if isinstance(event, Snapshot):
            self._etcd = self._etcd.listed(event.endpoint, event.index, self._folders.size)
            self._log.synced(event, len(changed))
        else:
            self._etcd = self._etcd.heard(self._etcd.endpoint, event.index, self._folders.size, event=True)
        if self._cluster.has_news:
            self._want_pass()

    def _want_pass(self) -> None:
        """Schedules a pass, no sooner than `min_interval` after the last configure."""
        self._due = min(self._due, max(time.monotonic(), self._configured_at + self._settings.min_interval))

    def _pass(self) -> None:
        self._due = time.monotonic() + VERIFY_INTERVAL
        self._watcher.refresh(self._reconciler.passwords.folders)
        with self._sessions.quiet():
            outcome = self._reconciler.run_pass(self._cluster.topology())
        if outcome is None:
            return
        self._sessions.passed(outcome)
        if self._outcome is None:
            # The collector need not look at what is known by now: at 20,000 nodes that would take it a second.
            gc.freeze()
            gc.set_threshold(*_COLLECT_NORMALLY)
        self._outcome = outcome
        now = time.monotonic()
        self._due = now + (outcome.retry_in or VERIFY_INTERVAL)
        templates_due = self._reconciler.templates.due
        if templates_due is not None:
            self._due = min(self._due, templates_due)
        freeze_ends_in = self._reconciler.freezer.due_in
        if freeze_ends_in is not None:
            self._due = min(self._due, now + freeze_ends_in)
        if any(result.applied.took for result in outcome.results.values()):
            self._configured_at = now
        self._files = self._stamps()

    def _report(self) -> None:
        """Publishes how things stand, to the status pages and to the service manager."""
        status = self._status()
        if not status.unready():
            self._ready_since, self._not_ready_since = self._ready_since or time.time(), None
        else:
            self._ready_since, self._not_ready_since = None, self._not_ready_since or time.time()
        self._publish(replace(status, ready_since=self._ready_since, not_ready_since=self._not_ready_since))
        self._notifier.status(status.summary())
        if status.is_settled:
            self._notifier.ready()

    def _stamps(self) -> dict[Path, Stamp | int | None]:
        """What tells whether a file of BIRD's, or its socket, has changed since the last pass."""
        targets = self._settings.bird_paths.candidates()
        births = self._bird.births()
        files: dict[Path, Stamp | int | None] = {target.config: ConfigFile(target.config).stamp() for target in targets}
        return files | {target.socket: births.get(target) for target in targets}

    def _status(self) -> Status:
        reconciler = self._reconciler
        return Status(
            role=self._settings.role.summary(),
            beat=time.monotonic(),
            etcd=self._etcd,
            outcome=self._outcome,
            template_error=reconciler.templates.state.error,
            hold=reconciler.guard.hold,
            frozen=reconciler.freezer.frozen,
            pending=reconciler.freezer.standing.pending,
            waiting=reconciler.waiting,
            started_at=self._started_at,
            counters=reconciler.history.counters,
            recent=reconciler.history.recent,
            observed=self._sessions.observed,
            session_metrics=self._settings.session_metrics,
            hooks=self._hooks.counts(),
        )

"""The commands that act on BIRD: the daemon with all that surrounds it, and a single pass."""

import contextlib
import threading
import time

from rrwatch.bird.apply import State
from rrwatch.commands import keys
from rrwatch.daemon.birds import LocalBird
from rrwatch.daemon.loop import Daemon
from rrwatch.daemon.reconciler import Reconciler
from rrwatch.errors import MissingRecord, RrwatchError
from rrwatch.guard.baseline import Hold, StateFolder
from rrwatch.report.events import EventLog
from rrwatch.report.hooks import Hooks
from rrwatch.report.http import StatusServer
from rrwatch.report.systemd import Notifier
from rrwatch.settings.model import Settings

_RELEASE_TIMEOUT = 10.0  # seconds; a running daemon looks for a release every 5


def run(settings: Settings) -> None:
    """Runs the daemon until it is told to stop.

    Raises:
        UsageError: the settings cannot be put into effect.
    """
    settings.require_datastore()
    settings.require_configuration()
    with contextlib.ExitStack() as stack:
        hooks = Hooks.of(settings.hooks, settings.role.summary())
        hooks.start()
        stack.callback(hooks.stop)
        server = StatusServer(settings.status_listen) if settings.status_listen else None
        if server:
            server.start()
            stack.callback(server.stop)
        publish = server.publish if server else lambda _: None
        Daemon(settings, Notifier.from_environment(), publish, hooks=hooks).run()


def once(settings: Settings, timeout: float) -> set[State] | None:
    """Runs one pass of the reconciler that `run` uses, after listing every folder that the role could need.

    Args:
        timeout: seconds to try to reach the datastore.

    Returns:
        How the BIRDs stand after it, None where the guard holds something.

    Raises:
        UsageError: the settings cannot be put into effect.
        RrwatchError: nothing could be applied.
    """
    settings.require_datastore()
    settings.require_configuration()
    hooks = Hooks.of(settings.hooks, settings.role.summary())
    reconciler = Reconciler(settings, LocalBird(settings, threading.Event()), EventLog(hooks.tell))
    reconciler.claim()
    try:
        hooks.start()
        items: dict[str, str] = {}
        for snapshot in keys.snapshots(settings.etcd, settings.role.all_prefixes, timeout):
            reconciler.hear(snapshot, snapshot.items.keys())
            items |= snapshot.items
        outcome = reconciler.run_pass(reconciler.settle(items))
    finally:
        reconciler.close()
        hooks.stop()
    if outcome is None or outcome.hold:
        return None
    if outcome.waits_for:
        raise MissingRecord(f"{outcome.waits_for} is missing in etcd, or cannot be read")
    if not outcome.results:
        raise RrwatchError(outcome.templates.error)
    return outcome.states


def release(settings: Settings) -> str:
    """Lets what is held go ahead.

    Returns:
        One line for people: what came of it.

    Raises:
        StateError: the state cannot be read, or the request cannot be written.
    """
    folder, role = StateFolder(settings.state_dir), settings.role.baseline()
    hold = _hold(folder, role)
    if not hold:
        return "nothing is held"
    folder.ask_release(hold)
    what = f"{len(hold.loss.sessions)} sessions to end: {hold.loss.reason}"
    end = time.monotonic() + _RELEASE_TIMEOUT
    while time.monotonic() < end:
        now = _hold(folder, role)
        if now is None or now.id != hold.id:
            return f"released; {what}"
        time.sleep(0.05)
    return f"rrwatch does not run here, and will let it go ahead when it starts; {what}"


def _hold(folder: StateFolder, role: str) -> Hold | None:
    baseline = folder.load(role)
    return baseline.hold if baseline else None

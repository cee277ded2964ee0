"""The commands that act on BIRD: the daemon with all that surrounds it, and a single pass."""

import contextlib
import gc
import threading
import time

from rrwatch.bird import templates
from rrwatch.bird.apply import Applier, State
from rrwatch.bird.capabilities import CapabilityProbe
from rrwatch.bird.lock import FolderLock
from rrwatch.calico.store import RecordStore
from rrwatch.commands import keys
from rrwatch.daemon.loop import Daemon
from rrwatch.daemon.reconciler import apply_all, render_all, sessions_there
from rrwatch.guard.baseline import StateFolder
from rrwatch.guard.guard import Guard
from rrwatch.report.events import EventLog
from rrwatch.report.http import StatusServer
from rrwatch.report.outcome import Outcome
from rrwatch.report.systemd import Notifier
from rrwatch.settings.model import Settings

_RELEASE_PATIENCE = 10.0  # seconds; a running daemon looks every 5


def run(settings: Settings) -> None:
    """Runs the daemon until it is told to stop.

    Raises:
        UsageError: the settings cannot be put into effect.
    """
    # Nothing of what is read first goes away by itself: to look for that in it, again and again, is a waste.
    gc.disable()
    with contextlib.ExitStack() as stack:
        server = StatusServer(settings.status_listen) if settings.status_listen else None
        if server:
            server.start()
            stack.callback(server.stop)
        Daemon(settings, Notifier.from_environment(), server.publish if server else lambda _: None).run()


def once(settings: Settings, timeout: float) -> set[State] | None:
    """One pass; -> how the BIRDs stand after it, None where it is held.

    Args:
        timeout: seconds to try to reach etcd.

    Raises:
        RrwatchError: it did not come to the point of telling BIRD.
    """
    owner = FolderLock()
    owner.claim(target.config for target in settings.bird_paths.first())
    try:
        return _once(settings, timeout, owner)
    finally:
        owner.release()


def release(settings: Settings) -> str:
    """Lets what is held go ahead; -> what came of it, for people.

    Raises:
        StateError: word cannot be left.
    """
    folder = StateFolder(settings.state_dir)
    kept = folder.load()
    if not kept or not kept.held:
        return "nothing is held"
    folder.ask_release(kept.held_id)
    what = f"{len(kept.held.sessions)} sessions to end: {kept.held.reason}"
    end = time.monotonic() + _RELEASE_PATIENCE
    while time.monotonic() < end:
        now = folder.load()
        if now and now.held_id != kept.held_id:
            return f"released; {what}"
        time.sleep(0.05)
    return f"rrwatch does not run here, and will let it go ahead when it starts; {what}"


def _once(settings: Settings, timeout: float, owner: FolderLock) -> set[State] | None:
    began = time.monotonic()
    journal = EventLog()
    loaded = templates.load(settings.templates)
    guard = Guard(
        StateFolder(settings.state_dir),
        settings.guard,
        settings.role.summary(),
        settings.role.model,
        journal.state_lost,
    )
    items: dict[str, str] = {}
    for snapshot in keys.snapshots(settings.etcd, settings.role.all_prefixes, timeout):
        guard.hear(snapshot, 0)
        items |= snapshot.items
    topology = RecordStore.of(items, settings.role.model).topology()
    stop = threading.Event()
    capabilities = CapabilityProbe(settings.bird_paths, settings.grammar, stop).learn(
        topology, filters=settings.role.takes_filters
    )
    derived = settings.role.derive(topology, capabilities)
    journal.derived(derived)
    wanted = render_all(settings.role, loaded, settings.bird_paths, topology, derived, capabilities)
    names = {session.name for session in derived.sessions}
    held = guard.weigh(settings.role.nodes(topology), lambda: sessions_there(settings.bird_paths, stop) - names)
    journal.held(held)
    if held:
        return None
    owner.claim(target.config for target in wanted)
    applied = apply_all(wanted, Applier(stop))
    journal.passed(Outcome((), derived, wanted, applied, time.monotonic() - began), drift=False, retry_in=None)
    guard.close()
    return {result.state for result in applied.values()}

"""The commands that act on BIRD: the daemon with all that surrounds it, and a single pass."""

import contextlib
import gc
import threading
import time

import structlog

from rrwatch import keys
from rrwatch.bgp.store import RecordStore
from rrwatch.bird import templates
from rrwatch.bird.apply import Applier, State
from rrwatch.bird.dialect import Interpreter
from rrwatch.bird.ownership import Ownership
from rrwatch.daemon import Daemon
from rrwatch.httpd import StatusServer
from rrwatch.journal import Journal
from rrwatch.keeper import Keeper
from rrwatch.notify import Notifier
from rrwatch.reconcile import Outcome, apply_all, render_all, sessions_there
from rrwatch.settings import Settings
from rrwatch.state import StateFolder

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
            structlog.get_logger("rrwatch").info("status_served", address=server.address)
        Daemon(settings, Notifier.from_environment(), server.publish if server else lambda _: None).run()


def once(settings: Settings, timeout: float) -> set[State] | None:
    """One pass; -> how the BIRDs stand after it, None where it is held.

    Args:
        timeout: seconds to try to reach etcd.

    Raises:
        RrwatchError: it did not come to the point of telling BIRD.
    """
    owner = Ownership()
    owner.claim(target.config for target in settings.places.first())
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


def _once(settings: Settings, timeout: float, owner: Ownership) -> set[State] | None:
    began = time.monotonic()
    journal = Journal()
    loaded = templates.load(settings.templates)
    keeper = Keeper(StateFolder(settings.state_dir), settings.guard, settings.view.summary(), journal.state_lost)
    items: dict[str, str] = {}
    for snapshot in keys.snapshots(settings.etcd, settings.view.all_prefixes, timeout):
        keeper.hear(snapshot, 0)
        items |= snapshot.items
    topology = RecordStore.of(items).topology()
    stop = threading.Event()
    dialect = Interpreter(settings.places, settings.grammar, stop).learn(topology, filters=settings.view.takes_filters)
    derived = settings.view.derive(topology, dialect)
    journal.derived(derived)
    wanted = render_all(settings.view, loaded, settings.places, topology, derived, dialect)
    names = {session.name for session in derived.sessions}
    held = keeper.weigh(settings.view.nodes(topology), lambda: sessions_there(settings.places, stop) - names)
    journal.held(held)
    if held:
        return None
    owner.claim(target.config for target in wanted)
    applied = apply_all(wanted, Applier(stop))
    journal.passed(Outcome((), derived, wanted, applied, time.monotonic() - began), drift=False, retry_in=None)
    keeper.close()
    return {result.state for result in applied.values()}

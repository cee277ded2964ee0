"""The commands that act on BIRD: the daemon with all that surrounds it, and a single pass."""

import contextlib
import threading
import time

import structlog

from rrwatch import keys
from rrwatch.bgp.store import RecordStore
from rrwatch.bird import templates
from rrwatch.bird.apply import State
from rrwatch.bird.dialect import Interpreter
from rrwatch.daemon import Daemon
from rrwatch.httpd import StatusServer
from rrwatch.journal import Journal
from rrwatch.notify import Notifier
from rrwatch.reconcile import Outcome, apply_all, render_all
from rrwatch.settings import Settings


def run(settings: Settings) -> None:
    """Runs the daemon until it is told to stop.

    Raises:
        UsageError: the settings cannot be put into effect.
    """
    with contextlib.ExitStack() as stack:
        server = StatusServer(settings.status_listen) if settings.status_listen else None
        if server:
            server.start()
            stack.callback(server.stop)
            structlog.get_logger("rrwatch").info("status_served", address=server.address)
        Daemon(settings, Notifier.from_environment(), server.publish if server else lambda _: None).run()


def once(settings: Settings, timeout: float) -> set[State]:
    """One pass; -> how the BIRDs stand after it.

    Args:
        timeout: seconds to try to reach etcd.

    Raises:
        RrwatchError: it did not come to the point of telling BIRD.
    """
    began = time.monotonic()
    journal = Journal()
    loaded = templates.load(settings.templates)
    topology = RecordStore.of(keys.from_etcd(settings.etcd, settings.view.all_prefixes, timeout)).topology()
    stop = threading.Event()
    dialect = Interpreter(settings.places, settings.grammar, stop).learn(topology, filters=settings.view.takes_filters)
    derived = settings.view.derive(topology, dialect)
    journal.derived(derived)
    wanted = render_all(settings.view, loaded, settings.places, topology, derived, dialect)
    applied = apply_all(wanted, stop)
    journal.passed(Outcome((), derived, wanted, applied, time.monotonic() - began), drift=False, retry_in=None)
    return {result.state for result in applied.values()}

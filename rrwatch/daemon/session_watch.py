"""The sessions of all BIRDs of this host: observers, table and store, as the loop uses them."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from rrwatch.bird.target import Target
from rrwatch.daemon.observer import Observer, Quiet
from rrwatch.daemon.session_store import SessionStore
from rrwatch.daemon.session_table import Observation, SessionTable
from rrwatch.report.events import EventLog
from rrwatch.report.outcome import Outcome
from rrwatch.report.sessions import Moment, ObservedBird


class SessionWatch:
    """Keeps an observer for each BIRD that the last pass configured. It belongs to the loop."""

    def __init__(self, store: SessionStore, log: EventLog, publish: Callable[[Observation], None]) -> None:
        """Loads what was remembered; starts no observer yet.

        Args:
            log: is told of sessions that were lost or came up.
            publish: puts an observation on the loop's queue; called from other threads.
        """
        self._store, self._log, self._publish = store, log, publish
        self._table = SessionTable(store.load(Moment.now()))
        self._quiet = Quiet()
        self._observers: dict[Target, Observer] = {}

    @property
    def observed(self) -> Mapping[str, ObservedBird]:
        """What each BIRD said, by the names of BIRDs."""
        return self._table.observed

    def quiet(self) -> AbstractContextManager[None]:
        """A context for a pass, in which no poll begins."""
        return self._quiet.kept()

    def passed(self, outcome: Outcome) -> None:
        """Takes note of a pass: observes the BIRDs that it was about, and knows what it changed."""
        for target, result in outcome.results.items():
            if result.applied.configured:
                self._table.applied(target.name, result.applied.plan, time.monotonic())
            if target not in self._observers:
                self._observers[target] = observer = Observer(target, self._quiet, self._publish)
                observer.start()
        if outcome.results:
            for target in self._observers.keys() - outcome.results.keys():
                self._observers.pop(target).ask_to_stop()

    def take(self, seen: Observation, outcome: Outcome | None) -> None:
        """Takes the result of one poll.

        Args:
            outcome: of the last pass.
        """
        results = outcome.results.items() if outcome else ()
        wanted = next((result.wanted.blocks for target, result in results if target.name == seen.daemon), None)
        if wanted is None:
            return  # polled before its observer was stopped
        found = self._table.take(seen, wanted)
        derived = outcome.derived if outcome else None
        self._log.sessions_moved(seen.daemon, found.lost, found.up, derived.sessions if derived else ())
        self._store.save(self._table.remembered)

    def stop(self) -> None:
        """Stops the observers, and writes what must survive."""
        for observer in self._observers.values():
            observer.ask_to_stop()
        for observer in self._observers.values():
            observer.stop()
        self._store.close(self._table.remembered)

"""List, watch, list again: the thread that tells of everything that happens below a prefix, without a gap.

Continuity rests on two numbers. A list, and the headers of every watch, carry etcd's index C at that moment. A watch
from N answers with the oldest event from N on that its history holds, so no event with an index up to C can be missed
by asking again from C + 1. An event that arrives later than its watch was opened (its index is above C) is only a
reason to ask again: a member that lags behind and then takes over a snapshot of the leader's store skips events on open
watches, but the history that it answers from afterwards is whole, or says that it is not (etcd v2 API, "Waiting for a
change" and error 401).
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from rrwatch.datastore.mirror import Change, Snapshot
from rrwatch.errors import DatastoreError, Resync, Stopping, TransportError

LIST_INTERVAL_MIN = 0.25
"""Seconds between two lists, at least: a history that overflows all the time must not make lists its only answer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """etcd answered, and nothing has changed below the prefix up to this index."""

    prefix: str
    index: int
    endpoint: str


@dataclass(frozen=True, slots=True)
class Lost:
    """etcd did not answer, or not in a way that makes sense; the next attempt is under way."""

    prefix: str
    endpoint: str
    reason: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """etcd's data is not the continuation of what was there before: wiped, restored, or another cluster."""

    prefix: str
    endpoint: str
    reason: str


News = Snapshot | Change | Heard | Lost | Alarm


@dataclass(frozen=True, slots=True)
class Watched:
    """What a watch brought.

    Attributes:
        index: etcd's index when it was opened.
        change: None where nothing came in time.
        at: the event's index; of an event that has no bearing on the prefix too.
    """

    index: int
    cluster_id: str
    at: int | None = None
    change: Change | None = None


class Datastore(Protocol):
    """What the follower asks of etcd; every call is bounded in time.

    All of them raise TransportError where no usable answer came, and Resync where the answer breaks continuity.
    """

    @property
    def endpoint(self) -> str:
        """The URL that is asked now."""

    def list(self, prefix: str) -> Snapshot:
        """Everything below the prefix, as a majority of the cluster has it."""

    def watch(self, prefix: str, index: int) -> Watched | None:
        """The first event below the prefix with that index or a higher one; None where not even etcd's index came."""

    def probe(self, prefix: str) -> str:
        """Makes sure that this member is still in touch with a majority; -> the cluster's id."""

    def rotate(self) -> None:
        """Goes on to the next endpoint, on a fresh connection."""

    def interrupt(self) -> None:
        """Ends a call that another thread is waiting in; it raises TransportError there."""


class Follower(threading.Thread):
    """Follows one prefix until it is stopped; whatever happens, the thread lives and tries again."""

    def __init__(
        self,
        datastore: Datastore,
        prefix: str,
        publish: Callable[[News], None],
        resync_interval: float,
        spread: float = 0.0,
    ) -> None:
        """Makes a follower; `start()` sets it going.

        Args:
            prefix: an absolute key without a slash at its end.
            publish: is called with all news in order, from this thread.
            resync_interval: seconds after which everything is listed again, whatever the watch said.
            spread: seconds over which the first list, and the first after an outage, are put off at random: thousands
                of followers must not all ask an etcd that has just come back.
        """
        super().__init__(name=f"follow {prefix}", daemon=True)
        self._datastore, self._prefix, self._publish = datastore, prefix, publish
        self._resync_interval, self._spread = resync_interval, spread
        self._stopping = threading.Event()
        self._relist = threading.Event()
        self._highest = 0
        self._cluster_id = ""
        self._listed = -LIST_INTERVAL_MIN

    def stop(self) -> None:
        """Ends the thread soon; it publishes nothing more of its own accord."""
        self._stopping.set()
        self._datastore.interrupt()

    def relist(self) -> None:
        """Lists again now."""
        self._relist.set()
        self._datastore.interrupt()

    def run(self) -> None:
        """Lists, watches, and starts over, for ever."""
        listing = Retrying(
            retry=retry_if_exception_type(TransportError),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            before_sleep=self._lost_while_listing,
            sleep=self._pause,
            reraise=True,
        )
        put_off = True
        while not self._stopping.is_set():
            try:
                if put_off:
                    self._pause(random.uniform(0, self._spread))  # noqa: S311  # no secret
                put_off = False
                self._pause(self._listed + LIST_INTERVAL_MIN - time.monotonic())
                snapshot = listing(self._list)
                self._watch(snapshot)
            except Stopping:
                return
            except Resync as resync:
                _log.debug("listing again: %s", resync)
            except DatastoreError as error:
                self._lost(str(error))
                put_off = not self._relist.is_set()
            # Nothing that goes wrong here may leave the daemon without a follower.
            except Exception as error:  # noqa: BLE001  # logged, and the same path as for a lost connection
                _log.exception("unexpected, listing again")
                self._lost(f"{type(error).__name__}: {error}")

    def _list(self) -> Snapshot:
        self._listed = time.monotonic()
        self._relist.clear()
        snapshot = self._datastore.list(self._prefix)
        if self._cluster_id and snapshot.cluster_id != self._cluster_id:
            self._alarm(f"etcd is another cluster than before: {snapshot.cluster_id}, it was {self._cluster_id}")
        elif snapshot.index < self._highest:
            self._alarm(f"etcd went back from index {self._highest} to {snapshot.index}: wiped, or an older backup")
        self._cluster_id, self._highest = snapshot.cluster_id, snapshot.index
        self._publish(snapshot)
        return snapshot

    def _watch(self, snapshot: Snapshot) -> None:
        following = snapshot.index + 1
        while not self._relist.is_set() and time.monotonic() < self._listed + self._resync_interval:
            watched = self._datastore.watch(self._prefix, following)
            if self._stopping.is_set():
                raise Stopping("the follower is stopping")
            if watched:
                following = self._after(watched, following, snapshot.cluster_id)
                self._highest = max(self._highest, following - 1)
            # A silence without an index is that of a proxy, which keeps all to itself until there is news, or that of
            # a dead connection. Nothing is skipped by asking again from the same index.
            if watched is None or watched.at is None:
                if self._datastore.probe(self._prefix) != snapshot.cluster_id:
                    raise Resync("the probe was answered by another cluster")
                self._publish(Heard(self._prefix, following - 1, self._datastore.endpoint))

    def _after(self, watched: Watched, following: int, cluster_id: str) -> int:
        """Takes what a watch from `following` brought; -> the index to go on from."""
        if watched.cluster_id != cluster_id:
            raise Resync(f"the watch was answered by cluster {watched.cluster_id}")
        if watched.index < following - 1:
            raise Resync(f"the watch was answered at index {watched.index}, after {following - 1}")
        if watched.at is None or watched.at > watched.index:
            return watched.index + 1
        if watched.change:
            self._publish(watched.change)
        return watched.at + 1

    def _lost_while_listing(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._lost(str(error))

    def _lost(self, reason: str) -> None:
        if self._stopping.is_set() or self._relist.is_set():
            return
        self._publish(Lost(self._prefix, self._datastore.endpoint, reason))
        self._datastore.rotate()

    def _alarm(self, reason: str) -> None:
        self._publish(Alarm(self._prefix, self._datastore.endpoint, reason))

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(max(0.0, seconds)):
            raise Stopping("the follower is stopping")

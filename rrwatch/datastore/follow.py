"""The thread that follows one prefix: it lists, watches, and lists again, and publishes every change without a gap.

Continuity rests on the index. A list says at which index it was made, and each response to a watch says up to which
index everything has been handed over; the next watch starts at the index after that. A datastore keeps a history from
which it answers a watch that starts in the past, or it says that this history is gone. So no change is lost as long as
each answer comes from the same cluster and its index does not go back. If one of that is in doubt, the follower lists
again, and the new snapshot replaces everything.

Which events an adapter can trust is its own matter: it hands over only changes after which no earlier one can follow.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from rrwatch.datastore.port import Changes, Datastore, Snapshot, WatchResponse
from rrwatch.errors import DatastoreError, Resync, Stopping, TransportError

LIST_INTERVAL_MIN = 0.25
"""Seconds between two lists, at least. If the history overflows all the time, etcd is not asked for lists only."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UpToDate:
    """The datastore answered, and nothing below the prefix has changed up to this index."""

    prefix: str
    index: int
    endpoint: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The datastore did not answer, or its answer makes no sense; the follower retries."""

    prefix: str
    endpoint: str
    reason: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """The data does not continue what was there before: etcd was wiped, restored, or is another cluster."""

    prefix: str
    endpoint: str
    reason: str


DatastoreEvent = Snapshot | Changes | UpToDate | Unreachable | Alarm


class Follower(threading.Thread):
    """Follows one prefix until it is stopped. No error ends the thread: it retries."""

    def __init__(
        self,
        datastore: Datastore,
        prefix: str,
        publish: Callable[[DatastoreEvent], None],
        resync_interval: float,
        spread: float = 0.0,
    ) -> None:
        """Makes a follower; `start()` starts the thread.

        Args:
            prefix: an absolute key without a slash at its end.
            publish: called with each event, in order, from this thread.
            resync_interval: seconds between two full lists.
            spread: seconds over which the first list, and the first one after an outage, are delayed at random, so
                that thousands of followers do not all ask an etcd that has just come back.
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
        """Ends the thread soon."""
        self._stopping.set()
        self._datastore.interrupt()

    def relist(self) -> None:
        """Lists again now."""
        self._relist.set()
        self._datastore.interrupt()

    def run(self) -> None:
        """Lists and watches until the follower is stopped."""
        listing = Retrying(
            retry=retry_if_exception_type(TransportError),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            before_sleep=self._list_failed,
            sleep=self._pause,
            reraise=True,
        )
        delayed = True
        while not self._stopping.is_set():
            try:
                if delayed:
                    self._pause(random.uniform(0, self._spread))  # noqa: S311  # not for cryptography
                delayed = False
                self._pause(self._listed + LIST_INTERVAL_MIN - time.monotonic())
                listing(self._list)
                self._watch()
            except Stopping:
                return
            except Resync as resync:
                _log.debug("listing again: %s", resync)
            except DatastoreError as error:
                self._unreachable(str(error))
                delayed = not self._relist.is_set()
            # The daemon must not lose a follower, whatever goes wrong here.
            except Exception as error:  # noqa: BLE001  # logged, and handled like a lost connection
                _log.exception("unexpected error, listing again")
                self._unreachable(f"{type(error).__name__}: {error}")

    def _list(self) -> None:
        self._listed = time.monotonic()
        self._relist.clear()
        snapshot = self._datastore.list(self._prefix)
        if self._cluster_id and snapshot.cluster_id != self._cluster_id:
            self._alarm(f"etcd is another cluster than before: {snapshot.cluster_id}, it was {self._cluster_id}")
        elif snapshot.index < self._highest:
            self._alarm(f"etcd went back from index {self._highest} to {snapshot.index}: wiped, or an older backup")
        self._cluster_id, self._highest = snapshot.cluster_id, snapshot.index
        self._publish(snapshot)

    def _watch(self) -> None:
        """Watches until it is time to list again."""
        while not self._relist.is_set() and time.monotonic() < self._listed + self._resync_interval:
            response = self._datastore.watch(self._prefix, self._highest + 1)
            if self._stopping.is_set():
                raise Stopping("the follower is stopping")
            if response:
                self._advance(response)
            # A proxy may send nothing at all before there is an event, and so does a dead connection. Nothing is
            # skipped by asking again from the same index.
            if response is None or response.timed_out:
                if self._datastore.probe(self._prefix) != self._cluster_id:
                    raise Resync("the probe was answered by another cluster")
                self._publish(UpToDate(self._prefix, self._highest, self._datastore.endpoint))

    def _advance(self, response: WatchResponse) -> None:
        """Takes a response to a watch from the index after `_highest`."""
        if response.cluster_id != self._cluster_id:
            raise Resync(f"the watch was answered by cluster {response.cluster_id}")
        if response.index < self._highest + bool(response.changes):
            raise Resync(f"the watch was answered at index {response.index}, after {self._highest}")
        self._highest = response.index
        if response.changes:
            self._publish(Changes(self._prefix, response.changes, response.index))

    def _list_failed(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._unreachable(str(error))

    def _unreachable(self, reason: str) -> None:
        if self._stopping.is_set() or self._relist.is_set():
            return
        self._publish(Unreachable(self._prefix, self._datastore.endpoint, reason))
        self._datastore.rotate()

    def _alarm(self, reason: str) -> None:
        self._publish(Alarm(self._prefix, self._datastore.endpoint, reason))

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(max(0.0, seconds)):
            raise Stopping("the follower is stopping")

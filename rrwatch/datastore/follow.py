"""The thread that follows one prefix: it lists, watches, and lists again, and publishes every change without a gap.

Continuity rests on the index. A list says at which index it was made, and each response to a watch says up to which
index everything has been handed over; the next watch starts at the index after that. A datastore keeps a history from
which it answers a watch that starts in the past, or it says that this history is gone. So no change is lost as long as
each answer comes from the same cluster and its index does not go back. If one of that is in doubt, the follower lists
again, and the new snapshot replaces everything. Which events an adapter can trust is its own matter: it hands over only
changes after which no earlier one can follow.

A lost connection leaves continuity in doubt: an etcd that was restored from a copy meanwhile has the same cluster id,
and its index may have passed the old one already. But a list does not say how a key went: whether it was deleted, or
its folder, or whether its time to live ran out. So before a follower publishes a list, it reads the history up to the
list from where it was. After an outage the changes of that time are published one by one, as if the watch had never
ended, and the list then confirms the result.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rrwatch.datastore.port import Changes, Datastore, Snapshot, WatchResponse
from rrwatch.errors import DatastoreError, Resync, Stopping

LIST_INTERVAL_MIN = 0.25
"""Seconds between two lists, at least. If the history overflows all the time, etcd is not asked for lists only."""

LIST_INTERVAL_MAX = 60.0
"""Seconds between two lists while lists work and watches do not; the interval doubles until then."""

RETRY_MIN, RETRY_MAX = 0.05, 2.0
"""Seconds until a failed call is retried: a random time, whose limit doubles from the one to the other."""

INTERRUPT_INTERVAL = 0.1
"""Seconds between two interruptions of a follower that is to end."""

CATCH_UP_TIMEOUT = 1.0
"""Seconds to wait for an event of the history. The history is there at once; the end of it is a silence."""

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
        beside: Sequence[str] = (),
    ) -> None:
        """Makes a follower; `start()` starts the thread.

        Args:
            prefix: an absolute key without a slash at its end.
            publish: called with each event, in order, from this thread.
            resync_interval: seconds between two full lists.
            spread: seconds over which the first list, and the first one after an outage, are delayed at random, so
                that thousands of followers do not all ask an etcd that has just come back.
            beside: other prefixes, of which each deletion here must tell whether its revision deleted something there.
        """
        super().__init__(name=f"follow {prefix}", daemon=True)
        self._datastore, self._prefix, self._publish = datastore, prefix, publish
        self._resync_interval, self._spread, self._beside = resync_interval, spread, beside
        self._stopping = threading.Event()
        self._relist = threading.Event()
        self._index = 0  # everything up to it is published
        self._cluster_id = ""
        self._listed = -LIST_INTERVAL_MIN  # when the last good list began
        self._list_due = 0.0
        self._retry_due = 0.0
        self._lists = 0  # since a watch succeeded
        self._failures = 0  # since a call succeeded

    def stop(self) -> None:
        """Asks the thread to end. A call that begins in this moment is not interrupted: `end` asks again."""
        self._stopping.set()
        self._datastore.interrupt()

    def end(self, timeout: float) -> bool:
        """Ends the thread; returns whether it has ended within that many seconds."""
        give_up_at = time.monotonic() + timeout
        # An interruption misses a call that is about to begin, so it is repeated.
        while self.is_alive() and (left := give_up_at - time.monotonic()) > 0:
            self.stop()
            self.join(min(left, INTERRUPT_INTERVAL))
        return not self.is_alive()

    def relist(self) -> None:
        """Lists again now, or after a watch that begins in this moment."""
        self._relist.set()
        self._datastore.interrupt()

    def run(self) -> None:
        """Lists and watches until the follower is stopped."""
        self._retry_due = time.monotonic() + random.uniform(0, self._spread)  # noqa: S311  # not for cryptography
        while not self._stopping.is_set():
            try:
                self._pause(self._retry_due)
                if self._cluster_id and not self._relist.is_set() and time.monotonic() < self._list_due:
                    self._watch()
                else:
                    self._list()
                self._failures = 0
            except Stopping:
                return
            except Resync as resync:
                _log.debug("listing again: %s", resync)
                self._list_due = 0.0
            except DatastoreError as error:
                self._retry(str(error))
            # The daemon must not lose a follower, whatever goes wrong here.
            except Exception as error:  # noqa: BLE001  # logged, and handled like a lost connection
                _log.exception("unexpected error, listing again")
                self._retry(f"an error of rrwatch's own, which the log has in full: {error}")

    def _list(self) -> None:
        self._pause(self._listed + LIST_INTERVAL_MIN)
        began = time.monotonic()
        self._relist.clear()
        snapshot = self._datastore.list(self._prefix)
        if self._cluster_id and snapshot.cluster_id != self._cluster_id:
            self._alarm(f"etcd is another cluster than before: {snapshot.cluster_id}, it was {self._cluster_id}")
        elif snapshot.index < self._index:
            self._alarm(f"etcd went back from index {self._index} to {snapshot.index}: wiped, or an older backup")
        elif self._cluster_id:
            self._catch_up(snapshot.index)
        self._cluster_id, self._index = snapshot.cluster_id, snapshot.index
        self._listed, self._list_due = began, began + self._resync_interval
        self._lists += 1
        self._publish(snapshot)

    def _catch_up(self, index: int) -> None:
        """Publishes the changes up to a list, as far as the history has them."""
        with contextlib.suppress(DatastoreError):  # the list has their result
            while self._index < index:
                response = self._datastore.watch(self._prefix, self._index + 1, CATCH_UP_TIMEOUT)
                if self._stopping.is_set():
                    raise Stopping("the follower is stopping")
                if response is None or response.timed_out or not self._index < response.index <= index:
                    return
                self._advance(response)

    def _watch(self) -> None:
        """Waits for the next change."""
        response = self._datastore.watch(self._prefix, self._index + 1)
        if self._stopping.is_set():
            raise Stopping("the follower is stopping")
        if response:
            self._advance(response)
        # A proxy may send nothing at all before there is an event, and so does a dead connection. Nothing is skipped
        # by asking again from the same index.
        if response is None or response.timed_out:
            if self._datastore.probe(self._prefix) != self._cluster_id:
                raise Resync("the probe was answered by another cluster")
            self._publish(UpToDate(self._prefix, self._index, self._datastore.endpoint))
        self._lists = 0

    def _advance(self, response: WatchResponse) -> None:
        """Takes a response to a watch from the index after `_index`."""
        if response.cluster_id != self._cluster_id:
            raise Resync(f"the watch was answered by cluster {response.cluster_id}")
        if response.index < self._index + bool(response.changes):
            raise Resync(f"the watch was answered at index {response.index}, after {self._index}")
        has_deletions = any(change.value is None for change in response.changes)
        beside = has_deletions and bool(self._beside) and self._datastore.deletes_below(self._beside, response.index)
        self._index = response.index
        if response.changes:
            self._publish(Changes(self._prefix, response.changes, response.index, beside))

    def _retry(self, reason: str) -> None:
        """Moves on to the next endpoint after a failed call, and schedules what comes next."""
        if self._stopping.is_set() or self._relist.is_set():
            return
        self._publish(Unreachable(self._prefix, self._datastore.endpoint, reason))
        self._datastore.rotate()
        now = time.monotonic()
        self._retry_due = now + random.uniform(0, _doubled(RETRY_MIN, self._failures, RETRY_MAX))  # noqa: S311
        if not self._failures:
            list_at = max(now, self._listed + _doubled(LIST_INTERVAL_MIN, self._lists, LIST_INTERVAL_MAX))
            self._list_due = min(self._list_due, list_at + random.uniform(0, self._spread))  # noqa: S311
        self._failures += 1

    def _alarm(self, reason: str) -> None:
        self._publish(Alarm(self._prefix, self._datastore.endpoint, reason))

    def _pause(self, until: float) -> None:
        """Waits until a time on the monotonic clock."""
        if self._stopping.wait(max(0.0, until - time.monotonic())):
            raise Stopping("the follower is stopping")


def _doubled(seconds: float, times: int, most: float) -> float:
    return float(min(seconds * 2 ** min(times, 16), most))

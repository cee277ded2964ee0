"""The port for a datastore: what rrwatch needs of the place where Calico keeps its keys, and the values that cross it.

An adapter implements `Datastore` for one API, such as etcd's v2 API in `etcd_v2.py`; `factory.py` chooses it. What
only one API has stays in its adapter: how it asks, which of its events can be trusted, what its folders are.

A follower lists once, and then watches from the index after the list:

    snapshot = datastore.list("/calico/bgp/v1")
    response = datastore.watch("/calico/bgp/v1", snapshot.index + 1)
    if response:
        for change in response.changes:
            print(response.index, change.key, change.value)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys below a prefix at one moment.

    Attributes:
        prefix: an absolute key without a slash at its end.
        items: key -> value.
        index: the datastore's index, or revision, at that moment; the next change has a higher one.
        cluster_id: the cluster that answered.
        endpoint: the URL that answered.
    """

    prefix: str
    items: Mapping[str, str]
    index: int
    cluster_id: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one key.

    Attributes:
        key: the key of a value; or of a folder, which may be the prefix or stand above it.
        value: the new value; None if the key has no value any more.
        subtree: whether everything below the key is gone too. Only datastores with folders set it.
        expired: whether a time to live ran out. Nobody asked for the deletion at that moment.
    """

    key: str
    value: str | None
    subtree: bool = False
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that one revision of the datastore changed below a prefix; it is applied as a whole.

    Attributes:
        index: the index, or revision, that the datastore had after it.
        deletes_beside: whether the same revision deleted keys below other prefixes that are followed.
    """

    prefix: str
    changes: tuple[Change, ...]
    index: int
    deletes_beside: bool = False


@dataclass(frozen=True, slots=True)
class WatchResponse:
    """How far a watch came.

    Attributes:
        index: everything up to this index has been handed over, in this response or in earlier ones.
        cluster_id: the cluster that answered.
        changes: what the revision `index` changed below the prefix; empty if the response only moves the index on.
        timed_out: whether the watch waited as long as it may without an event. Such a member may have lost touch with
            the others, so the caller probes it.
    """

    index: int
    cluster_id: str
    changes: tuple[Change, ...] = ()
    timed_out: bool = False


class Datastore(Protocol):
    """A connection to a datastore for one user at a time. Every call is bounded in time.

    All calls raise TransportError if no usable answer came: the next endpoint may have one. `watch` raises Resync if it
    cannot continue without a gap: a new list can. Calls raise UsageError for what cannot be a key there.
    """

    @property
    def endpoint(self) -> str:
        """The URL that is asked now."""

    def list(self, prefix: str) -> Snapshot:
        """Returns all keys below the prefix, as a majority of the cluster has them."""

    def watch(self, prefix: str, index: int, timeout: float | None = None) -> WatchResponse | None:
        """Waits for the first revision with that index or a higher one that changed something below the prefix.

        Args:
            timeout: seconds to wait; `Access.watch_timeout` if not given.

        Returns:
            All changes of that revision; or a response without changes, if the index moved on or the time is over.
            None if the time is over and not even the datastore's index arrived.
        """

    def deletes_below(self, prefixes: Sequence[str], index: int) -> bool:
        """Whether the revision with that index deleted keys below any of the prefixes.

        A watch on one prefix cannot tell. True if it can no longer be known.
        """

    def probe(self, prefix: str) -> str:
        """Makes sure that the endpoint is in touch with a majority of the cluster; returns the cluster's id."""

    def swap(self, key: str, before: str | None, after: str | None) -> bool:
        """Writes or deletes a key if nobody else has changed it.

        Args:
            before: the value that the key is expected to have; None if it should not exist.
            after: the new value; None deletes the key.

        Returns:
            Whether the key has the new value now. A key that has it already is left alone, so that a call can be
            repeated if its answer was lost.
        """

    def rotate(self) -> None:
        """Moves on to the next endpoint, with a new connection."""

    def interrupt(self) -> None:
        """Ends a call that another thread is waiting in; the call raises TransportError there."""

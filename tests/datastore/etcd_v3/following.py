"""What the tests of the adapter follow etcd with."""

from collections.abc import Callable
from typing import Any

from lab.process import wait_until
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.port import Change, Changes, Datastore, Snapshot
from tests.datastore.etcd_v2.following import Follow, Mirrored, P

__all__ = ["Follow", "Mirrored", "P", "access_to", "batches", "connect", "until_watching"]


def access_to(*endpoints: str, **others: Any) -> Access:
    """Access with a short timeout for watches."""
    return Access(endpoints, datastore="etcdv3", **{"watch_timeout": 1.0} | others)


def connect(*endpoints: str, **others: Any) -> Datastore:
    """A datastore without a follower."""
    return open_datastore(access_to(*endpoints, **others))


def until_watching(mirrored: Mirrored, write: Callable[[str, str], None]) -> None:
    """Waits until the watch is open, and has brought the key `before`.

    Args:
        write: writes a key.
    """
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    write(f"{P}/before", "1")
    wait_until(lambda: batches(mirrored), "an event on the open watch")


def batches(mirrored: Mirrored) -> list[tuple[Change, ...]]:
    """All changes that were published, by revision."""
    return [event.changes for event in mirrored.events if isinstance(event, Changes)]

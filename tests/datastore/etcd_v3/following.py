"""What the tests of the adapter follow etcd with."""

from typing import Any

from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.port import Change, Changes, Datastore
from tests.datastore.etcd_v2.following import Follow, Mirrored, P

__all__ = ["Follow", "Mirrored", "P", "access_to", "batches", "connect"]


def access_to(*endpoints: str, **others: Any) -> Access:
    """Access with a short timeout for watches."""
    return Access(endpoints, datastore="etcdv3", **{"watch_timeout": 1.0} | others)


def connect(*endpoints: str, **others: Any) -> Datastore:
    """A datastore without a follower."""
    return open_datastore(access_to(*endpoints, **others))


def batches(mirrored: Mirrored) -> list[tuple[Change, ...]]:
    """All changes that were published, by revision."""
    return [event.changes for event in mirrored.events if isinstance(event, Changes)]

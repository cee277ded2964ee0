"""What the tests of the adapter follow etcd with."""

from collections.abc import Callable

from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.follow import DatastoreEvent, Follower
from rrwatch.datastore.mirror import Mirror
from rrwatch.datastore.port import Changes, Snapshot

P = "/calico/bgp/v1"


def access_to(*endpoints: str) -> Access:
    """Access with a short timeout for watches."""
    return Access(endpoints, watch_timeout=1.0)


class Mirrored:
    """A mirror that follows etcd, as the daemon's does."""

    def __init__(self, *endpoints: str, access: Access | None = None) -> None:
        self.mirror = Mirror(P)
        self.events: list[DatastoreEvent] = []
        self.follower = Follower(open_datastore(access or access_to(*endpoints)), P, self._take, 300)
        self.follower.start()

    def _take(self, event: DatastoreEvent) -> None:
        if isinstance(event, Snapshot):
            self.mirror.replace(event)
        elif isinstance(event, Changes):
            self.mirror.apply(event)
        self.events.append(event)

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def equals(self, etcd: Etcd, seconds: float = 15) -> None:
        """Waits until the mirror equals etcd."""
        wanted = etcd.items(P)
        try:
            wait_until(lambda: dict(self.mirror.items) == wanted, "the mirror equals etcd", seconds)
        except TimeoutError:
            assert self.mirror.items == wanted
        assert self.follower.is_alive()


Follow = Callable[..., Mirrored]

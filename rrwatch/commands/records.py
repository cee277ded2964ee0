"""The records that an operator writes: reflectors, peers, and the switch of the node mesh."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from rrwatch.bgp.topology import Address, AsNumber, Peer, Reflector, Topology
from rrwatch.calico import v1
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_retrying


@dataclass(frozen=True, slots=True)
class Written:
    """What a command did.

    Attributes:
        changed: False where everything was as it should be already.
        text: one line for people.
    """

    changed: bool
    text: str


class Records:
    """The records in one etcd. Every method raises TransportError where no endpoint answers in time."""

    def __init__(self, access: Access, timeout: float) -> None:
        """Connects to nothing yet.

        Args:
            timeout: seconds after which no further attempt is begun.
        """
        self._etcd = open_retrying(access, timeout)

    def topology(self) -> Topology:
        """What etcd holds of BGP."""
        return RecordStore.of(self._items(V1.root), V1).topology()

    def add_reflector(self, address: Address, cluster_id: IPv4Address | None) -> Written:
        """Makes an address a route reflector of the cluster."""
        what = f"reflector {address}, cluster id {cluster_id or 'none'}"
        return self._put(*v1.reflector_record(address, cluster_id), what)

    def remove_reflector(self, address: Address) -> Written:
        """Takes a route reflector out of the cluster."""
        folder = V1.names.reflector(address).rsplit("/", 1)[0]
        return self._remove(folder, address, f"reflector {address}")

    def add_peer(self, address: Address, as_number: AsNumber, node: str | None) -> Written:
        """Makes every node, or one, peer with an address."""
        return self._put(*v1.peer_record(node, address, as_number), f"{_whose(node)} peer {address} in AS {as_number}")

    def remove_peer(self, address: Address, node: str | None) -> Written:
        """Ends that."""
        return self._remove(v1.peers_folder(node, address), address, f"{_whose(node)} peer {address}")

    def set_mesh(self, enabled: bool) -> Written:
        """Makes every node peer with every other, or ends that."""
        return self._put(*v1.mesh_record(enabled), f"node mesh {'on' if enabled else 'off'}")

    def _put(self, key: str, value: str, what: str) -> Written:
        before = self._items(key.rsplit("/", 1)[0]).get(key)
        if before is not None and v1.parse(key, before) == v1.parse(key, value):
            return Written(False, f"{what}: is there already")
        self._etcd.put(key, value)
        return Written(True, f"{what}: {'added' if before is None else 'changed'}")

    def _remove(self, folder: str, address: Address, what: str) -> Written:
        keys = [key for key, value in self._items(folder).items() if _speaks_of(key, value, address)]
        for key in keys:
            self._etcd.remove(key)
        return Written(bool(keys), f"{what}: {'removed' if keys else 'is not there'}")

    def _items(self, prefix: str) -> Mapping[str, str]:
        return self._etcd.list(prefix).items


def _speaks_of(key: str, value: str, address: Address) -> bool:
    """By its value, or where that cannot be read, by its key."""
    record = v1.parse(key, value)
    if isinstance(record, Peer | Reflector):
        return record.address == address
    return key.endswith(f"/{address}")


def _whose(node: str | None) -> str:
    return f"node {node}'s" if node else "global"

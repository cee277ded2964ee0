"""Reads and writes the records of operators: reflectors, peers, and the switch of the node mesh."""

from collections.abc import Mapping
from ipaddress import IPv4Address

from rrwatch.bgp.topology import Address, AsNumber, Peer, Reflector, Topology
from rrwatch.calico import v1
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_retrying


class Records:
    """The records in one etcd.

    Methods that write return one line for people that says what they did. All methods raise TransportError if no
    endpoint answers in time.
    """

    def __init__(self, access: Access, timeout: float) -> None:
        """Creates a client, without connecting.

        Args:
            access: how to reach etcd.
            timeout: seconds after which no further attempt is started.
        """
        self._etcd = open_retrying(access, timeout)

    def topology(self) -> Topology:
        """Returns the topology that etcd describes."""
        return RecordStore.of(self._items(V1.root), V1).topology()

    def add_reflector(self, address: Address, cluster_id: IPv4Address | None) -> str:
        """Makes an address a route reflector of the cluster."""
        what = f"reflector {address}, cluster id {cluster_id or 'none'}"
        return self._put(*v1.reflector_record(address, cluster_id), what)

    def remove_reflector(self, address: Address) -> str:
        """Removes a route reflector from the cluster."""
        folder = V1.names.reflector(address).rsplit("/", 1)[0]
        return self._remove(folder, address, f"reflector {address}")

    def add_peer(self, address: Address, as_number: AsNumber, node: str | None) -> str:
        """Makes every node, or one, peer with an address."""
        return self._put(*v1.peer_record(node, address, as_number), f"{_owner(node)} peer {address} in AS {as_number}")

    def remove_peer(self, address: Address, node: str | None) -> str:
        """Removes a peer of every node, or of one."""
        return self._remove(v1.peers_folder(node, address), address, f"{_owner(node)} peer {address}")

    def set_mesh(self, enabled: bool) -> str:
        """Switches the node mesh on or off."""
        return self._put(*v1.mesh_record(enabled), f"node mesh {'on' if enabled else 'off'}")

    def _put(self, key: str, value: str, what: str) -> str:
        before = self._items(key.rsplit("/", 1)[0]).get(key)
        if before is not None and v1.parse(key, before) == v1.parse(key, value):
            return f"{what}: unchanged"
        self._etcd.put(key, value)
        return f"{what}: {'added' if before is None else 'changed'}"

    def _remove(self, folder: str, address: Address, what: str) -> str:
        keys = [key for key, value in self._items(folder).items() if _is_about(key, value, address)]
        for key in keys:
            self._etcd.remove(key)
        return f"{what}: {'removed' if keys else 'not found'}"

    def _items(self, prefix: str) -> Mapping[str, str]:
        return self._etcd.list(prefix).items


def _is_about(key: str, value: str, address: Address) -> bool:
    """Returns whether a record is about an address: by its value, or by its key if the value cannot be read."""
    record = v1.parse(key, value)
    if isinstance(record, Peer | Reflector):
        return record.address == address
    return key.endswith(f"/{address}")


def _owner(node: str | None) -> str:
    return f"node {node}'s" if node else "global"

"""Reads and writes the records of operators: reflectors, peers, and the switch of the node mesh."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from ipaddress import IPv4Address
from operator import or_

from rrwatch.bgp.topology import Address, AsNumber, Peer, Reflector, Topology
from rrwatch.calico import v1
from rrwatch.calico.model import DataModel
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_retrying
from rrwatch.errors import RrwatchError


@dataclass(frozen=True, slots=True)
class Write:
    """A new value for one key.

    Attributes:
        before: the value that etcd has; None if there is no such key.
        after: the new value; None deletes the key.
    """

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a command would write.

    Attributes:
        what: what the command does, for people.
        result: what has happened once it is written: `added`, `changed`, `removed`; or `unchanged`, `not found`.
        writes: empty if etcd has all that already.
    """

    what: str
    result: str
    writes: tuple[Write, ...]

    def __str__(self) -> str:
        return f"{self.what}: {self.result}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """All keys about BGP in one etcd.

    Methods propose a change of records, and return what would have to be written for it.

    Attributes:
        items: key -> value.
    """

    items: Mapping[str, str]
    model: DataModel

    def topologies(self, proposal: Proposal) -> tuple[Topology, Topology]:
        """Returns the topology before and after a proposal; hosts that do not change are the same objects."""
        store = RecordStore.of(self.items, self.model)
        before = store.topology()
        items = dict(self.items)
        for write in proposal.writes:
            items.pop(write.key, None)
            if write.after is not None:
                items[write.key] = write.after
        store.update([write.key for write in proposal.writes], items)
        return before, store.topology()

    def add_reflector(self, address: Address, cluster_id: IPv4Address | None) -> Proposal:
        """Makes an address a route reflector of the cluster."""
        what = f"reflector {address}, cluster id {cluster_id or 'none'}"
        return self._put(*v1.reflector_record(address, cluster_id), what)

    def remove_reflector(self, address: Address) -> Proposal:
        """Removes a route reflector from the cluster."""
        folder = V1.names.reflector(address).rsplit("/", 1)[0]
        return self._remove(folder, address, f"reflector {address}")

    def add_peer(self, address: Address, as_number: AsNumber, node: str | None) -> Proposal:
        """Makes every node, or one, peer with an address."""
        return self._put(*v1.peer_record(node, address, as_number), f"{_owner(node)} peer {address} in AS {as_number}")

    def remove_peer(self, address: Address, node: str | None) -> Proposal:
        """Removes a peer of every node, or of one."""
        return self._remove(v1.peers_folder(node, address), address, f"{_owner(node)} peer {address}")

    def set_mesh(self, enabled: bool) -> Proposal:
        """Switches the node mesh on or off."""
        return self._put(*v1.mesh_record(enabled), f"node mesh {'on' if enabled else 'off'}")

    def _put(self, key: str, value: str, what: str) -> Proposal:
        before = self.items.get(key)
        if before is not None and v1.parse(key, before) == v1.parse(key, value):
            return Proposal(what, "unchanged", ())
        return Proposal(what, "added" if before is None else "changed", (Write(key, before, value),))

    def _remove(self, folder: str, address: Address, what: str) -> Proposal:
        found = [(key, value) for key, value in self.items.items() if key.rpartition("/")[0] == folder]
        writes = tuple(Write(key, value, None) for key, value in sorted(found) if _is_about(key, value, address))
        return Proposal(what, "removed" if writes else "not found", writes)


class Records:
    """The records in one etcd. All methods raise TransportError if no endpoint answers in time."""

    def __init__(self, access: Access, timeout: float, model: DataModel = V1) -> None:
        """Creates a client, without connecting.

        Args:
            access: how to reach etcd.
            timeout: seconds after which no further attempt is started.
            model: the data model that sessions follow from.
        """
        self._etcd = open_retrying(access, timeout)
        self._model = model

    def topology(self) -> Topology:
        """Returns the topology that the records of operators describe."""
        return RecordStore.of(self._items(V1.root), V1).topology()

    def cluster(self) -> Cluster:
        """Returns everything that sessions follow from."""
        return Cluster(reduce(or_, map(self._items, self._model.reflector_folders())), self._model)

    def write(self, proposal: Proposal) -> None:
        """Writes what is proposed, except over a key that someone else has changed since it was read.

        Raises:
            RrwatchError: such a key.
        """
        for number, write in enumerate(proposal.writes):
            if not self._etcd.swap(write.key, write.before, write.after):
                done = f"{number} of {len(proposal.writes)} keys were written" if number else "nothing was written"
                raise RrwatchError(f"someone else has just changed {write.key}: {done}; run the command again")

    def _items(self, prefix: str) -> dict[str, str]:
        return dict(self._etcd.list(prefix).items)


def _is_about(key: str, value: str, address: Address) -> bool:
    """Returns whether a record is about an address: by its value, or by its key if the value cannot be read."""
    record = v1.parse(key, value)
    if isinstance(record, Peer | Reflector):
        return record.address == address
    return key.endswith(f"/{address}")


def _owner(node: str | None) -> str:
    return f"node {node}'s" if node else "global"

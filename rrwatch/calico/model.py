"""The port for data models: what the keys and values in a datastore mean."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Address, Family, KeyNames, Record, Rejected, Topology


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What a datastore says about the cluster as a whole.

    Attributes:
        identity: what is the same for as long as it is the same cluster; empty where the data model has no such thing.
        locked: why nothing in the datastore counts at the moment, as one line; empty where it counts.
    """

    identity: str = ""
    locked: str = ""


class DataModel(Protocol):
    """Parses keys and values into records, and derives sessions from them.

    A model has no state and does no I/O. `rrwatch.calico.v1.CalicoV1` is one. To add another one, write a class with
    these methods and add it to `rrwatch.calico.models`; `tests/calico/flat.py` is a small example.
    """

    @property
    def names(self) -> KeyNames:
        """The names of its keys, for remarks about missing records."""

    @property
    def root(self) -> str:
        """The folder with the keys that sessions follow from. If it becomes empty, the guard holds everything."""

    def parse(self, key: str, value: str) -> Sequence[Record | Rejected]:
        """Parses one key into any number of records; none if the key is not about BGP. Never raises."""

    def reflector_sessions(self, topology: Topology, speaker: Speaker) -> Derived:
        """Derives the sessions of a route reflector."""

    def node_sessions(self, topology: Topology, name: str, families: Iterable[Family]) -> Derived:
        """Derives the sessions of a node, in those families in which it has an address."""

    def registered_nodes(self, topology: Topology, speaker: Speaker) -> tuple[str, ...]:
        """Returns the names of the nodes that have an address of a route reflector."""

    def listen_port(self, topology: Topology, speaker: Speaker) -> int:
        """Returns the TCP port on which a route reflector listens."""

    def ends_by_effect(self, key: str, before: str, after: str) -> bool:
        """Whether a new value of a key may end sessions that whoever wrote it need not have thought of."""

    def cluster_state(self, items: Mapping[str, str]) -> ClusterState:
        """Returns what all keys and values say about the cluster as a whole."""

    def reflector_folders(self) -> tuple[str, ...]:
        """Returns the folders that a route reflector needs."""

    def node_folders(self, name: str, *, mesh: bool) -> tuple[str, ...]:
        """Returns the folders that a node needs now.

        Args:
            name: the node's name.
            mesh: whether every node peers with every other, so that it needs the other nodes' keys too.
        """

    def all_node_folders(self, name: str) -> tuple[str, ...]:
        """Returns the folders that a node of that name can ever need."""

    def peer_of_all(self, address: Address) -> str:
        """Returns the key that makes every node peer with an address, as an example for people."""

    @property
    def configures_nodes(self) -> bool:
        """Whether `NodeRole` knows how to configure BIRD beside a node, and not only which sessions it has."""

"""Calico's v3 resources: parses a key of etcd v3 and its value into records."""

from collections.abc import Iterable, Mapping

from rrwatch.bgp import rules_v3
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Address, Family, Record, Rejected, Topology
from rrwatch.calico.model import ClusterState
from rrwatch.calico.v1 import V1

RESOURCES = "/calico/resources/v3/projectcalico.org"


class _Names:
    """The names of keys of v3 resources."""

    def host_address(self, host: str, family: Family) -> str:  # noqa: ARG002  # one resource has both
        """Returns the key of a node."""
        return f"{RESOURCES}/nodes/{host}"

    def host_as(self, host: str) -> str:
        """Returns the key of a node."""
        return f"{RESOURCES}/nodes/{host}"

    def global_as(self) -> str:
        """Returns the key of what all nodes have in common."""
        return f"{RESOURCES}/bgpconfigurations/default"

    def reflector(self, address: Address) -> str:
        """Returns the key of a route reflector, which is the same as in v1: Calico has none."""
        return V1.names.reflector(address)

    def host_of(self, key: str) -> str | None:
        """Returns the node that a key belongs to; None if it belongs to no single node."""
        for folder in f"{RESOURCES}/nodes/", f"{RESOURCES}/bgpconfigurations/node.":
            if key.startswith(folder):
                return key[len(folder) :] or None
        return None


class CalicoV3:
    """Calico's v3 resources, as a `DataModel`."""

    names = _Names()
    root = RESOURCES
    configures_nodes = False

    def parse(self, key: str, value: str) -> tuple[Record | Rejected, ...]:
        """Parses one key."""
        return ()

    def reflector_sessions(self, topology: Topology, speaker: Speaker) -> Derived:
        """Derives the sessions of a route reflector."""
        return rules_v3.reflector_sessions(topology, speaker)

    def node_sessions(self, topology: Topology, name: str, families: Iterable[Family]) -> Derived:
        """Derives the sessions of a node."""
        return rules_v3.node_sessions(topology, name, families)

    def registered_node(self, topology: Topology, speaker: Speaker) -> str | None:
        """Returns the name of the node that has an address of the reflector."""
        return rules_v3.registered_node(topology, speaker)

    def ends_by_effect(self, key: str, before: str, after: str) -> bool:
        """Whether the labels of a node, or what a BGPPeer selects, differ."""
        return False

    def cluster_state(self, items: Mapping[str, str]) -> ClusterState:
        """Returns what ClusterInformation says."""
        return ClusterState()

    def reflector_folders(self) -> tuple[str, ...]:
        """Returns the folders that a route reflector needs."""
        kinds = "nodes", "bgppeers", "bgpconfigurations", "clusterinformations"
        return (*(f"{RESOURCES}/{kind}" for kind in kinds), "/calico/bgp/v1")

    def node_folders(self, name: str, *, mesh: bool) -> tuple[str, ...]:  # noqa: ARG002  # selectors need all nodes
        """Returns the folders that a node needs."""
        return self.all_node_folders(name)

    def all_node_folders(self, name: str) -> tuple[str, ...]:  # noqa: ARG002  # the port's signature
        """Returns the folders that a node can ever need."""
        kinds = "nodes", "bgppeers", "bgpconfigurations", "bgpfilters", "clusterinformations"
        return tuple(f"{RESOURCES}/{kind}" for kind in kinds)

    def peer_of_all(self, address: Address) -> str:
        """Returns the key of a BGPPeer."""
        return f"{RESOURCES}/bgppeers/NAME (without selectors, peerIP {address})"


V3 = CalicoV3()

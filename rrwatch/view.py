"""Whose sessions are wanted: the cluster seen from a reflector, or from a node."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from rrwatch.bgp.calico_v1 import PREFIX
from rrwatch.bgp.sessions import Derived, node_sessions, reflector_sessions
from rrwatch.bgp.topology import Address, Family, Topology


@dataclass(frozen=True, slots=True)
class ReflectorView:
    """The cluster seen from a route reflector.

    Attributes:
        router_id: the BGP identifier, its IPv4 address.
        addresses: source address of each family that is on.
    """

    router_id: IPv4Address
    addresses: Mapping[Family, Address]

    def derive(self, topology: Topology) -> Derived:
        """The sessions of all its families."""
        return reflector_sessions(topology, self.addresses.values())

    def summary(self) -> str:
        """Who that is, for people."""
        return f"reflector {', '.join(map(str, self.addresses.values()))}"

    def advice(self) -> str:
        """What may be missing where no session follows."""
        own = next(iter(self.addresses.values()))
        return f"no key asks for one: is {PREFIX}/global/peer_v{own.version}/{own} set?"


@dataclass(frozen=True, slots=True)
class NodeView:
    """The cluster seen from a Calico node.

    Attributes:
        name: the node's name in etcd.
    """

    name: str
    families: tuple[Family, ...]

    def summary(self) -> str:
        """Who that is, for people."""
        return f"node {self.name}"

    def advice(self) -> str:
        """What may be missing where no session follows."""
        return f"no key asks for one: is {PREFIX}/host/{self.name}/ip_addr_v4 set?"

    def derive(self, topology: Topology) -> Derived:
        """The sessions of all its families."""
        return node_sessions(topology, self.name, self.families)


View = ReflectorView | NodeView

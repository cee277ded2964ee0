"""The role of a route reflector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from rrwatch.bgp.sessions import Derived, reflector_sessions
from rrwatch.bgp.topology import Address, Debug, Family, Topology
from rrwatch.bird.config import Capabilities, ReflectorConfig
from rrwatch.calico.model import DataModel


@dataclass(frozen=True, slots=True)
class ReflectorRole:
    """What a route reflector needs of the cluster.

    Attributes:
        router_id: the BGP identifier, its IPv4 address.
        addresses: source address of each family that is on.
        model: what the keys mean.
    """

    router_id: IPv4Address
    addresses: Mapping[Family, Address]
    model: DataModel

    def summary(self) -> str:
        """Who that is, for people."""
        return f"reflector {', '.join(map(str, self.addresses.values()))}"

    def advice(self) -> str:
        """What may be missing where no session follows."""
        own = next(iter(self.addresses.values()))
        return f"no key asks for one: is {self.model.peer_of_all(own)} set?"

    @property
    def all_prefixes(self) -> tuple[str, ...]:
        """All folders of etcd that can ever matter."""
        return self.model.reflector_folders()

    @property
    def takes_filters(self) -> bool:
        """Do operators' filters count? A reflector passes everything on."""
        return False

    def prefixes(self, topology: Topology | None) -> tuple[str, ...]:  # noqa: ARG002  # a node's depend on it
        """Which folders of etcd it must know."""
        return self.model.reflector_folders()

    def waits_for(self, topology: Topology) -> str:  # noqa: ARG002  # as above
        """The key without which nothing can be said; empty where all are there."""
        return ""

    def families(self, topology: Topology) -> tuple[Family, ...]:  # noqa: ARG002  # as above
        """Which BIRDs have something to do."""
        return tuple(self.addresses)

    def routes(self, topology: Topology) -> frozenset[str]:  # noqa: ARG002  # as above
        """The keys that routes of its own depend on: it has none."""
        return frozenset()

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """The hosts that its sessions depend on, whichever neighbors are asked about."""
        return ()

    def sessions(self, topology: Topology) -> Derived:
        """The sessions of all its families, by the rules alone."""
        return reflector_sessions(topology, self.addresses.values())

    def derive(
        self,
        topology: Topology,
        capabilities: Capabilities | None = None,  # noqa: ARG002  # as above
        ruled: Derived | None = None,
    ) -> Derived:
        """All that follows.

        Args:
            ruled: what `sessions` gives, where that is known already.
        """
        return ruled or self.sessions(topology)

    def config(
        self, topology: Topology, derived: Derived, families: Sequence[Family], capabilities: Capabilities
    ) -> ReflectorConfig:
        """What the configuration of its BIRD of those families is made of."""
        return ReflectorConfig(
            grammar=capabilities.grammar,
            router_id=self.router_id,
            source_addresses=tuple(self.addresses[family] for family in families),
            debug=topology.debug or Debug.OFF,
            sessions=derived.of(families),
        )

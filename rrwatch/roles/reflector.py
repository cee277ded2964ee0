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
    """A route reflector: its clients are the nodes that name it as a peer.

    Attributes:
        router_id: the BGP identifier, its IPv4 address.
        addresses: the source address of each family that is on.
        model: what the keys mean.
    """

    router_id: IPv4Address
    addresses: Mapping[Family, Address]
    model: DataModel

    @property
    def all_prefixes(self) -> tuple[str, ...]:
        """The folders of all keys about BGP."""
        return self.model.reflector_folders()

    @property
    def takes_filters(self) -> bool:
        """A reflector passes on everything."""
        return False

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """A reflector is no host of the cluster."""
        return ()

    def summary(self) -> str:
        """Returns `reflector` and its addresses."""
        return f"reflector {', '.join(map(str, self.addresses.values()))}"

    def baseline(self) -> str:
        """Returns `reflector` and its first address."""
        return f"reflector {next(iter(self.addresses.values()))}"

    def advice(self) -> str:
        """Returns the key that makes all nodes peer with it."""
        own = next(iter(self.addresses.values()))
        return f"no key asks for a session: check that {self.model.peer_of_all(own)} is set"

    def prefixes(self, topology: Topology | None) -> tuple[str, ...]:
        """Returns the same folders, whatever is known."""
        return self.model.reflector_folders()

    def waits_for(self, topology: Topology) -> str:
        """Returns nothing: its own addresses are settings."""
        return ""

    def families(self, topology: Topology) -> tuple[Family, ...]:
        """Returns the families that it has addresses of."""
        return tuple(self.addresses)

    def routes(self, topology: Topology) -> frozenset[str]:
        """Returns nothing: it has no routes of its own."""
        return frozenset()

    def sessions(self, topology: Topology) -> Derived:
        """Derives the sessions of all its families."""
        return reflector_sessions(topology, self.addresses.values())

    def with_remarks(self, derived: Derived, topology: Topology, capabilities: Capabilities | None) -> Derived:
        """Adds nothing: sessions are all that it has."""
        return derived

    def config(
        self, topology: Topology, derived: Derived, families: Sequence[Family], capabilities: Capabilities
    ) -> ReflectorConfig:
        """Returns the content of the configuration for the BIRD of those families."""
        return ReflectorConfig(
            grammar=capabilities.grammar,
            router_id=self.router_id,
            source_addresses=tuple(self.addresses[family] for family in families),
            debug=topology.debug or Debug.OFF,
            sessions=derived.of(families),
        )

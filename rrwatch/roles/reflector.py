"""The role of a route reflector."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.speaker import Speaker, port_unless_default
from rrwatch.bgp.topology import Debug, Family, Topology
from rrwatch.bird.config import Capabilities, ReflectorConfig
from rrwatch.calico.model import DataModel


@dataclass(frozen=True, slots=True)
class ReflectorRole:
    """A route reflector: its clients are the nodes that name it as a peer.

    Attributes:
        router_id: the BGP identifier, its IPv4 address.
        speaker: the rest of what is known about it besides the datastore.
        model: what the keys mean.
    """

    router_id: IPv4Address
    speaker: Speaker
    model: DataModel

    @property
    def all_prefixes(self) -> tuple[str, ...]:
        """The folders of all keys about BGP."""
        return self.model.reflector_folders()

    @property
    def takes_filters(self) -> bool:
        """A reflector passes on everything."""
        return False

    def own_hosts(self, topology: Topology) -> tuple[str, ...]:
        """Returns the nodes that it is registered as."""
        return self.model.registered_nodes(topology, self.speaker)

    def with_model(self, model: DataModel) -> "ReflectorRole":
        """Returns the same role for keys of another data model."""
        return replace(self, model=model)

    def summary(self) -> str:
        """Returns `reflector` and its addresses."""
        return f"reflector {', '.join(map(str, self.speaker.addresses.values()))}"

    def baseline(self) -> str:
        """Returns `reflector` and its first address."""
        return f"reflector {next(iter(self.speaker.addresses.values()))}"

    def advice(self) -> str:
        """Returns what makes nodes peer with it."""
        own = next(iter(self.speaker.addresses.values()))
        return f"no key asks for a session: it takes nodes, and {self.model.peer_of_all(own)}"

    def prefixes(self, topology: Topology | None) -> tuple[str, ...]:
        """Returns the same folders, whatever is known."""
        return self.model.reflector_folders()

    def waits_for(self, topology: Topology) -> str:
        """Returns nothing: its own addresses are settings."""
        return ""

    def families(self, topology: Topology) -> tuple[Family, ...]:
        """Returns the families that it has addresses of."""
        return tuple(self.speaker.addresses)

    def routes(self, topology: Topology) -> frozenset[str]:
        """Returns nothing: it has no routes of its own."""
        return frozenset()

    def sessions(self, topology: Topology) -> Derived:
        """Derives the sessions of all its families."""
        return self.model.reflector_sessions(topology, self.speaker)

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
            source_addresses=tuple(self.speaker.addresses[family] for family in families),
            debug=topology.debug or Debug.OFF,
            sessions=derived.of(families),
            port=port_unless_default(self.model.listen_port(topology, self.speaker)),
        )

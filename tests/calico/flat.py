"""A second data model, as small as one can be: `/flat/node/NAME` is `ADDRESS AS`, and `/flat/peer/ADDRESS` is `AS`."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address

from rrwatch.bgp import rules_v1
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Address, AsNumber, Family, HostAddress, HostAs, Peer, Record, Rejected, Topology
from rrwatch.calico.model import ClusterState


class FlatNames:
    """The names of its keys."""

    def host_address(self, host: str, family: Family) -> str:  # noqa: ARG002  # there is one key for each node
        return f"/flat/node/{host}"

    def host_as(self, host: str) -> str:
        return f"/flat/node/{host}"

    def global_as(self) -> str:
        return "/flat/as"

    def reflector(self, address: Address) -> str:
        return f"/flat/reflector/{address}"

    def host_of(self, key: str) -> str | None:
        return key.removeprefix("/flat/node/") if key.startswith("/flat/node/") else None


class Flat:
    """The data model."""

    names = FlatNames()
    root = "/flat"
    configures_nodes = True

    def parse(self, key: str, value: str) -> Sequence[Record | Rejected]:
        try:
            match key.split("/"):
                case ["", "flat", "node", name]:
                    address, number = value.split()
                    found = IPv4Address(address)
                    return HostAddress(key, name, Family.IPV4, found), HostAs(key, name, AsNumber(int(number)))
                case ["", "flat", "peer", address]:
                    return (Peer(key, None, IPv4Address(address), AsNumber(int(value))),)
        except ValueError as error:
            return (Rejected(key, str(error)),)
        return ()

    def reflector_sessions(self, topology: Topology, speaker: Speaker) -> Derived:
        return rules_v1.reflector_sessions(topology, speaker)

    def node_sessions(self, topology: Topology, name: str, families: Iterable[Family]) -> Derived:
        return rules_v1.node_sessions(topology, name, families)

    def registered_nodes(self, topology: Topology, speaker: Speaker) -> tuple[str, ...]:  # noqa: ARG002  # as above
        return ()

    def listen_port(self, topology: Topology, speaker: Speaker) -> int:  # noqa: ARG002  # there is a setting only
        return speaker.port

    def ends_by_effect(self, key: str, before: str, after: str) -> bool:  # noqa: ARG002  # no key does
        return False

    def cluster_state(self, items: Mapping[str, str]) -> ClusterState:  # noqa: ARG002  # no key says anything
        return ClusterState()

    def reflector_folders(self) -> tuple[str, ...]:
        return ("/flat",)

    def node_folders(self, name: str, *, mesh: bool) -> tuple[str, ...]:  # noqa: ARG002  # there is one folder
        return ("/flat",)

    def all_node_folders(self, name: str) -> tuple[str, ...]:  # noqa: ARG002  # as above
        return ("/flat",)

    def peer_of_all(self, address: Address) -> str:
        return f"/flat/peer/{address}"

"""Who peers with whom by Calico's BGPPeer resources: the configured peers of each node.

The rules are those of Calico's confd backend (projectcalico/calico, confd/pkg/backends/calico/client.go, function
`updatePeersV1`), in three passes: peers of all nodes, peers of some nodes, and peerings back from the far end. Where
that code depends on the order of a Go map, resources count in the order of their names.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import chain
from operator import itemgetter

from rrwatch.bgp.sessions import Kind
from rrwatch.bgp.topology import Address, AsNumber, BgpPeer, Family, Host, Topology

DEFAULT_AS = AsNumber(64512)
"""The AS of nodes for which nothing names another one (Calico's documentation, "BGP configuration")."""


@dataclass(frozen=True, slots=True)
class Peering:
    """One far end of a node's sessions.

    Attributes:
        scope: `GLOBAL` for a peer of all nodes, `NODE` for one of some nodes.
        resource: the BGPPeer that it follows from.
        port: None if nothing names one.
        local_as: the AS in which the node speaks to it; None for the node's own.
        cluster_id: that of the node at the far end, if it is a route reflector that was found by its labels.
        node: the name of the node at the far end; None if it is only known by its address.
        is_node: whether the far end is a node of the cluster.
    """

    scope: Kind
    resource: BgpPeer
    address: Address
    port: int | None
    remote_as: AsNumber
    local_as: AsNumber | None
    cluster_id: IPv4Address | None
    node: str | None
    is_node: bool


@dataclass(frozen=True, slots=True)
class PeersOfNode:
    """The configured peers of one node.

    Attributes:
        peerings: those of all nodes first; at most one for each scope, address and port.
        losing: the peers that give way, each to the one that comes first.
    """

    peerings: Sequence[Peering]
    losing: Sequence[tuple[Peering, Peering]]


_Offer = tuple[int, BgpPeer, Sequence[Peering]]
"""The position of a resource among all, the resource, and the far ends that it has for those whom it concerns."""


class Peerings:
    """The configured peers of every node, as far as they are among some far ends."""

    def __init__(self, topology: Topology, far_ends: Iterable[Host], address: Address | None = None) -> None:
        """Evaluates what all nodes have in common.

        Args:
            far_ends: the nodes that count as far ends.
            address: the only address that counts as a far end; None for all addresses.
        """
        self._topology, self._far_ends = topology, {host.name: host for host in far_ends}
        self._owners: defaultdict[Address, list[Host]] = defaultdict(list)
        for host in self._far_ends.values():
            for known in host.known:
                self._owners[known].append(host)
        self._global: list[Peering] = []
        # A cluster may have a BGPPeer for each node, of which most have nothing to do with one node.
        self._selecting: list[_Offer] = []
        self._naming: defaultdict[str, list[_Offer]] = defaultdict(list)
        self._back_selecting: list[_Offer] = []
        self._back_naming: defaultdict[Address, list[_Offer]] = defaultdict(list)
        for position, resource in enumerate(topology.bgp_peers):
            scope = Kind.GLOBAL if is_global(resource) else Kind.NODE
            targets = [one for one in self._targets(resource, scope) if address in (None, one.address)]
            if scope is Kind.GLOBAL:
                self._global += targets
            elif targets:
                offers = self._naming[resource.node] if resource.node and resource.nodes is None else self._selecting
                offers.append((position, resource, targets))
            if resource.reverse:
                back = [one for host in self._selected(resource) for one in self._as_peer(host, resource, Kind.NODE)]
                if back := [one for one in back if address in (None, one.address)]:
                    at = resource.address if resource.peers is None else None
                    (self._back_naming[at] if at else self._back_selecting).append((position, resource, back))

    def of(self, host: Host) -> "PeersOfNode":
        """Returns the peers of a node."""
        found: dict[tuple[Kind, Address, int | None], Peering] = {}
        losing = []
        for one in self._all_of(host):
            winner = found.get((Kind.GLOBAL, one.address, one.port))
            winner = winner or found.setdefault((one.scope, one.address, one.port), one)
            if winner is not one:
                losing.append((one, winner))
        return PeersOfNode(list(found.values()), losing)

    def _all_of(self, host: Host) -> Iterator[Peering]:
        yield from self._global
        for _, resource, targets in _in_order(self._selecting, self._naming.get(host.name, ())):
            if selects(resource, host):
                yield from targets
        named = chain.from_iterable(self._back_naming.get(address, ()) for address in host.known)
        for _, resource, back in _in_order(self._back_selecting, named):
            families = self._near(resource, host)
            yield from (one for one in back if one.address.version in families)

    def _targets(self, resource: BgpPeer, scope: Kind) -> Iterator[Peering]:
        if resource.peers is not None:
            for host in self._far_ends.values():
                if resource.peers.matches(host.labels):
                    yield from self._as_peer(host, resource, scope)
        elif resource.address is not None and resource.as_number is not None:
            owners = self._owners.get(resource.address, ())
            expected = resource.as_number
            owner = next((host for host in owners if as_of(self._topology, host) == expected), None)
            port = resource.port or (port_of(self._topology, owner) if owner else None)
            yield Peering(
                scope, resource, resource.address, port, expected, resource.local_as, None, None, is_node=bool(owners)
            )

    def _as_peer(self, host: Host, resource: BgpPeer, scope: Kind) -> Iterator[Peering]:
        """Yields a node as the peer of another one, in each family; its own AS and port count."""
        for family in Family:
            if address := host.address(family):
                remote_as, port = as_of(self._topology, host), port_of(self._topology, host)
                yield Peering(
                    scope, resource, address, port, remote_as, None, host.cluster_id, host.name, is_node=False
                )

    def _selected(self, resource: BgpPeer) -> Iterator[Host]:
        if resource.node and resource.nodes is None:
            return filter(None, [self._far_ends.get(resource.node)])
        return (host for host in self._far_ends.values() if selects(resource, host))

    def _near(self, resource: BgpPeer, host: Host) -> Sequence[int]:
        """Returns the families in which a node is the far end of a resource, and so peers back."""
        if resource.peers is not None:
            return tuple(Family) if resource.peers.matches(host.labels) else ()
        if resource.address is None or resource.address not in host.known:
            return ()
        if as_of(self._topology, host) != (resource.as_number or global_as(self._topology)):
            return ()
        # Calico compares ports only where a port is configured for the node.
        if resource.port and port_of(self._topology, host) not in (None, resource.port):
            return ()
        return (resource.address.version,)


def _in_order(offers: Sequence[_Offer], more: Iterable[_Offer]) -> Sequence[_Offer]:
    """Returns both in the order of their resources."""
    added = list(more)
    return sorted([*offers, *added], key=itemgetter(0)) if added else offers


def is_global(resource: BgpPeer) -> bool:
    """Whether a BGPPeer is about all nodes."""
    return resource.nodes is None and resource.node is None


def selects(resource: BgpPeer, host: Host) -> bool:
    """Whether a node is one of those that a BGPPeer is about."""
    if resource.nodes is not None:
        return resource.nodes.matches(host.labels)
    return resource.node in (None, host.name)


def global_as(topology: Topology) -> AsNumber:
    """Returns the AS of the nodes that have none of their own."""
    return topology.global_as or DEFAULT_AS


def as_of(topology: Topology, host: Host) -> AsNumber:
    """Returns the AS of a node."""
    return host.as_number or global_as(topology)


def port_of(topology: Topology, host: Host) -> int | None:
    """Returns the port on which a node listens; None for BGP's own, 179."""
    return host.port or topology.listen_port

"""The rules: which BGP sessions one BIRD must have, given the topology of the cluster."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from rrwatch.bgp.topology import Address, AsNumber, Family, Host, Peer, Rejected, Remark, Topology


class Kind(Enum):
    """Why two speakers peer. The value is part of the output of commands."""

    MESH = "mesh"
    GLOBAL = "global"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Session:
    """One BGP session, which becomes a `protocol bgp` block in BIRD's configuration.

    Attributes:
        name: BIRD's name for the protocol, `[A-Za-z_][A-Za-z0-9_]*`, at most 46 characters. It depends on kind and
            neighbor only and never changes: BIRD matches protocols by name, so another name would reset the session.
        rr_client: whether the neighbor is a client of this reflector (RFC 4456).
        cluster_id: rendered only for clients.
        node: the Calico node at the other end, or None if it is not known to be one.
        key: the key in etcd that asks for this session.
    """

    name: str
    kind: Kind
    family: Family
    neighbor: Address
    local_as: AsNumber
    remote_as: AsNumber
    rr_client: bool
    cluster_id: IPv4Address | None
    node: str | None
    key: str


@dataclass(frozen=True, slots=True)
class Derived:
    """What follows from a topology: the derived sessions, and remarks about records.

    Attributes:
        sessions: sorted by `sort_key`; at most one for each neighbor, so that names are unique too.
        rejected: records that are left out, sorted by key.
        warnings: remarks about records that are used but will not work, sorted by key.
        contested: whether two records ask for a session with the same neighbor.
    """

    sessions: tuple[Session, ...]
    rejected: tuple[Rejected, ...]
    warnings: tuple[Remark, ...]
    contested: bool = False

    def of(self, families: Collection[Family]) -> tuple[Session, ...]:
        """Returns the sessions of those families."""
        return tuple(session for session in self.sessions if session.family in families)


_ORDER = {kind: number for number, kind in enumerate(Kind)}


def sort_key(session: Session) -> tuple[int, int, str, str]:
    """Returns the key that sorts sessions by family, kind (mesh, global, node), node, and key in etcd."""
    return session.family, _ORDER[session.kind], session.node or "", session.key


def session_document(session: Session) -> dict[str, object]:
    """Returns a session as a JSON object."""
    return {
        "name": session.name,
        "kind": session.kind.value,
        "family": int(session.family),
        "neighbor": str(session.neighbor),
        "local_as": session.local_as,
        "remote_as": session.remote_as,
        "rr_client": session.rr_client,
        "cluster_id": session.cluster_id and str(session.cluster_id),
        "node": session.node,
        "key": session.key,
    }


def session_name(kind: Kind, neighbor: Address) -> str:
    """Returns BIRD's name for a session, the same that Calico's own templates give it."""
    return f"{kind.name.capitalize()}_{neighbor}".replace(".", "_").replace(":", "_")


def reflector_sessions(topology: Topology, addresses: Iterable[Address]) -> Derived:
    """Returns the sessions of a route reflector.

    A reflector with a record under `rr_v*` is part of the cluster: it peers with all other reflectors, and its clients
    get the record's cluster id. Without a record it has clients only. Its clients are the nodes that name it as a
    peer, or all nodes if a global peer names it.

    Args:
        addresses: the reflector's own addresses, at most one of each family.
    """
    collected = _Collector(topology)
    families = [Family(own.version) for own in addresses]
    _reject_hosts_without_address(collected, families)
    for own in addresses:
        _reflector_family(collected, own, Family(own.version))
    return collected.derived()


def node_sessions(topology: Topology, name: str, families: Iterable[Family]) -> Derived:
    """Returns the sessions of a Calico node; there are none in a family in which the node has no address."""
    collected = _Collector(topology)
    host = topology.hosts.get(name)
    local_as = (host and host.as_number) or topology.global_as
    if host is None:
        collected.reject(
            topology.names.host_address(name, Family.IPV4), f"is missing: this node, {name}, has no record in etcd"
        )
    elif local_as is None:
        collected.reject_global_as(f"node {name} has no AS number of its own either")
    else:
        for family in families:
            if own := host.address(family):
                _node_family(collected, host, own, local_as, family)
    return collected.derived()


def _reflector_family(collected: "_Collector", own: Address, family: Family) -> None:
    topology = collected.topology
    record = next((reflector for reflector in topology.reflectors if reflector.address == own), None)
    # A record of its own that cannot be read still makes the reflector part of the cluster.
    if record or topology.names.reflector(own) in topology.rejected:
        _reflector_mesh(collected, own, family)
    cluster_id = record.cluster_id if record else None
    for entry in _entries_for(own, topology.peers):
        for host in topology.hosts.values():
            _client(collected, Kind.GLOBAL, host, entry, own, cluster_id)
    for host in topology.hosts.values():
        for entry in _entries_for(own, host.peers):
            _client(collected, Kind.NODE, host, entry, own, cluster_id)


def _reflector_mesh(collected: "_Collector", own: Address, family: Family) -> None:
    global_as = collected.topology.global_as
    for other in collected.topology.reflectors:
        if other.address.version != family or other.address == own:
            continue
        if global_as is None:
            collected.reject_global_as("reflectors peer with each other in that AS")
        else:
            collected.add(Kind.MESH, other.address, global_as, global_as, None, other.key)


def _client(
    collected: "_Collector", kind: Kind, host: Host, entry: Peer, own: Address, cluster_id: IPv4Address | None
) -> None:
    neighbor = host.address(Family(own.version))
    if neighbor is None or neighbor == own:
        return
    # A client is in the reflector's AS by definition (RFC 4456): the peer record's AS is that of both ends.
    remote_as = entry.as_number
    added = collected.add(
        kind, neighbor, remote_as, remote_as, host.name, entry.key, rr_client=True, cluster_id=cluster_id
    )
    global_as = collected.topology.global_as
    effective = host.as_number or global_as
    if added and effective and effective != remote_as:
        names = collected.topology.names
        key = names.host_as(host.name) if host.as_number else names.global_as()
        reason = f"puts node {host.name} into AS {effective}, {entry.key} says {remote_as}: that session cannot come up"
        collected.warn(key, reason)


def _node_family(collected: "_Collector", host: Host, own: Address, local_as: AsNumber, family: Family) -> None:
    topology = collected.topology
    # Calico's own default: without a record the mesh is on.
    if topology.node_mesh is not False:
        _reject_hosts_without_address(collected, [family])
        for other in topology.hosts.values():
            neighbor = other.address(family)
            if other is host or neighbor is None:
                continue
            key = other.addresses[family].key
            remote_as = other.as_number or topology.global_as
            if neighbor == own:
                collected.reject(key, f"{neighbor} is the address of this node, {host.name}, too")
            elif remote_as is None:
                collected.reject_global_as(f"node {other.name} has no AS number of its own either")
            else:
                collected.add(Kind.MESH, neighbor, local_as, remote_as, other.name, key)
    for kind, entries in (Kind.GLOBAL, topology.peers), (Kind.NODE, host.peers):
        for entry in entries:
            if entry.address.version == family and entry.address != own:
                collected.add(kind, entry.address, local_as, entry.as_number, None, entry.key)


def _entries_for(own: Address, entries: Iterable[Peer]) -> Iterator[Peer]:
    return (entry for entry in entries if entry.address == own)


def _reject_hosts_without_address(collected: "_Collector", families: list[Family]) -> None:
    # Calico writes an empty IPv6 address for every node without IPv6, which is not worth a remark.
    if not families or families == [Family.IPV6]:
        return
    for host in collected.topology.hosts.values():
        if not any(host.address(family) for family in families):
            key = collected.topology.names.host_address(host.name, Family.IPV4)
            state = "empty" if Family.IPV4 in host.addresses else "missing"
            collected.reject(key, f"is {state}: node {host.name} has no address to peer with")


class _Collector:
    """Collects sessions in order of precedence, one for each neighbor."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._sessions: dict[Address, Session] = {}
        self._rejected: dict[str, Rejected] = dict(topology.rejected)
        self._warnings: dict[str, Remark] = {}
        self._contested = False

    def add(
        self,
        kind: Kind,
        neighbor: Address,
        local_as: AsNumber,
        remote_as: AsNumber,
        node: str | None,
        key: str,
        *,
        rr_client: bool = False,
        cluster_id: IPv4Address | None = None,
    ) -> bool:
        """Adds a session, and returns whether it was added: the first one for a neighbor wins."""
        name = session_name(kind, neighbor)
        family = Family(neighbor.version)
        session = Session(name, kind, family, neighbor, local_as, remote_as, rr_client, cluster_id, node, key)
        first = self._sessions.setdefault(neighbor, session)
        if first is session:
            return True
        self._contested = True
        if node and first.node and node != first.node:
            address_key = self.topology.hosts[node].addresses[family].key
            self.reject(
                address_key, f"{neighbor} is the address of node {first.node} too, which has session {first.name}"
            )
        else:
            self.reject(key, f"{neighbor} already has session {first.name}, from {first.key}")
        return False

    def reject(self, key: str, reason: str) -> None:
        self._rejected.setdefault(key, Rejected(key, reason))

    def reject_global_as(self, why: str) -> None:
        self.reject(self.topology.names.global_as(), f"is missing: {why}")

    def warn(self, key: str, reason: str) -> None:
        self._warnings.setdefault(key, Remark(key, reason))

    def derived(self) -> Derived:
        return Derived(
            tuple(sorted(self._sessions.values(), key=sort_key)),
            tuple(self._rejected[key] for key in sorted(self._rejected)),
            tuple(self._warnings[key] for key in sorted(self._warnings)),
            self._contested,
        )

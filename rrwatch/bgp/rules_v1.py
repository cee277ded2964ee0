"""The rules of Calico's data model v1: which BGP sessions one BIRD must have, given the topology of the cluster."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address

from rrwatch.bgp.collector import Collector, is_contested
from rrwatch.bgp.sessions import Derived, Kind, Session, session_name
from rrwatch.bgp.speaker import Speaker, other_reflectors, port_unless_default
from rrwatch.bgp.topology import Address, AsNumber, Family, Host, Peer, Topology


def reflector_sessions(topology: Topology, speaker: Speaker) -> Derived:
    """Returns the sessions of a route reflector.

    A reflector with a record under `rr_v*` is part of the cluster: it peers with all other reflectors, and its clients
    get the record's cluster id. Without a record, what it was told itself counts: other reflectors and a cluster id.
    Its clients are the nodes that name it as a peer, or all nodes if a global peer names it.
    """
    collected = Collector(topology)
    _reject_hosts_without_address(collected, list(speaker.addresses))
    for own in speaker.addresses.values():
        _reflector_family(collected, speaker, own)
    return collected.derived()


def node_sessions(topology: Topology, name: str, families: Iterable[Family]) -> Derived:
    """Returns the sessions of a Calico node; there are none in a family in which the node has no address."""
    collected = Collector(topology)
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


def _reflector_family(collected: Collector, speaker: Speaker, own: Address) -> None:
    topology = collected.topology
    record = next((reflector for reflector in topology.reflectors if reflector.address == own), None)
    _reflector_mesh(collected, speaker, own)
    cluster_id = record.cluster_id if record else speaker.cluster_id
    for entry in _entries_for(own, topology.peers):
        for host in topology.hosts.values():
            _client(collected, Kind.GLOBAL, host, entry, own, cluster_id)
    for host in topology.hosts.values():
        for entry in _entries_for(own, host.peers):
            _client(collected, Kind.NODE, host, entry, own, cluster_id)


def _reflector_mesh(collected: Collector, speaker: Speaker, own: Address) -> None:
    global_as = collected.topology.global_as
    for address, key in other_reflectors(collected.topology, speaker, own):
        if global_as is None:
            collected.reject_global_as("reflectors peer with each other in that AS")
        else:
            session = _session(Kind.MESH, address, own, global_as, global_as, None, key)
            _add(collected, replace(session, port=port_unless_default(speaker.port)))


def _client(
    collected: Collector, kind: Kind, host: Host, entry: Peer, own: Address, cluster_id: IPv4Address | None
) -> None:
    neighbor = host.address(Family(own.version))
    if neighbor is None or neighbor == own:
        return
    # A client is in the reflector's AS by definition (RFC 4456): the peer record's AS is that of both ends.
    remote_as = entry.as_number
    session = _session(kind, neighbor, own, remote_as, remote_as, host.name, entry.key)
    added = _add(collected, replace(session, rr_client=True, cluster_id=cluster_id))
    global_as = collected.topology.global_as
    effective = host.as_number or global_as
    if added and effective and effective != remote_as:
        names = collected.topology.names
        key = names.host_as(host.name) if host.as_number else names.global_as()
        reason = f"puts node {host.name} into AS {effective}, {entry.key} says {remote_as}: that session cannot come up"
        collected.warn(key, reason)


def _node_family(collected: Collector, host: Host, own: Address, local_as: AsNumber, family: Family) -> None:
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
                _add(collected, _session(Kind.MESH, neighbor, own, local_as, remote_as, other.name, key))
    for kind, entries in (Kind.GLOBAL, topology.peers), (Kind.NODE, host.peers):
        for entry in entries:
            if entry.address.version == family and entry.address != own:
                _add(collected, _session(kind, entry.address, own, local_as, entry.as_number, None, entry.key))


def _session(
    kind: Kind, neighbor: Address, own: Address, local_as: AsNumber, remote_as: AsNumber, node: str | None, key: str
) -> Session:
    return Session(
        name=session_name(kind, neighbor),
        kind=kind,
        family=Family(neighbor.version),
        neighbor=neighbor,
        local_as=local_as,
        remote_as=remote_as,
        rr_client=False,
        cluster_id=None,
        node=node,
        key=key,
        source_address=own,
    )


def _add(collected: Collector, session: Session) -> bool:
    """Adds a session, and returns whether it was added: the first one for a neighbor wins."""
    first = collected.add(session)
    if first and not is_contested(first, session):
        collected.reject(session.key, f"{session.neighbor} already has session {first.name}, from {first.key}")
    return first is None


def _entries_for(own: Address, entries: Iterable[Peer]) -> Iterator[Peer]:
    return (entry for entry in entries if entry.address == own)


def _reject_hosts_without_address(collected: Collector, families: list[Family]) -> None:
    # Calico writes an empty IPv6 address for every node without IPv6, which is not worth a remark.
    if not families or families == [Family.IPV6]:
        return
    for host in collected.topology.hosts.values():
        if not any(host.address(family) for family in families):
            key = collected.topology.names.host_address(host.name, Family.IPV4)
            state = "empty" if Family.IPV4 in host.addresses else "missing"
            collected.reject(key, f"is {state}: node {host.name} has no address to peer with")

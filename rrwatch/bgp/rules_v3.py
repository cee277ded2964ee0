"""The rules of Calico's v3 resources: which BGP sessions one BIRD must have, given the topology of the cluster.

A node has the sessions that calico-node configures. A route reflector outside of the cluster mirrors what each node
computes for it, so that both ends agree on AS numbers, ports and passwords whatever BGPPeer resources say.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from rrwatch.bgp.collector import Collector, is_contested
from rrwatch.bgp.peerings import Peering, Peerings, PeersOfNode, as_of, global_as, port_of
from rrwatch.bgp.sessions import Derived, Kind, Session, session_name
from rrwatch.bgp.speaker import BGP_PORT, Speaker, other_reflectors, port_unless_default
from rrwatch.bgp.topology import Address, AsNumber, BgpPeer, Family, Host, Topology


def node_sessions(topology: Topology, name: str, families: Iterable[Family]) -> Derived:
    """Returns the sessions of a Calico node; there are none in a family in which the node has no address."""
    collected = Collector(topology)
    host = topology.hosts.get(name)
    if host is None:
        key = topology.names.host_address(name, Family.IPV4)
        collected.reject(key, f"is missing: this node, {name}, has no record in etcd")
        return collected.derived()
    _warn_about_resources(collected)
    _warn_about_filters(collected, host)
    peers = Peerings(topology, topology.hosts.values()).of(host)
    _report_losing(collected, peers, f"on node {host.name}")
    for family in families:
        if own := host.address(family):
            _reject_doubles(collected, host, own)
            for session in _as_node(topology, peers.peerings, host, own):
                _add(collected, session)
    return collected.derived()


def reflector_sessions(topology: Topology, speaker: Speaker) -> Derived:
    """Returns the sessions of a route reflector.

    It has a session with each node that has one with the reflector's address and port. If a Node resource has that
    address, the reflector has the sessions of that node too. Reflectors know each other as nodes, by records under
    `rr_v*`, or by what they were told themselves.
    """
    collected = Collector(topology)
    _warn_about_resources(collected)
    registered = [topology.hosts[name] for name in registered_nodes(topology, speaker)]
    for own in speaker.addresses.values():
        _reflector_family(collected, speaker, own, [host for host in registered if own in host.known])
    return collected.derived()


def registered_nodes(topology: Topology, speaker: Speaker) -> tuple[str, ...]:
    """Returns the names of the nodes that have an address of the reflector."""
    own = frozenset(speaker.addresses.values())
    return tuple(name for name, host in topology.hosts.items() if not own.isdisjoint(host.known))


def listen_port(topology: Topology, speaker: Speaker) -> int:
    """Returns the port on which a route reflector listens: as a node, where the other nodes expect it."""
    itself = next(iter(registered_nodes(topology, speaker)), None)
    return (itself and port_of(topology, topology.hosts[itself])) or speaker.port


def _reflector_family(collected: Collector, speaker: Speaker, own: Address, registered: Sequence[Host]) -> None:
    topology = collected.topology
    itself = registered[0] if registered else None
    cluster_id = _cluster_id(topology, speaker, own, itself)
    as_node: list[Session] = []
    if itself:
        _reject_doubles(collected, itself, own)
        peers = Peerings(topology, topology.hosts.values()).of(itself)
        _report_losing(collected, peers, f"on node {itself.name}")
        found = _as_node(topology, peers.peerings, itself, own)
        as_node = [replace(session, source_address=own) for session in found]
    for session in as_node:
        if session.kind is Kind.MESH:
            _add(collected, session)
    _reflector_mesh(collected, speaker, own, itself)
    mirrored = _mirrored(collected, speaker, own, registered, cluster_id)
    for kind in Kind.GLOBAL, Kind.NODE:
        for sessions in mirrored, as_node:
            for session in sessions:
                if session.kind is kind:
                    _add(collected, session)


def _cluster_id(topology: Topology, speaker: Speaker, own: Address, itself: Host | None) -> IPv4Address | None:
    record = next((reflector for reflector in topology.reflectors if reflector.address == own), None)
    return (itself and itself.cluster_id) or (record and record.cluster_id) or speaker.cluster_id


def _reflector_mesh(collected: Collector, speaker: Speaker, own: Address, itself: Host | None) -> None:
    topology = collected.topology
    # All reflectors of a cluster must come to the same AS, so it cannot depend on which nodes there are.
    named = (peer.as_number for peer in topology.bgp_peers if peer.address == own and peer.as_number)
    number = next(named, as_of(topology, itself) if itself else global_as(topology))
    port = port_unless_default(listen_port(topology, speaker))
    for address, key in other_reflectors(topology, speaker, own):
        name = session_name(Kind.MESH, address)
        _add(collected, _session(Kind.MESH, name, own, address, number, number, key=key, port=port))


def _mirrored(
    collected: Collector, speaker: Speaker, own: Address, registered: Sequence[Host], cluster_id: IPv4Address | None
) -> list[Session]:
    """Returns the other end of each session that a node has with the reflector."""
    topology, listens_on = collected.topology, listen_port(collected.topology, speaker)
    peerings = Peerings(topology, registered, own)
    found = []
    for host in topology.hosts.values():
        neighbor = host.address(Family(own.version))
        if neighbor is None or neighbor == own:
            continue
        peers = peerings.of(host)
        _report_losing(collected, peers, "on some nodes")
        for peering in peers.peerings:
            resource = peering.resource
            if (peering.port or BGP_PORT) != listens_on:
                reason = f"asks for port {peering.port or BGP_PORT} of {own}, where this reflector does not listen"
                collected.warn(resource.key, reason)
                continue
            local_as, remote_as = peering.remote_as, peering.local_as or as_of(topology, host)
            is_client = local_as == remote_as and not (host.cluster_id and host.cluster_id == cluster_id)
            found.append(
                _session(
                    peering.scope,
                    session_name(peering.scope, neighbor),
                    own,
                    neighbor,
                    local_as,
                    remote_as,
                    key=resource.key,
                    node=host.name,
                    port=port_of(topology, host),
                    resource=resource,
                    client_of=cluster_id if is_client else None,
                    is_client=is_client,
                )
            )
    return found


def _as_node(topology: Topology, peerings: Iterable[Peering], host: Host, own: Address) -> Iterator[Session]:
    """Yields the sessions of a node in the family of its address, in order of precedence."""
    family, local_as = Family(own.version), as_of(topology, host)
    # Route reflectors take no part in the mesh; without a record the mesh is on.
    if topology.node_mesh is not False and host.cluster_id is None:
        for other in topology.hosts.values():
            neighbor = other.address(family)
            if neighbor and neighbor != own and other.cluster_id is None:
                yield _in_mesh(topology, other, own, neighbor, local_as)
    for peering in peerings:
        if peering.address.version != family or peering.address == own:
            continue
        resource = peering.resource
        effective = peering.local_as or local_as
        is_client = bool(peering.remote_as == effective and host.cluster_id and peering.cluster_id != host.cluster_id)
        yield _session(
            peering.scope,
            session_name(peering.scope, peering.address, peering.port),
            own if resource.from_own_address else None,
            peering.address,
            effective,
            peering.remote_as,
            key=resource.key,
            node=peering.node,
            port=peering.port,
            resource=resource,
            client_of=host.cluster_id if is_client else None,
            is_client=is_client,
            passive=peering.scope is Kind.GLOBAL and peering.is_node and waits_for(own, peering.address),
        )


def _in_mesh(topology: Topology, other: Host, own: Address, neighbor: Address, local_as: AsNumber) -> Session:
    options = topology.mesh_options
    session = _session(
        Kind.MESH,
        session_name(Kind.MESH, neighbor),
        own,
        neighbor,
        local_as,
        as_of(topology, other),
        key=other.addresses[Family(own.version)].key,
        node=other.name,
        port=port_of(topology, other),
        passive=waits_for(own, neighbor),
    )
    if options is None:
        return session
    return replace(session, password=options.password, graceful_restart_time=options.graceful_restart_time)


def waits_for(own: Address, neighbor: Address) -> bool:
    """Whether, of two nodes that both know of their session, it is the other one that connects.

    Calico compares addresses as texts, and both ends must agree: 10.0.0.9 is greater than 10.0.0.10.
    """
    return str(neighbor) > str(own)


def _session(
    kind: Kind,
    name: str,
    own: Address | None,
    neighbor: Address,
    local_as: AsNumber,
    remote_as: AsNumber,
    *,
    key: str,
    node: str | None = None,
    port: int | None = None,
    resource: BgpPeer | None = None,
    client_of: IPv4Address | None = None,
    is_client: bool = False,
    passive: bool = False,
) -> Session:
    return Session(
        name=name,
        kind=kind,
        family=Family(neighbor.version),
        neighbor=neighbor,
        local_as=local_as,
        remote_as=remote_as,
        rr_client=is_client,
        cluster_id=client_of,
        node=node,
        key=key,
        source_address=own,
        port=port,
        password=resource.password if resource else None,
        passive=passive,
        ttl_security=resource.ttl_security if resource else None,
        graceful_restart_time=resource.graceful_restart_time if resource else None,
        keepalive_time=resource.keepalive_time if resource else None,
    )


def _add(collected: Collector, session: Session) -> None:
    """Adds a session: the first one for a neighbor wins."""
    first = collected.add(session)
    if first and not is_contested(first, session) and first.key != session.key:
        collected.warn(session.key, f"{session.neighbor} already has session {first.name}, from {first.key}")


def _report_losing(collected: Collector, peers: PeersOfNode, where: str) -> None:
    for loser, winner in peers.losing:
        if loser.resource is not winner.resource:
            collected.warn(loser.resource.key, f"{winner.resource.key} comes first for {loser.address} {where}")
        elif loser.node and winner.node and loser.node != winner.node:
            _reject_double(collected, loser.node, loser.address, f"node {winner.node}")


def _reject_doubles(collected: Collector, host: Host, own: Address) -> None:
    for other in collected.topology.hosts.values():
        if other is not host and own in other.known:
            _reject_double(collected, other.name, own, f"this node, {host.name},")


def _reject_double(collected: Collector, name: str, address: Address, owner: str) -> None:
    key = collected.topology.hosts[name].addresses[Family(address.version)].key
    collected.reject(key, f"{address} is the address of {owner} too")


def _warn_about_resources(collected: Collector) -> None:
    for resource in collected.topology.bgp_peers:
        if resource.peers is not None and resource.local_as:
            collected.warn(resource.key, "localASNumber has no effect with a peerSelector: Calico ignores it")


def _warn_about_filters(collected: Collector, host: Host) -> None:
    known = {one.name for one in collected.topology.filters}
    for resource in collected.topology.bgp_peers:
        missing = sorted(set(resource.filters) - known)
        if missing:
            shown = ", ".join(ascii(name)[:80] for name in missing[:5])
            reason = f"names filters that do not exist: {shown}; node {host.name} peers without them"
            collected.warn(resource.key, reason)

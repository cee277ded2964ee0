"""What a change of records does to the sessions of the nodes and route reflectors of a cluster.

Each host's sessions are derived by its own role, before and after the change. Under a node mesh that would be
millions of sessions, nearly all of which are of one form: a node has the same kind of session with each address that
no peer record names. So a node is derived from a topology of itself and of the nodes that peer records name, and the
rest of the mesh is counted.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain, islice

from rrwatch.bgp.sessions import Session, sort_key
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Address, Family, Host, Topology
from rrwatch.calico.model import DataModel
from rrwatch.roles.node import NodeRole

NAMES = 10
"""The most names of sessions that are kept of those that a host gains, loses or resets."""

_Ends = tuple[Address, Address]
_Sessions = Mapping[Address, Session]


class HostKind(Enum):
    """What a host is. The value is part of the output of commands."""

    REFLECTOR = "reflector"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Some:
    """A number of sessions of one host.

    Attributes:
        names: names of some of them, at most `NAMES`.
    """

    count: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostEffect:
    """What a change does to the sessions of one host.

    Attributes:
        name: a node's name, or a reflector's address.
        before, after: the number of its sessions.
        gained, lost: the sessions with neighbors that it did not have, or no longer has.
        reset: the sessions with the same neighbor on other terms, or under another name: BIRD ends and begins them.
        cut_off: the families in which it loses its last session.
        leaves_reflectors: whether it loses sessions, and those that it keeps are not with reflectors of the cluster.
    """

    kind: HostKind
    name: str
    before: int
    after: int
    gained: Some
    lost: Some
    reset: Some
    cut_off: tuple[Family, ...] = ()
    leaves_reflectors: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does to the sessions of a cluster.

    Attributes:
        hosts: those whose sessions change: reflectors by address, then nodes by name.
        gained, lost, reset: the number of sessions that begin, end, or are reset. One between two hosts of the cluster
            counts once: as lost if either of them loses it, else as reset if either resets it.
    """

    hosts: tuple[HostEffect, ...] = ()
    gained: int = 0
    lost: int = 0
    reset: int = 0


NOTHING = Effect()


def effect(before: Topology, after: Topology, model: DataModel) -> Effect:
    """Returns what a change does to sessions if each host has the default settings of its role.

    Args:
        before, after: the cluster, with the same nodes. They may differ in records of reflectors and, if the model is
            Calico v1, in peers and in whether the mesh is on.
    """
    ends = _ChangedEnds()
    hosts = [*_reflectors(before, after, model, ends)]
    mesh = _Mesh(before, after)
    if replace(after, reflectors=before.reflectors, rejected=before.rejected) != before:
        hosts += _Nodes(before, after, model, mesh, ends).effects()
    gained, lost, reset = ends.count(mesh)
    return Effect(tuple(hosts), gained, lost, reset)


class _Mesh:
    """The node mesh: whether it is switched, and the addresses that it connects with each other."""

    def __init__(self, before: Topology, after: Topology) -> None:
        self.was_on, self.is_on = before.node_mesh is not False, after.node_mesh is not False
        self.owners: defaultdict[Address, list[str]] = defaultdict(list)
        self.members: dict[Family, set[Address]] = {family: set() for family in Family}
        for name, host in after.hosts.items():
            for address in host.known:
                self.owners[address].append(name)
                if host.as_number or after.global_as:
                    self.members[Family(address.version)].add(address)

    @property
    def is_switched(self) -> bool:
        return self.was_on != self.is_on

    @property
    def size(self) -> int:
        """The number of its sessions, each of which two nodes share."""
        return sum(len(members) * (len(members) - 1) // 2 for members in self.members.values())

    def first(self, topology: Topology, count: int, but: Collection[Address]) -> Iterator[Address]:
        """Yields so many addresses of each family but those, in the order of the nodes that have them."""
        for family, members in self.members.items():
            addresses = dict.fromkeys(host.address(family) for host in topology.hosts.values())
            yield from islice((address for address in addresses if address in members and address not in but), count)

    def connects(self, ends: _Ends) -> bool:
        members = self.members[Family(ends[0].version)]
        return ends[0] in members and ends[1] in members


class _ChangedEnds:
    """Both ends of the sessions that change, one entry for each host that sees the change."""

    def __init__(self) -> None:
        self._gained: set[_Ends] = set()
        self._lost: set[_Ends] = set()
        self._reset: set[_Ends] = set()

    def add(self, own: Address, neighbor: Address, before: Session | None, after: Session | None) -> None:
        """Adds a session that changes at the host with the address `own`."""
        changed = self._gained if before is None else self._lost if after is None else self._reset
        changed.add((own, neighbor))

    def count(self, mesh: _Mesh) -> tuple[int, int, int]:
        """Returns how many sessions begin, end, and are reset, with those of a mesh that is switched."""
        lost = {_pair(ends) for ends in self._lost}
        reset = {_pair(ends) for ends in self._reset} - lost
        gained = {_pair(ends) for ends in self._gained} - lost - reset
        if not mesh.is_switched:
            return len(gained), len(lost), len(reset)
        if mesh.is_on:  # a session that is there on other terms, at one end at least, is reset
            kept = sum(map(mesh.connects, lost | reset))
            return _outside(mesh, gained) + mesh.size - kept, len(lost), len(reset)
        # A session of the mesh is reset if both nodes go on with it on other terms.
        both = {ends for ends in reset if mesh.connects(ends) and self._reset >= {ends, ends[::-1]}}
        return len(gained), _outside(mesh, lost) + mesh.size - len(both), _outside(mesh, reset) + len(both)


def _pair(ends: _Ends) -> _Ends:
    one, other = ends
    return ends if int(one) < int(other) else (other, one)


def _outside(mesh: _Mesh, pairs: Collection[_Ends]) -> int:
    return len(pairs) - sum(map(mesh.connects, pairs))


class _Nodes:
    """Derives the nodes of a cluster before and after a change."""

    def __init__(self, before: Topology, after: Topology, model: DataModel, mesh: _Mesh, ends: _ChangedEnds) -> None:
        self._before, self._after, self._model, self._mesh, self._ends = before, after, model, mesh, ends
        self._reflectors = {reflector.address for reflector in after.reflectors}
        self._named_by_all = {entry.address for topology in (before, after) for entry in topology.peers}
        self._named_by: defaultdict[Address, set[Address]] = defaultdict(set)
        for host in chain(before.hosts.values(), after.hosts.values()):
            for own in host.known if host.peers else ():
                self._named_by[own].update(entry.address for entry in host.peers)
        # The node itself may be among them.
        self._sample = {*mesh.first(after, NAMES + 1, self._named_by_all)} if mesh.is_switched else set()

    def effects(self) -> Iterator[HostEffect]:
        """Yields the nodes whose sessions change."""
        before, after = self._before, self._after
        all_may_change = self._mesh.is_switched or before.peers != after.peers
        for name in sorted({*before.hosts, *after.hosts}):
            if all_may_change or before.hosts.get(name) != after.hosts.get(name):
                found = self._node(name)
                if found.gained.count or found.lost.count or found.reset.count:
                    yield found

    def _node(self, name: str) -> HostEffect:
        host = self._after.hosts.get(name) or self._before.hosts[name]
        near = self._near(host)
        old, new = (
            {
                session.neighbor: session
                for session in NodeRole(name, self._model).sessions(_only(topology, near)).sessions
            }
            for topology in (self._before, self._after)
        )
        own = {family: address for family in Family if (address := host.address(family))}
        gained, lost, reset = _compared(own, old, new, self._ends)
        others = self._count_others(host, near)
        before, after = (
            {
                family: others[family] * mesh + sum(one.family is family for one in sessions.values())
                for family in Family
            }
            for mesh, sessions in ((self._mesh.was_on, old), (self._mesh.is_on, new))
        )
        switched = sum(others.values()) if self._mesh.is_switched else 0
        more_gained, more_lost = (switched, 0) if self._mesh.is_on else (0, switched)
        lost_count = len(lost) + more_lost
        return HostEffect(
            HostKind.NODE,
            name,
            sum(before.values()),
            sum(after.values()),
            _some(gained, more_gained),
            _some(lost, more_lost),
            _some(reset),
            tuple(
                family
                for family in Family
                if before[family] and not after[family] and own.get(family) not in self._reflectors
            ),
            leaves_reflectors=bool(
                lost_count and new and not self._mesh.is_on and not self._reflectors & {*new, *own.values()}
            ),
        )

    def _near(self, host: Host) -> set[str]:
        """Returns the names of the nodes that have to be looked at one by one: the node, and those that peers name."""
        named = self._named_by_all.union(*(self._named_by[own] for own in host.known if own in self._named_by))
        owners = self._mesh.owners
        return {host.name}.union(*(owners[address] for address in named | self._sample if address in owners))

    def _count_others(self, host: Host, near: Collection[str]) -> dict[Family, int]:
        """Returns with how many other addresses the node peers while the mesh is on."""
        has_as = host.as_number or self._after.global_as
        known = {address for name in near if name in self._after.hosts for address in self._after.hosts[name].known}
        return {
            family: len(members) - len(members & known) if has_as and host.address(family) else 0
            for family, members in self._mesh.members.items()
        }


def _reflectors(before: Topology, after: Topology, model: DataModel, ends: _ChangedEnds) -> Iterator[HostEffect]:
    if replace(after, node_mesh=before.node_mesh, rejected=before.rejected) == before:
        return
    known = {reflector.address for topology in (before, after) for reflector in topology.reflectors}
    for address in sorted(known, key=lambda address: (address.version, int(address))):
        own = {Family(address.version): address}
        old, new = (
            {session.neighbor: session for session in model.reflector_sessions(topology, Speaker(own)).sessions}
            for topology in (before, after)
        )
        gained, lost, reset = _compared(own, old, new, ends)
        if gained or lost or reset:
            yield HostEffect(
                HostKind.REFLECTOR, str(address), len(old), len(new), _some(gained), _some(lost), _some(reset)
            )


def _compared(
    own: Mapping[Family, Address], old: _Sessions, new: _Sessions, ends: _ChangedEnds
) -> tuple[list[Session], list[Session], list[Session]]:
    """Returns the sessions that a host gains, loses and resets, and adds them to the changed ends."""
    gained: list[Session] = []
    lost: list[Session] = []
    reset: list[Session] = []
    for neighbor in old.keys() | new.keys():
        before, after = old.get(neighbor), new.get(neighbor)
        if before == after or (before and after and _on_the_same_terms(before, after)):
            continue
        ends.add(own[Family(neighbor.version)], neighbor, before, after)
        if before is None and after:
            gained.append(after)
        elif after is None and before:
            lost.append(before)
        elif after:
            reset.append(after)
    return gained, lost, reset


def _on_the_same_terms(one: Session, other: Session) -> bool:
    """Whether BIRD sees no difference: which record asks for a session is only a comment."""
    return replace(one, node=other.node, key=other.key) == other


def _some(sessions: Sequence[Session], others: int = 0) -> Some:
    names = tuple(session.name for session in sorted(sessions, key=sort_key)[:NAMES])
    return Some(len(sessions) + others, names)


def _only(topology: Topology, names: Collection[str]) -> Topology:
    hosts = topology.hosts
    return replace(topology, hosts={name: hosts[name] for name in sorted(names) if name in hosts}, rejected={})

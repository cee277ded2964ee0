"""The plan of a command that writes records: what it does to sessions, and what to mind before."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rrwatch
from rrwatch.bgp.topology import Family, Peer, Topology
from rrwatch.commands.records import Cluster, Proposal
from rrwatch.roles.effect import NOTHING, Effect, HostEffect, HostKind, Some, effect

SCHEMA = "rrwatch.plan/1"

HANDFUL = 10
"""The most sessions that may end or be reset, or begin on one node, without anybody's consent."""

_NAMED = 3

_ESTABLISH = "wait until their sessions are Established (`birdc show protocols` on the reflector)"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command would write, and what follows from it.

    Attributes:
        warnings: what to mind before it is written, for people; one paragraph each.
    """

    proposal: Proposal
    effect: Effect = NOTHING
    warnings: tuple[str, ...] = ()

    @property
    def needs_consent(self) -> bool:
        """Whether more than a handful of sessions end or are reset, or begin on one node."""
        nodes = (host for host in self.effect.hosts if host.kind is HostKind.NODE)
        ended = self.effect.lost + self.effect.reset
        return ended > HANDFUL or any(node.gained.count > HANDFUL for node in nodes)

    @property
    def cut_off(self) -> tuple[HostEffect, ...]:
        """The nodes that lose their last session, in one family at least."""
        return tuple(host for host in self.effect.hosts if host.cut_off)

    def document(self) -> dict[str, Any]:
        """Returns the plan as a JSON object; `docs/schema/plan.schema.json` describes it."""
        return {
            "schema": SCHEMA,
            "version": rrwatch.__version__,
            "now": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "change": self.proposal.what,
            "result": self.proposal.result,
            "keys": [
                {"key": write.key, "before": write.before, "after": write.after} for write in self.proposal.writes
            ],
            "sessions": {"gained": self.effect.gained, "lost": self.effect.lost, "reset": self.effect.reset},
            "needs_yes": self.needs_consent,
            "hosts": [_host(host) for host in self.effect.hosts],
            "without_sessions": [
                {"node": host.name, "families": [int(family) for family in host.cut_off]} for host in self.cut_off
            ],
            "without_reflector": sum(host.leaves_reflectors for host in self.effect.hosts),
            "warnings": list(self.warnings),
        }


def plan(cluster: Cluster, proposal: Proposal) -> Plan:
    """Returns what follows from a proposal, if every host has the default settings of its role."""
    if not proposal.writes:
        return Plan(proposal)
    before, after = cluster.topologies(proposal)
    found = effect(before, after, cluster.model)
    return Plan(proposal, found, tuple(_warnings(proposal, before, after, found)))


def _warnings(proposal: Proposal, before: Topology, after: Topology, found: Effect) -> list[str]:
    warnings = _of_removed_reflectors(before, after)
    mesh_ends = before.node_mesh is not False and after.node_mesh is False
    cut_off = [host for host in found.hosts if host.cut_off]
    leaving = [host for host in found.hosts if host.leaves_reflectors and not host.cut_off]
    for family_only in None, *Family:
        some = [host for host in cut_off if _only_family(host) is family_only]
        if some:
            session = f"IPv{family_only:d} session" if family_only else "session at all"
            warnings.append(
                f"{_nodes(some)} would have no {session}, and lose all routes to other nodes: {_names(some)}."
            )
    if leaving:
        warnings.append(f"{_nodes(leaving)} would have no session with a route reflector: {_names(leaving)}.")
    if mesh_ends and (cut_off or leaving):
        warnings.append(
            "The order that loses no route: first `rrwatch rr add` and `rrwatch peer add` for each route reflector; "
            f"then {_ESTABLISH}; then `rrwatch node-mesh off`."
        )
    elif mesh_ends and found.lost:
        warnings.append(
            "etcd does not know which sessions are Established. Before the mesh ends, those of all nodes with the "
            "route reflectors must be: `birdc show protocols` on each reflector shows them."
        )
    elif cut_off or leaving:
        warnings.append(_order_of_removal("these nodes"))
    return warnings + _of_unknown_nodes(after, proposal)


def _of_removed_reflectors(before: Topology, after: Topology) -> list[str]:
    warnings = []
    left = {reflector.address for reflector in after.reflectors}
    for reflector in before.reflectors:
        address = reflector.address
        if address in left:
            continue
        if any(entry.address == address for entry in _peers(after)):
            warnings.append(
                f"Nodes go on peering with {address}, because peers name it: `rrwatch peer remove {address}` ends that."
            )
        if not left and after.node_mesh is False and not any(host.cluster_id for host in after.hosts.values()):
            warnings.append(
                f"{address} is the last route reflector, and the node mesh is off: without it the nodes have no "
                "routes to each other."
            )
            warnings.append(_order_of_removal("the nodes"))
    return warnings


def _order_of_removal(nodes: str) -> str:
    return (
        f"The order that loses no route: first let {nodes} peer with another route reflector (`rrwatch rr add`, "
        f"`rrwatch peer add`) and {_ESTABLISH}, or switch the mesh on (`rrwatch node-mesh on`); then remove this one."
    )


def _of_unknown_nodes(after: Topology, proposal: Proposal) -> list[str]:
    names = {after.names.host_of(write.key) for write in proposal.writes if write.after is not None} - {None}
    return [
        f"Node {name} has no address in etcd: no session follows before its calico-node has written one."
        for name in sorted(map(str, names))
        if name not in after.hosts or not after.hosts[name].known
    ]


def _peers(topology: Topology) -> list[Peer]:
    return [*topology.peers, *(entry for host in topology.hosts.values() for entry in host.peers)]


def _only_family(host: HostEffect) -> Family | None:
    """Returns the family in which a node loses its last session, None if it has no session in another one either."""
    return host.cut_off[0] if host.after else None


def _nodes(hosts: Collection[HostEffect]) -> str:
    return f"{len(hosts):,} node{'' if len(hosts) == 1 else 's'}"


def _names(hosts: Sequence[HostEffect]) -> str:
    names = ", ".join(host.name for host in hosts[:_NAMED])
    return names if len(hosts) <= _NAMED else f"{names} and {len(hosts) - _NAMED:,} more"


def _host(host: HostEffect) -> dict[str, Any]:
    return {
        "role": host.kind.value,
        "name": host.name,
        "before": host.before,
        "after": host.after,
        "gained": _some(host.gained),
        "lost": _some(host.lost),
        "reset": _some(host.reset),
    }


def _some(sessions: Some) -> dict[str, Any]:
    return {"count": sessions.count, "names": list(sessions.names)}

"""The role of a Calico node."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from rrwatch.bgp.ipam import announced
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import AsNumber, Debug, Family, Pool, Rejected, Remark, Topology
from rrwatch.bird.config import Capabilities, NodeConfig, NodeFamily
from rrwatch.calico.model import DataModel


@dataclass(frozen=True, slots=True)
class NodeRole:
    """A Calico node, with its sessions and its own routes.

    Attributes:
        name: the node's name in etcd.
        model: what the keys mean.
        only: the families that are on, None where the node's addresses in etcd decide.
        takes_filters: whether operators' filters from etcd count.
    """

    name: str
    model: DataModel
    only: tuple[Family, ...] | None = None
    takes_filters: bool = False

    def with_model(self, model: DataModel) -> "NodeRole":
        """Returns the same role for keys of another data model."""
        return replace(self, model=model)

    def summary(self) -> str:
        """Returns `node` and its name."""
        return f"node {self.name}"

    def baseline(self) -> str:
        """Returns `node` and its name."""
        return self.summary()

    def advice(self) -> str:
        """Returns what makes a node peer."""
        return "no key asks for a session: the node mesh is off, and neither all nodes nor this one have a peer"

    @property
    def all_prefixes(self) -> tuple[str, ...]:
        """The folders of all keys about BGP, and of pools and its own blocks."""
        return self.model.all_node_folders(self.name)

    def prefixes(self, topology: Topology | None) -> tuple[str, ...]:
        """Returns the folders that matter; those of other nodes only under a node mesh."""
        mesh = topology is not None and topology.node_mesh is not False
        return self.model.node_folders(self.name, mesh=mesh)

    def waits_for(self, topology: Topology) -> str:
        """Returns the key of its address or of its AS number, if that is missing."""
        host = topology.hosts.get(self.name)
        if host is None or host.address(Family.IPV4) is None:
            return topology.names.host_address(self.name, Family.IPV4)
        return "" if self._local_as(topology) else topology.names.global_as()

    def families(self, topology: Topology) -> tuple[Family, ...]:
        """Returns the families that are set, or that it has addresses of; IPv4 always."""
        host = topology.hosts.get(self.name)
        known = tuple(family for family in Family if family is Family.IPV4 or (host and host.address(family)))
        return self.only or known

    def routes(self, topology: Topology) -> frozenset[str]:
        """Returns the keys of the blocks that it announces, and of the pools that its routes must be in."""
        known = [announced(topology, self.name, family)[0] for family in Family]
        blocks = {block.key for one in known for block in one.blocks}
        return frozenset(blocks | {pool.key for one in known for pool in one.pools})

    def own_hosts(self, topology: Topology) -> tuple[str, ...]:  # the port's signature
        """Returns the node itself."""
        return (self.name,)

    def sessions(self, topology: Topology) -> Derived:
        """Derives the sessions of all its families."""
        return self.model.node_sessions(topology, self.name, self.only or tuple(Family))

    def with_remarks(self, derived: Derived, topology: Topology, capabilities: Capabilities | None) -> Derived:
        """Adds what is wrong with pools, blocks and filters."""
        rejected: dict[str, Rejected] = {remark.key: remark for remark in derived.rejected}
        warnings: dict[str, Remark] = {remark.key: remark for remark in derived.warnings}
        rejected |= {remark.key: remark for remark in (capabilities.refused if capabilities else ())}
        for family in Family:
            known, overlapping = announced(topology, self.name, family)
            rejected |= {remark.key: remark for remark in overlapping}
            if capabilities and capabilities.tunnels is False and family is Family.IPV4:
                warnings |= {pool.key: _without_tunnel(pool) for pool in known.pools if pool.tunnel}
        return replace(
            derived,
            rejected=tuple(rejected[key] for key in sorted(rejected)),
            warnings=tuple(warnings[key] for key in sorted(warnings)),
        )

    def config(
        self, topology: Topology, derived: Derived, families: Sequence[Family], capabilities: Capabilities
    ) -> NodeConfig:
        """Returns the content of the configuration for the BIRD of those families.

        Raises:
            ValueError: a record is missing, see `waits_for`.
        """
        host = topology.hosts[self.name]
        router_id, local_as = host.address(Family.IPV4), self._local_as(topology)
        if not isinstance(router_id, IPv4Address) or local_as is None:
            raise ValueError(self.waits_for(topology))
        return NodeConfig(
            grammar=capabilities.grammar,
            router_id=router_id,
            local_as=local_as,
            debug=host.debug or topology.debug or Debug.STATES,
            families=tuple(self._family(topology, family, capabilities) for family in families),
            sessions=derived.of(families),
            tunnels=bool(capabilities.tunnels),
        )

    def _family(self, topology: Topology, family: Family, capabilities: Capabilities) -> NodeFamily:
        known, _ = announced(topology, self.name, family)
        refused = {remark.key for remark in capabilities.refused}
        filters = tuple(entry for entry in known.custom_filters if entry.key not in refused)
        return NodeFamily(
            family=family,
            source_address=topology.hosts[self.name].address(family),
            blocks=known.blocks,
            pools=known.pools,
            subnet=known.subnet,
            custom_filters=filters if self.takes_filters else None,
        )

    def _local_as(self, topology: Topology) -> AsNumber | None:
        host = topology.hosts.get(self.name)
        return (host and host.as_number) or topology.global_as


def _without_tunnel(pool: Pool) -> Remark:
    reason = f"asks for IP in IP through {pool.tunnel}, which this BIRD does not have: its routes go without a tunnel"
    return Remark(pool.key, reason)

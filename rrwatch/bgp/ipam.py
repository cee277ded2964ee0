"""Rules for addresses: which blocks a node announces, and which pools its routes must be in."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TypeVar

from rrwatch.bgp.topology import Block, CustomFilter, Family, Pool, Rejected, Topology

_Range = TypeVar("_Range", Pool, Block)


@dataclass(frozen=True, slots=True)
class Announced:
    """Input of a node's routing policy for one address family.

    Attributes:
        blocks: this node's blocks; each is a blackhole route, and is announced as a whole.
        pools: routes outside these networks are not announced.
        subnet: the node's own subnet; routes to neighbors in it bypass the tunnel of a cross-subnet pool. IPv4 only.
        custom_filters: the operator's filters, sorted by name.
    """

    blocks: tuple[Block, ...]
    pools: tuple[Pool, ...]
    subnet: IPv4Network | None
    custom_filters: tuple[CustomFilter, ...]


def announced(topology: Topology, node: str, family: Family) -> tuple[Announced, tuple[Rejected, ...]]:
    """Returns what a node announces, and the blocks and pools that are rejected because they overlap another one."""
    own_blocks = (block for block in topology.blocks if block.host == node and block.network.version == family)
    blocks, blocks_rejected = _without_overlaps(own_blocks)
    pools, pools_rejected = _without_overlaps(pool for pool in topology.pools if pool.network.version == family)
    host = topology.hosts.get(node)
    filters = tuple(entry for entry in topology.custom_filters if entry.family is family)
    subnet = host.network if host and family is Family.IPV4 else None
    return Announced(blocks, pools, subnet, filters), blocks_rejected + pools_rejected


def _without_overlaps(items: Iterable[_Range]) -> tuple[tuple[_Range, ...], tuple[Rejected, ...]]:
    """Returns the networks in order of their addresses; of two that overlap, the wider one is kept."""
    kept: list[_Range] = []
    rejected: list[Rejected] = []

    def by_address(item: _Range) -> tuple[int, int, str]:
        return int(item.network.network_address), item.network.prefixlen, item.key

    # Two networks overlap only if one contains the other, and in this order a network comes before those it contains.
    for item in sorted(items, key=by_address):
        wider = kept[-1] if kept else None
        if wider and int(item.network.network_address) <= int(wider.network.broadcast_address):
            rejected.append(Rejected(item.key, f"{item.network} overlaps {wider.network} of {wider.key}"))
        else:
            kept.append(item)
    return tuple(kept), tuple(rejected)

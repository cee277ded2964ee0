"""The rules for addresses: which blocks a node announces, and which pools its routes must be in."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TypeVar

from rrwatch.bgp.topology import Block, CustomFilter, Family, Pool, Rejected, Topology

_Range = TypeVar("_Range", Pool, Block)


@dataclass(frozen=True, slots=True)
class Announced:
    """What a node's BIRD of one family does with routes.

    Attributes:
        blocks: of this node; each is a blackhole, and announced as a whole.
        pools: routes outside of them are not announced.
        subnet: the node's own; routes to neighbors in it need no tunnel of a cross-subnet pool. IPv4 only.
        custom_filters: an operator's code, in the order of their names.
    """

    blocks: tuple[Block, ...]
    pools: tuple[Pool, ...]
    subnet: IPv4Network | None
    custom_filters: tuple[CustomFilter, ...]


def announced(topology: Topology, node: str, family: Family) -> tuple[Announced, tuple[Rejected, ...]]:
    """What a node announces, and the blocks and pools that are left out because another one has their addresses."""
    blocks, blocks_rejected = _apart(block for block in topology.blocks if block.host == node and _is(block, family))
    pools, pools_rejected = _apart(pool for pool in topology.pools if _is(pool, family))
    host = topology.hosts.get(node)
    filters = tuple(entry for entry in topology.custom_filters if entry.family is family)
    subnet = host.network if host and family is Family.IPV4 else None
    return Announced(blocks, pools, subnet, filters), blocks_rejected + pools_rejected


def _is(item: Pool | Block, family: Family) -> bool:
    return item.network.version == family


def _apart(items: Iterable[_Range]) -> tuple[tuple[_Range, ...], tuple[Rejected, ...]]:
    """Those that have no address in common, in order of their addresses; where two have, the wider one stays."""
    kept: list[_Range] = []
    rejected: list[Rejected] = []

    def place(item: _Range) -> tuple[int, int, str]:
        return int(item.network.network_address), item.network.prefixlen, item.key

    # Networks overlap only where one holds the other, and in this order it stands before all that it holds.
    for item in sorted(items, key=place):
        holder = kept[-1] if kept else None
        if holder and int(item.network.network_address) <= int(holder.network.broadcast_address):
            rejected.append(Rejected(item.key, f"{item.network} overlaps {holder.network} of {holder.key}"))
        else:
            kept.append(item)
    return tuple(kept), tuple(rejected)

"""What a BIRD's configuration is made of, in the terms that templates use."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from rrwatch.bgp.sessions import Session
from rrwatch.bgp.topology import Address, AsNumber, Block, CustomFilter, Debug, Family, Pool, Rejected


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the BIRDs of this host understand, of that which not every BIRD does.

    Attributes:
        tunnels: IP in IP by `krt_tunnel`, as in Calico's own BIRD; None where that is not known, or does not matter.
        refused: operators' filters that BIRD does not take.
    """

    tunnels: bool | None = None
    refused: tuple[Rejected, ...] = ()


PLAIN = Dialect()


@dataclass(frozen=True, slots=True)
class ReflectorConfig:
    """A route reflector's.

    Attributes:
        source_address: of the family of all the sessions.
    """

    router_id: IPv4Address
    source_address: Address
    debug: Debug
    sessions: tuple[Session, ...]


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """A Calico node's.

    Attributes:
        source_address: None where the node has no address of this family: routes go to the kernel, and to nobody else.
        local_as: of all the sessions.
        blocks, pools, subnet: see `rrwatch.bgp.ipam.Announced`.
        tunnels: this BIRD sets `krt_tunnel`, as Calico's own does.
        custom_filters: None where a setting leaves them out.
    """

    family: Family
    router_id: IPv4Address
    source_address: Address | None
    local_as: AsNumber
    debug: Debug
    sessions: tuple[Session, ...]
    blocks: tuple[Block, ...]
    pools: tuple[Pool, ...]
    subnet: IPv4Network | None
    tunnels: bool
    custom_filters: tuple[CustomFilter, ...] | None


Config = ReflectorConfig | NodeConfig

"""What a BIRD's configuration is made of, in the terms that templates use."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from rrwatch.bgp.sessions import Session
from rrwatch.bgp.topology import Address, AsNumber, Block, CustomFilter, Debug, Family, Pool, Rejected
from rrwatch.bird.version import Grammar


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the BIRDs of this host understand, of that which not every BIRD does.

    Attributes:
        tunnels: routes through a tunnel's device; None where that is not known, or does not matter.
        refused: operators' filters that BIRD does not take.
    """

    grammar: Grammar
    tunnels: bool | None = None
    refused: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class LogTarget:
    """Where BIRD logs (BIRD manual, "log").

    Attributes:
        text: as a configuration has it: `syslog`, `stderr`, or the quoted path of a file.
    """

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ReflectorConfig:
    """A route reflector's.

    Attributes:
        source_addresses: one for each family that this BIRD has sessions of.
        log: where BIRD logs; None: no statement says so, and BIRD's own default counts.
    """

    grammar: Grammar
    router_id: IPv4Address
    source_addresses: tuple[Address, ...]
    debug: Debug
    sessions: tuple[Session, ...]
    log: LogTarget | None = None


@dataclass(frozen=True, slots=True)
class NodeFamily:
    """What a node's configuration has of one address family.

    Attributes:
        family: 4 or 6.
        source_address: None where the node has no address of this family: routes go to the kernel, and to nobody else.
        blocks, pools, subnet: see `rrwatch.bgp.ipam.Announced`.
        custom_filters: None where a setting leaves them out.
    """

    family: Family
    source_address: Address | None
    blocks: tuple[Block, ...]
    pools: tuple[Pool, ...]
    subnet: IPv4Network | None
    custom_filters: tuple[CustomFilter, ...] | None


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """A Calico node's.

    Attributes:
        local_as: of all the sessions.
        families: those of this BIRD.
        tunnels: this BIRD can send a route through a tunnel's device.
        log: where BIRD logs; None: no statement says so, and BIRD's own default counts.
    """

    grammar: Grammar
    router_id: IPv4Address
    local_as: AsNumber
    debug: Debug
    families: tuple[NodeFamily, ...]
    sessions: tuple[Session, ...]
    tunnels: bool
    log: LogTarget | None = None


Config = ReflectorConfig | NodeConfig

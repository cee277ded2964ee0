"""The content of a BIRD configuration, as typed values under the names that templates use."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from rrwatch.bgp.sessions import Session
from rrwatch.bgp.topology import Address, AsNumber, Block, CustomFilter, Debug, Family, Pool, Rejected
from rrwatch.bird.version import Grammar


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the BIRDs of this host support, as far as BIRDs differ.

    Attributes:
        grammar: the syntax that they read.
        tunnels: whether routes can go through a tunnel's device; None if that is unknown or does not matter.
        refused: operators' filters that BIRD rejects.
    """

    grammar: Grammar
    tunnels: bool | None = None
    refused: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class LogTarget:
    """The destination of BIRD's log (BIRD manual, "log").

    Attributes:
        text: as in a configuration: `syslog`, `stderr`, or the quoted path of a file.
    """

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ReflectorConfig:
    """The configuration of a route reflector.

    Attributes:
        source_addresses: one for each family of which this BIRD has sessions.
        port: where it listens; None for BGP's own port, 179.
        log: where BIRD logs; None for BIRD's own default.
    """

    grammar: Grammar
    router_id: IPv4Address
    source_addresses: tuple[Address, ...]
    debug: Debug
    sessions: tuple[Session, ...]
    port: int | None = None
    log: LogTarget | None = None


@dataclass(frozen=True, slots=True)
class NodeFamily:
    """The part of a node's configuration for one address family.

    Attributes:
        family: 4 or 6.
        source_address: None if the node has no address of this family: routes then go only to the kernel.
        blocks, pools, subnet: see `rrwatch.bgp.ipam.Announced`.
        custom_filters: None if a setting excludes them.
    """

    family: Family
    source_address: Address | None
    blocks: tuple[Block, ...]
    pools: tuple[Pool, ...]
    subnet: IPv4Network | None
    custom_filters: tuple[CustomFilter, ...] | None


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The configuration of a Calico node.

    Attributes:
        local_as: the AS number of the node in all its sessions.
        families: one part for each address family of this BIRD.
        tunnels: whether this BIRD can send routes through a tunnel's device.
        log: where BIRD logs; None for BIRD's own default.
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

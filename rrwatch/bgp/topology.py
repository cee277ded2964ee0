"""Values: what Calico's keys say, typed, and the cluster that they make together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, NewType, Protocol

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

AsNumber = NewType("AsNumber", int)
"""An AS number, 1..4294967295 (RFC 6793)."""


class Family(IntEnum):
    """The address family of a session."""

    IPV4 = 4
    IPV6 = 6


class TunnelUse(Enum):
    """Which routes of a pool go through its tunnel."""

    ALWAYS = "always"
    CROSS_SUBNET = "cross-subnet"


class Debug(Enum):
    """What BIRD logs of a protocol; the value is the argument of its `debug` statement."""

    OFF = "off"
    STATES = "{ states }"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about one key that its owner should know.

    Attributes:
        key: full etcd key, as written (it may hold any character).
        reason: one line; values in it are quoted with `repr`.
    """

    key: str
    reason: str


class Rejected(Remark):
    """A record that is left out, and why."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class GlobalAs:
    """`global/as_num`: the AS of the node mesh, and between reflectors."""

    key: str
    as_number: AsNumber


@dataclass(frozen=True, slots=True)
class NodeMesh:
    """`global/node_mesh`: does every node peer with every other?"""

    key: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class LogLevel:
    """`global/loglevel`, or with a host `host/<host>/loglevel`."""

    key: str
    host: str | None
    debug: Debug


@dataclass(frozen=True, slots=True)
class Reflector:
    """`rr_v4/<address>` or `rr_v6/<address>`: one route reflector of the cluster.

    Attributes:
        cluster_id: RFC 4456 section 7, or None where BIRD shall use its router id.
    """

    key: str
    address: Address
    cluster_id: IPv4Address | None


@dataclass(frozen=True, slots=True)
class Peer:
    """`global/peer_v*/<address>`, or with a host `host/<host>/peer_v*/<address>`."""

    key: str
    host: str | None
    address: Address
    as_number: AsNumber


@dataclass(frozen=True, slots=True)
class HostAddress:
    """`host/<host>/ip_addr_v*`; None where the key is there and empty."""

    key: str
    host: str
    family: Family
    address: Address | None


@dataclass(frozen=True, slots=True)
class HostAs:
    """`host/<host>/as_num`; None where the key is there and empty."""

    key: str
    host: str
    as_number: AsNumber | None


@dataclass(frozen=True, slots=True)
class HostNetwork:
    """`host/<host>/network_v4`: the subnet that the host's address is in; None where the key is there and empty."""

    key: str
    host: str
    network: IPv4Network | None


@dataclass(frozen=True, slots=True)
class Pool:
    """`/calico/v1/ipam/v*/pool/<cidr>`: addresses for workloads.

    Attributes:
        tunnel: interface for IP in IP, None where routes go without.
        use: which of them go through it.
    """

    key: str
    network: Network
    tunnel: str | None
    use: TunnelUse


@dataclass(frozen=True, slots=True)
class Block:
    """`/calico/ipam/v2/host/<host>/ipv*/block/<cidr>`: the part of a pool that a host hands out."""

    key: str
    host: str
    network: Network


@dataclass(frozen=True, slots=True)
class CustomFilter:
    """`global/custom_filters/v*/<name>`: statements of BIRD's filter language, as an operator wrote them.

    Attributes:
        text: code, by design: it counts only where a setting allows it, and BIRD takes it.
    """

    key: str
    family: Family
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class HostLeaf:
    """Any other key below `host/<host>`: it shows that the host exists, no more."""

    key: str
    host: str


HostRecord = HostAddress | HostAs | HostNetwork | HostLeaf | Peer | LogLevel
"""What one key below `host/<name>` says."""

Record = (
    GlobalAs
    | NodeMesh
    | LogLevel
    | Reflector
    | Peer
    | HostAddress
    | HostAs
    | HostNetwork
    | HostLeaf
    | Pool
    | Block
    | CustomFilter
)
"""What one key says."""


@dataclass(frozen=True, slots=True)
class Host:
    """All that the keys below `host/<name>` say."""

    name: str
    addresses: Mapping[Family, HostAddress] = field(default_factory=dict)
    as_number: AsNumber | None = None
    debug: Debug | None = None
    network: IPv4Network | None = None
    peers: tuple[Peer, ...] = ()
    known: frozenset[Address] = field(init=False)

    def __post_init__(self) -> None:
        known = frozenset(record.address for record in self.addresses.values() if record.address)
        object.__setattr__(self, "known", known)

    @classmethod
    def of(cls, name: str, records: Iterable["HostRecord"]) -> "Host":
        """Puts the records of one host together, in whatever order they come."""
        addresses: dict[Family, HostAddress] = {}
        peers: list[Peer] = []
        single: dict[str, Any] = {}
        for record in sorted(records, key=_key):
            match record:
                case HostAddress(family=family):
                    addresses[family] = record
                case HostAs(as_number=as_number):
                    single["as_number"] = as_number
                case HostNetwork(network=network):
                    single["network"] = network
                case LogLevel(debug=debug):
                    single["debug"] = debug
                case Peer():
                    peers.append(record)
        return cls(name, addresses, peers=tuple(peers), **single)

    def address(self, family: Family) -> Address | None:
        """The host's address of that family, or None."""
        record = self.addresses.get(family)
        return record.address if record else None


class KeyNames(Protocol):
    """How a data model calls its keys: remarks about what is missing or contradicts itself name the key to look at."""

    def host_address(self, host: str, family: Family) -> str:
        """The key of a host's address."""

    def host_as(self, host: str) -> str:
        """The key of a host's own AS number."""

    def global_as(self) -> str:
        """The key of the AS number of all hosts that have none of their own."""

    def reflector(self, address: Address) -> str:
        """The key of a route reflector."""

    def host_of(self, key: str) -> str | None:
        """The host that a key, or a folder, is about; None where it is about none or all of them."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The cluster as etcd describes it; all sequences and mappings in byte order of the keys.

    Attributes:
        hosts: by name; every host with at least one key below it.
        reflectors, peers: both families together; `peers` are the global ones.
        pools, blocks, custom_filters: both families together; blocks of all hosts that are known.
        rejected: what could not be read, by key.
        names: how the keys are called that all this was read from.
    """

    global_as: AsNumber | None
    node_mesh: bool | None
    debug: Debug | None
    reflectors: tuple[Reflector, ...]
    peers: tuple[Peer, ...]
    hosts: Mapping[str, Host]
    pools: tuple[Pool, ...]
    blocks: tuple[Block, ...]
    custom_filters: tuple[CustomFilter, ...]
    rejected: Mapping[str, Rejected]
    names: KeyNames

    @classmethod
    def of(cls, hosts: Mapping[str, Host], others: Iterable[Record | Rejected], names: KeyNames) -> "Topology":
        """Puts one etcd together.

        Args:
            hosts: in order of their names.
            others: all records that are not of one host, in whatever order.
            names: how the keys are called that they were read from.
        """
        single: dict[str, Any] = {"global_as": None, "node_mesh": None, "debug": None}
        several: dict[type, list[Any]] = {kind: [] for kind in (Reflector, Peer, Pool, Block, CustomFilter, Rejected)}
        for record in sorted(others, key=_key):
            match record:
                case GlobalAs(as_number=as_number):
                    single["global_as"] = as_number
                case NodeMesh(enabled=enabled):
                    single["node_mesh"] = enabled
                case LogLevel(debug=debug):
                    single["debug"] = debug
                case _:
                    several[type(record)].append(record)
        return cls(
            **single,
            hosts=hosts,
            reflectors=tuple(several[Reflector]),
            peers=tuple(several[Peer]),
            pools=tuple(several[Pool]),
            blocks=tuple(several[Block]),
            custom_filters=tuple(several[CustomFilter]),
            rejected={record.key: record for record in several[Rejected]},
            names=names,
        )


def host_named_in(record: Record | Rejected) -> str | None:
    """The host that a record is of, in the sense of `Host`; None for all that is not."""
    match record:
        case HostAddress() | HostAs() | HostNetwork() | HostLeaf() | Peer() | LogLevel():
            return record.host
    return None


def _key(record: Record | Rejected) -> str:
    # Text sorts by code point, which is the byte order of UTF-8.
    return record.key

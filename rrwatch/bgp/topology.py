"""Values: what Calico's keys say, typed, and the cluster that they make together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NewType

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


@dataclass(slots=True)
class Host:
    """All that the keys below `host/<name>` say; built by `Topology.of`, not changed after."""

    name: str
    addresses: dict[Family, HostAddress] = field(default_factory=dict)
    as_number: AsNumber | None = None
    debug: Debug | None = None
    network: IPv4Network | None = None
    peers: list[Peer] = field(default_factory=list)

    def address(self, family: Family) -> Address | None:
        """The host's address of that family, or None."""
        record = self.addresses.get(family)
        return record.address if record else None


@dataclass(frozen=True, slots=True)
class Topology:
    """The cluster as etcd describes it; all sequences and mappings in byte order of the keys.

    Attributes:
        hosts: by name; every host with at least one key below it.
        reflectors, peers: both families together; `peers` are the global ones.
        pools, blocks, custom_filters: both families together; blocks of all hosts that are known.
        rejected: what could not be read, by key.
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

    @classmethod
    def of(cls, records: Iterable[Record | Rejected]) -> "Topology":  # noqa: C901, PLR0912  # one case for each kind of record
        """Puts the records of one etcd together, in whatever order they come."""
        global_as: AsNumber | None = None
        node_mesh: bool | None = None
        debug: Debug | None = None
        reflectors: list[Reflector] = []
        peers: list[Peer] = []
        hosts: dict[str, Host] = {}
        pools: list[Pool] = []
        blocks: list[Block] = []
        custom_filters: list[CustomFilter] = []
        rejected: dict[str, Rejected] = {}

        def host(name: str) -> Host:
            return hosts.get(name) or hosts.setdefault(name, Host(name))

        # Text sorts by code point, which is the byte order of UTF-8.
        for record in sorted(records, key=lambda record: record.key):
            match record:
                case GlobalAs(as_number=as_number):
                    global_as = as_number
                case NodeMesh(enabled=enabled):
                    node_mesh = enabled
                case LogLevel(host=None, debug=level):
                    debug = level
                case LogLevel(host=str(name), debug=level):
                    host(name).debug = level
                case Reflector():
                    reflectors.append(record)
                case Peer(host=None):
                    peers.append(record)
                case Peer(host=str(name)):
                    host(name).peers.append(record)
                case HostAddress(host=name, family=family):
                    host(name).addresses[family] = record
                case HostAs(host=name, as_number=host_as):
                    host(name).as_number = host_as
                case HostNetwork(host=name, network=network):
                    host(name).network = network
                case HostLeaf(host=name):
                    host(name)
                case Pool():
                    pools.append(record)
                case Block():
                    blocks.append(record)
                case CustomFilter():
                    custom_filters.append(record)
                case Rejected():
                    rejected[record.key] = record
        ordered = {name: hosts[name] for name in sorted(hosts)}
        return cls(
            global_as,
            node_mesh,
            debug,
            tuple(reflectors),
            tuple(peers),
            ordered,
            tuple(pools),
            tuple(blocks),
            tuple(custom_filters),
            rejected,
        )

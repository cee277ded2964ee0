"""Records, one for each fact that a key states, and the topology of the cluster that they describe together."""

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
    """Which routes of a pool use its tunnel."""

    ALWAYS = "always"
    CROSS_SUBNET = "cross-subnet"


class Debug(Enum):
    """What BIRD logs about its protocols. The value is the argument of its `debug` statement."""

    OFF = "off"
    STATES = "{ states }"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Remark:
    """A message about one key for whoever wrote it.

    Attributes:
        key: the full key as written; it may contain any character.
        reason: one line; values in it are quoted with `ascii`.
    """

    key: str
    reason: str


class Rejected(Remark):
    """A record that is left out, with the reason."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class GlobalAs:
    """`global/as_num`: AS of the nodes without one of their own, and of the sessions between reflectors."""

    key: str
    as_number: AsNumber


@dataclass(frozen=True, slots=True)
class NodeMesh:
    """`global/node_mesh`: whether every node peers with every other."""

    key: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class LogLevel:
    """`global/loglevel`, or `host/<host>/loglevel` if there is a host."""

    key: str
    host: str | None
    debug: Debug


@dataclass(frozen=True, slots=True)
class Reflector:
    """`rr_v4/<address>` or `rr_v6/<address>`: one route reflector of the cluster.

    Attributes:
        cluster_id: see RFC 4456, section 7; None means that BIRD uses its router id.
    """

    key: str
    address: Address
    cluster_id: IPv4Address | None


@dataclass(frozen=True, slots=True)
class Peer:
    """`global/peer_v*/<address>`, or `host/<host>/peer_v*/<address>` if there is a host."""

    key: str
    host: str | None
    address: Address
    as_number: AsNumber


@dataclass(frozen=True, slots=True)
class HostAddress:
    """`host/<host>/ip_addr_v*`; the address is None if the value is empty."""

    key: str
    host: str
    family: Family
    address: Address | None


@dataclass(frozen=True, slots=True)
class HostAs:
    """`host/<host>/as_num`; the AS number is None if the value is empty."""

    key: str
    host: str
    as_number: AsNumber | None


@dataclass(frozen=True, slots=True)
class HostNetwork:
    """`host/<host>/network_v4`: the subnet of the host's address; None if the value is empty."""

    key: str
    host: str
    network: IPv4Network | None


@dataclass(frozen=True, slots=True)
class Pool:
    """`/calico/v1/ipam/v*/pool/<cidr>`: addresses for workloads.

    Attributes:
        tunnel: the interface for IP in IP, or None if routes of the pool use no tunnel.
        use: which routes use the tunnel.
    """

    key: str
    network: Network
    tunnel: str | None
    use: TunnelUse


@dataclass(frozen=True, slots=True)
class Block:
    """`/calico/ipam/v2/host/<host>/ipv*/block/<cidr>`: the part of a pool that a host assigns addresses from."""

    key: str
    host: str
    network: Network


@dataclass(frozen=True, slots=True)
class CustomFilter:
    """`global/custom_filters/v*/<name>`: statements of BIRD's filter language, written by an operator.

    Attributes:
        text: code that goes into the configuration as it is, if a setting allows it and BIRD accepts it.
    """

    key: str
    family: Family
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class HostLabels:
    """The labels of a Node resource, which selectors look at."""

    key: str
    host: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HostClusterId:
    """The `routeReflectorClusterID` of a Node resource, which makes the node a route reflector."""

    key: str
    host: str
    cluster_id: IPv4Address


@dataclass(frozen=True, slots=True)
class ListenPort:
    """The TCP port on which the BIRDs of all nodes listen, or that of one node if there is a host."""

    key: str
    host: str | None
    port: int


class Selector(Protocol):
    """Chooses nodes by their labels."""

    def matches(self, labels: Mapping[str, str], /) -> bool:
        """Whether a node with those labels is chosen."""


@dataclass(frozen=True, slots=True)
class Password:
    """The password of a session (TCP MD5, RFC 2385). Its text never shows in a representation.

    Attributes:
        secret, key: where it is kept: the name of a Kubernetes Secret, and a key in it.
        text: the password itself; empty while it is not known.
    """

    secret: str
    key: str
    text: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.secret}/{self.key}"


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """A BGPPeer resource (Calico's documentation, "BGP peer").

    Attributes:
        name: the name of the resource.
        node: the only node that peers, by name; it need not exist.
        nodes: the nodes that peer; without it, and without `node`, all nodes do.
        peers: the nodes that they peer with; without it they peer with `address`.
        address: the address to peer with.
        port: the port at that address; None if the resource names none.
        as_number: the AS at that address.
        local_as: the AS in which the nodes speak to it; None for their own.
        reverse: whether the nodes at the far end peer back.
        from_own_address: whether the nodes connect from their own address, not from any.
        password: what both ends need to know, None for a session without a password.
        ttl_security: the number of hops of GTSM (RFC 5082); None without it.
        graceful_restart_time, keepalive_time: seconds; None for BIRD's own defaults.
        filters: names of BGPFilter resources that the nodes apply.
    """

    key: str
    name: str
    node: str | None = None
    nodes: Selector | None = None
    peers: Selector | None = None
    address: Address | None = None
    port: int | None = None
    as_number: AsNumber | None = None
    local_as: AsNumber | None = None
    reverse: bool = True
    from_own_address: bool = True
    password: Password | None = None
    ttl_security: int | None = None
    graceful_restart_time: int | None = None
    keepalive_time: int | None = None
    filters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MeshOptions:
    """What the sessions of the node mesh have in common, by BGPConfiguration `default`.

    Attributes:
        password: see `BgpPeer`.
        graceful_restart_time: seconds; None for BIRD's own default.
    """

    key: str
    password: Password | None = None
    graceful_restart_time: int | None = None


@dataclass(frozen=True, slots=True)
class BgpFilter:
    """A BGPFilter resource, of which only the name matters."""

    key: str
    name: str


@dataclass(frozen=True, slots=True)
class HostLeaf:
    """Any other key below `host/<host>`, which only shows that the host exists."""

    key: str
    host: str


HostRecord = HostAddress | HostAs | HostNetwork | HostLabels | HostClusterId | HostLeaf | Peer | LogLevel | ListenPort
"""A fact about one host, except for records of these types that have no host."""

Record = (
    GlobalAs
    | NodeMesh
    | LogLevel
    | Reflector
    | Peer
    | HostAddress
    | HostAs
    | HostNetwork
    | HostLabels
    | HostClusterId
    | HostLeaf
    | ListenPort
    | BgpPeer
    | MeshOptions
    | BgpFilter
    | Pool
    | Block
    | CustomFilter
)
"""A fact that a key states."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host, with everything that records state about it."""

    name: str
    addresses: Mapping[Family, HostAddress] = field(default_factory=dict)
    as_number: AsNumber | None = None
    debug: Debug | None = None
    network: IPv4Network | None = None
    peers: tuple[Peer, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    cluster_id: IPv4Address | None = None
    port: int | None = None
    known: frozenset[Address] = field(init=False)

    def __post_init__(self) -> None:
        known = frozenset(record.address for record in self.addresses.values() if record.address)
        object.__setattr__(self, "known", known)

    @classmethod
    def of(cls, name: str, records: Iterable["HostRecord"]) -> "Host":
        """Builds a host from its records, given in any order."""
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
                case HostLabels(labels=labels):
                    single["labels"] = labels
                case HostClusterId(cluster_id=cluster_id):
                    single["cluster_id"] = cluster_id
                case ListenPort(port=port):
                    single["port"] = port
                case Peer():
                    peers.append(record)
        return cls(name, addresses, peers=tuple(peers), **single)

    def address(self, family: Family) -> Address | None:
        """Returns the host's address of that family, or None."""
        record = self.addresses.get(family)
        return record.address if record else None


class KeyNames(Protocol):
    """Names of keys in a data model, so that remarks about missing or contradictory records can name the key."""

    def host_address(self, host: str, family: Family) -> str:
        """Returns the key of a host's address."""

    def host_as(self, host: str) -> str:
        """Returns the key of a host's own AS number."""

    def global_as(self) -> str:
        """Returns the key of the AS number of all hosts that have none of their own."""

    def reflector(self, address: Address) -> str:
        """Returns the key of a route reflector."""

    def host_of(self, key: str) -> str | None:
        """Returns the host that a key or a folder belongs to; None if it belongs to no single host."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The cluster as etcd describes it. All sequences and mappings are sorted by key, in byte order.

    Attributes:
        hosts: every host with at least one key, by name.
        reflectors, peers: those of both families; `peers` are the global ones of the data model v1.
        bgp_peers: the BGPPeer resources.
        mesh_options: what the sessions of the node mesh have in common.
        listen_port: the port of hosts that have none of their own; None for BGP's own, 179.
        filters: the BGPFilter resources.
        pools, blocks, custom_filters: those of both families; blocks are those of all known hosts.
        rejected: records that could not be read, by key.
        names: the names of keys in the data model that all this was read from.
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
    bgp_peers: tuple[BgpPeer, ...]
    mesh_options: MeshOptions | None
    listen_port: int | None
    filters: tuple[BgpFilter, ...]
    rejected: Mapping[str, Rejected]
    names: KeyNames

    @classmethod
    def of(cls, hosts: Mapping[str, Host], others: Iterable[Record | Rejected], names: KeyNames) -> "Topology":
        """Builds a topology.

        Args:
            hosts: the hosts by name, sorted by name.
            others: all records that do not belong to a single host, in any order.
            names: the names of keys in the data model that the records were read from.
        """
        single: dict[str, Any] = dict.fromkeys(("global_as", "node_mesh", "debug", "listen_port", "mesh_options"))
        kinds = (Reflector, Peer, Pool, Block, CustomFilter, BgpPeer, BgpFilter, Rejected)
        several: dict[type, list[Any]] = {kind: [] for kind in kinds}
        for record in sorted(others, key=_key):
            match record:
                case GlobalAs(as_number=as_number):
                    single["global_as"] = as_number
                case NodeMesh(enabled=enabled):
                    single["node_mesh"] = enabled
                case LogLevel(debug=debug):
                    single["debug"] = debug
                case ListenPort(port=port):
                    single["listen_port"] = port
                case MeshOptions():
                    single["mesh_options"] = record
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
            bgp_peers=tuple(several[BgpPeer]),
            filters=tuple(several[BgpFilter]),
            rejected={record.key: record for record in several[Rejected]},
            names=names,
        )


def host_of_record(record: Record | Rejected) -> str | None:
    """Returns the host whose `Host` a record is part of; None if it is part of none."""
    match record:
        case HostAddress() | HostAs() | HostNetwork() | HostLabels() | HostClusterId() | HostLeaf():
            return record.host
        case Peer() | LogLevel() | ListenPort():
            return record.host
    return None


def _key(record: Record | Rejected) -> str:
    # Text sorts by code point, which is the byte order of UTF-8.
    return record.key

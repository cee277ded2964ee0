"""Calico's data model v1: parses a key and its value into a record.

A change in this file changes which sessions a cluster gets. The grammar covers what Calico 0.5 to 2.6 wrote, in Python
and in Go, and what operators write with curl. It is lenient about the forms that those tools produced (numbers as
strings, dotted AS numbers) and strict about everything else.
"""

import json
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from rrwatch.bgp import rules_v1
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import (
    Address,
    AsNumber,
    Block,
    CustomFilter,
    Debug,
    Family,
    GlobalAs,
    HostAddress,
    HostAs,
    HostLeaf,
    HostNetwork,
    LogLevel,
    Network,
    NodeMesh,
    Peer,
    Pool,
    Record,
    Reflector,
    Rejected,
    Topology,
    TunnelUse,
)
from rrwatch.calico.model import ClusterState
from rrwatch.calico.values import (
    MAX_VALUE,
    address,
    as_number,
    cluster_id,
    json_object,
    member,
    plain_name,
    shown,
    text_of,
)

PREFIX = "/calico/bgp/v1"
POOLS = "/calico/v1/ipam"
BLOCKS = "/calico/ipam/v2/host"

_PEERS = {"peer_v4": Family.IPV4, "peer_v6": Family.IPV6}
_ADDRESSES = {"ip_addr_v4": Family.IPV4, "ip_addr_v6": Family.IPV6}
_FAMILIES = {"v4": Family.IPV4, "v6": Family.IPV6, "ipv4": Family.IPV4, "ipv6": Family.IPV6}
_REFLECTORS = {"rr_v4": Family.IPV4, "rr_v6": Family.IPV6}


def parse(key: str, value: str) -> Record | Rejected | None:
    """Parses one key; returns None if it is not about BGP sessions. Never raises."""
    for tree, read in ((PREFIX, _bgp), (POOLS, _pools), (BLOCKS, _blocks)):
        if key.startswith(tree + "/"):
            try:
                return read(key, key[len(tree) + 1 :].split("/"), value)
            except ValueError as error:
                return Rejected(key, str(error))
    return None


def _bgp(key: str, path: list[str], value: str) -> Record | None:
    match path:
        case ["global", "as_num"]:
            return GlobalAs(key, as_number(value))
        case ["global", "node_mesh"]:
            return NodeMesh(key, _enabled(json_object(value)))
        case ["global", "loglevel"]:
            return LogLevel(key, None, _debug(value))
        case ["global", ("peer_v4" | "peer_v6") as kind, name]:
            return _peer(key, None, name, _PEERS[kind], value)
        case ["global", "custom_filters", ("v4" | "v6") as kind, name]:
            return CustomFilter(key, _FAMILIES[kind], plain_name(name), _code(value))
        case [("rr_v4" | "rr_v6") as kind, name]:
            return _reflector(key, name, _REFLECTORS[kind], value)
        case ["host", host, *leaf] if leaf:
            return _host(key, plain_name(host), leaf, value)
        case _:
            return None


def _host(key: str, host: str, leaf: list[str], value: str) -> Record:
    match leaf:
        case [("ip_addr_v4" | "ip_addr_v6") as kind]:
            family = _ADDRESSES[kind]
            return HostAddress(key, host, family, address(value, family) if value else None)
        case ["as_num"]:
            return HostAs(key, host, as_number(value) if value else None)
        case ["loglevel"]:
            return LogLevel(key, host, _debug(value))
        case ["network_v4"]:
            subnet = _network(value, Family.IPV4) if value else None
            return HostNetwork(key, host, subnet if isinstance(subnet, IPv4Network) else None)
        case [("peer_v4" | "peer_v6") as kind, name]:
            return _peer(key, host, name, _PEERS[kind], value)
        case _:
            return HostLeaf(key, host)


def _peer(key: str, host: str | None, name: str, family: Family, value: str) -> Peer:
    # Like Calico's own readers, use the address in the value, not the one in the key.
    plain_name(name)
    entry = json_object(value)
    return Peer(key, host, address(text_of(entry, "ip"), family), as_number(member(entry, "as_num")))


def _pools(key: str, path: list[str], value: str) -> Record | None:
    match path:
        case [("v4" | "v6") as kind, "pool", _]:
            # Use the network in the value: there is more than one spelling of the key.
            entry = json_object(value)
            network = _network(text_of(entry, "cidr"), _FAMILIES[kind])
            return Pool(key, network, _interface(entry.get("ipip")), _tunnel_use(entry.get("ipip_mode")))
        case _:
            return None


def _blocks(key: str, path: list[str], _: str) -> Record | None:
    match path:
        case [host, ("ipv4" | "ipv6") as kind, "block", name]:
            return Block(key, plain_name(host), _network(name.replace("-", "/"), _FAMILIES[kind]))
        case _:
            return None


def _reflector(key: str, name: str, family: Family, value: str) -> Reflector:
    entry = json_object(value)
    own = address(text_of(entry, "ip"), family)
    if own != address(plain_name(name), family):
        raise ValueError(f"the value names {own} and the key {name!r}: they must agree")
    return Reflector(key, own, cluster_id(entry.get("cluster_id")))


def _network(text: str, family: Family) -> Network:
    try:
        if "/" not in text:
            raise ValueError  # ipaddress would accept a single address
        return IPv4Network(text) if family is Family.IPV4 else IPv6Network(text)
    except ValueError as error:
        why = ": bits are set after the prefix length" if "has host bits set" in str(error) else ""
        raise ValueError(f"{shown(text)} is not an IPv{family:d} network{why}") from None


def _interface(value: object) -> str | None:
    if value is None or value == "":
        return None
    # IFNAMSIZ of Linux is 16 with the NUL.
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", value):
        raise ValueError(f"ipip is {shown(value)}, not the name of an interface")
    return value


def _tunnel_use(value: object) -> TunnelUse:
    if value is None or value == "":
        return TunnelUse.ALWAYS
    if value not in ("always", "cross-subnet"):
        raise ValueError(f"ipip_mode is {shown(value)}: want always or cross-subnet")
    return TunnelUse(value)


def _code(value: str) -> str:
    if len(value) > MAX_VALUE or "\0" in value:
        raise ValueError("the filter has more than 65536 characters, or a NUL")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("the filter has half of a surrogate pair, which is no character")
    return value


def _enabled(entry: dict[str, object]) -> bool:
    value = entry.get("enabled")
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"enabled is {shown(value)}, not true or false")
    return bool(value)


def _debug(value: str) -> Debug:
    # Calico itself tells only `none` and `debug` from all other words. What is not a word is not a level.
    if not re.fullmatch(r"[A-Za-z]{0,32}", value):
        raise ValueError(f"{shown(value)} is not a log level: none, info or debug")
    return {"none": Debug.OFF, "debug": Debug.ALL}.get(value, Debug.STATES)


class _Names:
    """The names of keys in Calico v1."""

    def host_address(self, host: str, family: Family) -> str:
        """Returns the key of a host's address."""
        return f"{PREFIX}/host/{host}/ip_addr_v{family:d}"

    def host_as(self, host: str) -> str:
        """Returns the key of a host's own AS number."""
        return f"{PREFIX}/host/{host}/as_num"

    def global_as(self) -> str:
        """Returns the key of the AS number of all hosts that have none of their own."""
        return f"{PREFIX}/global/as_num"

    def reflector(self, address: Address) -> str:
        """Returns the key of a route reflector."""
        return f"{PREFIX}/rr_v{address.version}/{address}"

    def host_of(self, key: str) -> str | None:
        """Returns the host that a key or a folder belongs to; None if it belongs to no single host."""
        folder = f"{PREFIX}/host/"
        return key[len(folder) :].split("/", 1)[0] or None if key.startswith(folder) else None


class CalicoV1:
    """Calico's data model v1, as a `DataModel`."""

    names = _Names()
    root = PREFIX
    configures_nodes = True

    def parse(self, key: str, value: str) -> tuple[Record | Rejected, ...]:
        """Parses one key."""
        record = parse(key, value)
        return () if record is None else (record,)

    def reflector_sessions(self, topology: Topology, speaker: Speaker) -> Derived:
        """Derives the sessions of a route reflector."""
        return rules_v1.reflector_sessions(topology, speaker)

    def node_sessions(self, topology: Topology, name: str, families: Iterable[Family]) -> Derived:
        """Derives the sessions of a node."""
        return rules_v1.node_sessions(topology, name, families)

    def registered_nodes(self, topology: Topology, speaker: Speaker) -> tuple[str, ...]:  # noqa: ARG002  # the port's signature
        """Returns nothing: a reflector is no node in v1."""
        return ()

    def listen_port(self, topology: Topology, speaker: Speaker) -> int:  # noqa: ARG002  # the port's signature
        """Returns the reflector's own setting."""
        return speaker.port

    def ends_by_effect(self, key: str, before: str, after: str) -> bool:  # noqa: ARG002  # the port's signature
        """Returns False: each record of v1 is about the sessions that it names."""
        return False

    def cluster_state(self, items: Mapping[str, str]) -> ClusterState:  # noqa: ARG002  # the port's signature
        """Returns nothing: v1 has no key about the cluster as a whole."""
        return ClusterState()

    def reflector_folders(self) -> tuple[str, ...]:
        """Returns the folders that a route reflector needs."""
        return (PREFIX,)

    def node_folders(self, name: str, *, mesh: bool) -> tuple[str, ...]:
        """Returns the folders that a node needs: those of other nodes only if the mesh is on."""
        hosts = f"{PREFIX}/host" if mesh else f"{PREFIX}/host/{name}"
        return (f"{PREFIX}/global", hosts, POOLS, f"{BLOCKS}/{name}")

    def all_node_folders(self, name: str) -> tuple[str, ...]:
        """Returns the folders that a node can ever need."""
        return (PREFIX, POOLS, f"{BLOCKS}/{name}")

    def peer_of_all(self, address: Address) -> str:
        """Returns the key that makes every node peer with an address."""
        return f"{peers_folder(None, address)}/{address}"


V1 = CalicoV1()


def peers_folder(node: str | None, address: Address) -> str:
    """Returns the folder with the peers of a node, or of all nodes, in the family of that address."""
    return f"{PREFIX}/{f'host/{node}' if node else 'global'}/peer_v{address.version}"


def peer_record(node: str | None, address: Address, number: AsNumber) -> tuple[str, str]:
    """Returns key and value of a peer of a node, or of all nodes."""
    value = {"ip": str(address), "as_num": str(number)}
    return f"{peers_folder(node, address)}/{address}", json.dumps(value)


def reflector_record(address: Address, cluster: IPv4Address | None) -> tuple[str, str]:
    """Returns key and value of a route reflector."""
    value = {"ip": str(address), "cluster_id": str(cluster or "")}
    return V1.names.reflector(address), json.dumps(value, separators=(",", ":"))


def mesh_record(enabled: bool) -> tuple[str, str]:
    """Returns key and value that switch the node mesh on or off."""
    return f"{PREFIX}/global/node_mesh", json.dumps({"enabled": enabled})

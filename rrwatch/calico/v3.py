"""Calico's v3 resources: parses a key of etcd v3 and its value into records.

A change in this file changes which sessions a cluster gets. Facts are those of Calico 3.32 (projectcalico/calico, api/
and libcalico-go/lib/backend/model). Members that are not needed are ignored, since every release of Calico adds some;
a member that is needed must have the type that Calico gives it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

from rrwatch.bgp import rules_v3
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import (
    Address,
    BgpFilter,
    BgpPeer,
    Debug,
    Family,
    GlobalAs,
    HostAddress,
    HostAs,
    HostClusterId,
    HostLabels,
    ListenPort,
    LogLevel,
    MeshOptions,
    NodeMesh,
    Password,
    Record,
    Rejected,
    Topology,
)
from rrwatch.calico import selector, v1
from rrwatch.calico.model import ClusterState
from rrwatch.calico.v1 import V1
from rrwatch.calico.values import address, as_number, cluster_id, json_object, plain_name, shown

RESOURCES = "/calico/resources/v3/projectcalico.org"
REFLECTORS = v1.PREFIX
"""The folder of `rr_v4` and `rr_v6`, the records of reflectors, which are rrwatch's own: Calico has none in v3."""

_CLUSTER = f"{RESOURCES}/clusterinformations/default"

# The most that the API server of Kubernetes takes, with annotations of 256 KiB; etcd itself takes 1.5 MiB.
_MAX_VALUE = 512 * 1024  # characters

_MAX_RESTART_TIME = 4095  # seconds; 12 bits (RFC 4724, section 3)
_MAX_KEEPALIVE_TIME = 65535  # seconds; the most that BIRD reads

_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "\u00b5s": 10**3, "\u03bcs": 10**3, "ms": 10**6,
                "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}  # fmt: skip

# As Kubernetes limits the keys of Secrets; their names have even less. Both become the name of a file.
_SECRET = re.compile(r"(?!\.\.)[-._a-zA-Z0-9]{1,253}")

_T = TypeVar("_T")


class _Fields:
    """The members of a JSON object, with the reasons why some of them cannot be read."""

    def __init__(self, entry: Mapping[str, object], path: str, faults: list[str]) -> None:
        self._entry, self._path, self.faults = entry, path, faults

    def within(self, name: str) -> "_Fields":
        """Returns an object in it, which is empty if it is missing."""
        value = self._entry.get(name)
        path = f"{self._path}{name}."
        if value is None or isinstance(value, dict):
            return _Fields(value or {}, path, self.faults)
        self.faults.append(f"{path[:-1]} is {shown(value)}, not an object")
        return _Fields({}, path, self.faults)

    def read(self, name: str, parse: Callable[[object], _T], empty: object = None) -> _T | None:
        """Returns a parsed member; None if it is missing or cannot be read.

        Args:
            empty: another value that means the same as a missing member.
        """
        value = self._entry.get(name)
        if value is None or (type(value) is type(empty) and value == empty):
            return None
        try:
            return parse(value)
        except ValueError as error:
            self.faults.append(f"{self._path}{name}: {error}")
            return None

    def text(self, name: str, parse: Callable[[str], _T]) -> _T | None:
        """Returns a parsed string; None if it is missing or empty, or cannot be read."""
        return self.read(name, lambda value: parse(_text(value)), empty="")

    def number(self, name: str, parse: Callable[[object], _T]) -> _T | None:
        """Returns a parsed number; None if it is missing or 0, or cannot be read."""
        return self.read(name, parse, empty=0)


def parse(key: str, value: str) -> tuple[Record | Rejected, ...]:
    """Parses one key; there is no record if it is not about BGP sessions. Never raises."""
    if key.startswith(f"{REFLECTORS}/rr_v"):
        return V1.parse(key, value)
    folder = f"{RESOURCES}/"
    if not key.startswith(folder):
        return ()
    kind, _, name = key[len(folder) :].partition("/")
    if kind not in _KINDS:
        return ()
    faults: list[str] = []
    try:
        expected, read = _KINDS[kind]
        plain_name(name)
        entry = json_object(value, _MAX_VALUE)
        if entry.get("kind", expected) != expected:
            raise ValueError(f"the value is of kind {shown(entry['kind'])}, not {expected}")
        records = tuple(read(key, name, _Fields(entry, "", faults)))
    except ValueError as error:
        return (Rejected(key, str(error)),)
    return (*records, Rejected(key, "; ".join(faults))) if faults else records


def _node(key: str, name: str, node: _Fields) -> Iterator[Record]:
    yield HostLabels(key, name, node.within("metadata").read("labels", _labels) or {})
    bgp = node.within("spec").within("bgp")
    if number := bgp.number("asNumber", as_number):
        yield HostAs(key, name, number)
    if cluster := bgp.text("routeReflectorClusterID", cluster_id):
        yield HostClusterId(key, name, cluster)
    if node.faults:
        return  # its sessions would have other terms than it asks for: without an address it has none
    # A node without addresses is no error: it may have no BGP, or not have been started yet.
    for family in Family:
        if own := bgp.text(f"ipv{family:d}Address", lambda text: _host_part(text, family)):  # noqa: B023  # called at once
            yield HostAddress(key, name, family, own)


def _configuration(key: str, name: str, configuration: _Fields) -> Iterator[Record]:
    if name != "default" and not name.startswith("node."):
        raise ValueError("has no effect: only `default` and `node.NODENAME` have")
    host = plain_name(name.removeprefix("node.")) if name != "default" else None
    spec = configuration.within("spec")
    if port := spec.number("listenPort", _port):
        yield ListenPort(key, host, port)
    if debug := spec.text("logSeverityScreen", _debug):
        yield LogLevel(key, host, debug)
    if host:
        return
    if number := spec.number("asNumber", as_number):
        yield GlobalAs(key, number)
    enabled = spec.read("nodeToNodeMeshEnabled", _boolean)
    if enabled is not None:
        yield NodeMesh(key, enabled)
    password = _password(spec.within("nodeMeshPassword"))
    restart_time = spec.text("nodeMeshMaxRestartTime", _restart_time)
    if password or restart_time is not None:
        yield MeshOptions(key, password, restart_time)


def _peer(key: str, name: str, peer: _Fields) -> Iterator[Record]:
    spec = peer.within("spec")
    if spec.text("localWorkloadSelector", str):
        return  # such sessions follow from files of Felix on each node, not from the datastore
    peers = spec.text("peerSelector", selector.parse)
    target = None if peers else spec.text("peerIP", _target)  # Calico ignores it beside a peerSelector
    number = spec.number("asNumber", as_number)
    reverse = spec.text("reversePeering", lambda text: _one_of(text, "Auto", "Manual"))
    source = spec.text("sourceAddress", lambda text: _one_of(text, "UseNodeIP", "None"))
    found = BgpPeer(
        key=key,
        name=name,
        node=spec.text("node", plain_name),
        nodes=spec.text("nodeSelector", selector.parse),
        peers=peers,
        address=target[0] if target else None,
        port=target[1] if target else None,
        as_number=number,
        local_as=spec.number("localASNumber", as_number),
        reverse=reverse != "Manual",
        from_own_address=source != "None",
        password=_password(spec.within("password")),
        ttl_security=spec.number("ttlSecurity", lambda value: _whole(value, 255)),
        graceful_restart_time=spec.text("maxRestartTime", _restart_time),
        keepalive_time=spec.text("keepaliveTime", _keepalive_time),
        filters=spec.read("filters", _texts) or (),
    )
    if not peer.faults and peers is None and target is None:
        raise ValueError("names nobody to peer with: neither peerIP nor peerSelector is set")
    if not peer.faults and peers is None and number is None:
        raise ValueError("asNumber is missing: BIRD needs the AS of peerIP")
    if not peer.faults:
        yield found  # with a term that cannot be read it would be another peering


def _filter(key: str, name: str, _: _Fields) -> Iterator[Record]:
    yield BgpFilter(key, name)


def _cluster(_: str, name: str, information: _Fields) -> Iterator[Record]:
    if name == "default":
        spec = information.within("spec")
        spec.text("clusterGUID", str)
        spec.read("datastoreReady", _boolean)
    yield from ()


_KINDS: Mapping[str, tuple[str, Callable[[str, str, _Fields], Iterator[Record]]]] = {
    "nodes": ("Node", _node),
    "bgppeers": ("BGPPeer", _peer),
    "bgpconfigurations": ("BGPConfiguration", _configuration),
    "bgpfilters": ("BGPFilter", _filter),
    "clusterinformations": ("ClusterInformation", _cluster),
}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a string")  # noqa: TRY004  # the value is wrong, not an argument
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} is not a list")  # noqa: TRY004  # as above
    return tuple(_text(one) for one in value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is not true or false")  # noqa: TRY004  # as above
    return value


def _whole(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise ValueError(f"{shown(value)} is not a whole number, 1 to {most}")
    return value


def _port(value: object) -> int:
    return _whole(value, 65535)


def _one_of(text: str, *known: str) -> str:
    if text not in known:
        raise ValueError(f"{shown(text)} is not {' or '.join(known)}")
    return text


def _labels(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or any(not isinstance(label, str) for label in value.values()):
        raise ValueError(f"{shown(value)} is not an object of strings")
    return value


def _host_part(text: str, family: Family) -> Address:
    """Parses the address of a node, which may have a prefix length."""
    host, slash, length = text.partition("/")
    own = address(host, family, multicast=True)
    if slash and not (re.fullmatch(r"[0-9]{1,3}", length) and int(length) <= own.max_prefixlen):
        raise ValueError(f"{shown(text)} has no prefix length of an IPv{family:d} address")
    return own


def _target(text: str) -> tuple[Address, int | None]:
    """Parses `ADDRESS`, `IPv4:PORT` or `[IPv6]:PORT`; port 0 is as good as none."""
    port = None
    found = re.fullmatch(r"([0-9.]+):([0-9]{1,5})", text) or re.fullmatch(r"\[([^\]]*)\]:([0-9]{1,5})", text)
    if found:
        text, number = found[1], int(found[2])
        port = _port(number) if number else None
    return address(text, Family.IPV6 if ":" in text else Family.IPV4, multicast=True), port


def _password(reference: _Fields) -> Password | None:
    of_secret = reference.within("secretKeyRef")
    name, key = of_secret.text("name", _secret), of_secret.text("key", _secret)
    if bool(name) != bool(key):
        of_secret.faults.append("a secretKeyRef needs a name and a key")
    return Password(name, key) if name and key else None


def _secret(text: str) -> str:
    if not _SECRET.fullmatch(text):
        raise ValueError(f"{shown(text)} is not the name of a Secret or of a key in one")
    return text


def _restart_time(text: str) -> int:
    return min(_seconds(text), _MAX_RESTART_TIME)


def _keepalive_time(text: str) -> int:
    return min(_seconds(text), _MAX_KEEPALIVE_TIME)


def _seconds(text: str) -> int:
    """Parses a duration as Go writes it, `1h2m3.5s`, and rounds it to whole seconds, as Calico does."""
    parts = _PART.findall(text)
    if text != "0" and (not parts or "".join(map("".join, parts)) != text):
        raise ValueError(f"{shown(text)} is not a duration like 2m0s")
    nanoseconds = sum(Fraction(f"0{number}") * _NANOSECONDS[unit] for number, unit in parts)
    return int(nanoseconds / 10**9 + Fraction(1, 2))


def _debug(text: str) -> Debug:
    # Calico's templates know two of these words; any other one means that BIRD logs nothing of its protocols.
    return {"debug": Debug.ALL, "info": Debug.STATES}.get(text.lower(), Debug.OFF)


@lru_cache(maxsize=4)
def _cluster_state(value: str) -> ClusterState:
    try:
        spec = _Fields(json_object(value, _MAX_VALUE), "", []).within("spec")
    except ValueError:
        return ClusterState()
    identity = spec.text("clusterGUID", shown) or ""
    locked = "" if spec.read("datastoreReady", _boolean) is not False else (
        "Calico's datastore is locked (datastoreReady is false in ClusterInformation), as it is during a migration"
    )  # fmt: skip
    return ClusterState(identity, locked)


class _Names:
    """The names of keys of v3 resources."""

    def host_address(self, host: str, family: Family) -> str:  # noqa: ARG002  # one resource has both
        """Returns the key of a node."""
        return f"{RESOURCES}/nodes/{host}"

    def host_as(self, host: str) -> str:
        """Returns the key of a node."""
        return f"{RESOURCES}/nodes/{host}"

    def global_as(self) -> str:
        """Returns the key of what all nodes have in common."""
        return f"{RESOURCES}/bgpconfigurations/default"

    def reflector(self, address: Address) -> str:
        """Returns the key of a route reflector."""
        return V1.names.reflector(address)

    def host_of(self, key: str) -> str | None:
        """Returns the node that a key belongs to; None if it belongs to no single node."""
        for folder in f"{RESOURCES}/nodes/", f"{RESOURCES}/bgpconfigurations/node.":
            if key.startswith(folder):
                return key[len(folder) :] or None
        return None


class CalicoV3:
    """Calico's v3 resources, as a `DataModel`."""

    names = _Names()
    root = RESOURCES
    configures_nodes = False

    def parse(self, key: str, value: str) -> tuple[Record | Rejected, ...]:
        """Parses one key."""
        return parse(key, value)

    def reflector_sessions(self, topology: Topology, speaker: Speaker) -> Derived:
        """Derives the sessions of a route reflector."""
        return rules_v3.reflector_sessions(topology, speaker)

    def node_sessions(self, topology: Topology, name: str, families: Iterable[Family]) -> Derived:
        """Derives the sessions of a node."""
        return rules_v3.node_sessions(topology, name, families)

    def registered_nodes(self, topology: Topology, speaker: Speaker) -> tuple[str, ...]:
        """Returns the names of the nodes that have an address of the reflector."""
        return rules_v3.registered_nodes(topology, speaker)

    def listen_port(self, topology: Topology, speaker: Speaker) -> int:
        """Returns the port of the node that has an address of the reflector, else its own."""
        return rules_v3.listen_port(topology, speaker)

    def ends_by_effect(self, key: str, before: str, after: str) -> bool:
        """Whether the labels of a node, or the nodes that a BGPPeer is about, differ."""
        return _conditions(parse(key, before)) != _conditions(parse(key, after))

    def cluster_state(self, items: Mapping[str, str]) -> ClusterState:
        """Returns what the resource ClusterInformation says."""
        return _cluster_state(items[_CLUSTER]) if _CLUSTER in items else ClusterState()

    def reflector_folders(self) -> tuple[str, ...]:
        """Returns the folders that a route reflector needs."""
        return (*_folders("nodes", "bgppeers", "bgpconfigurations", "clusterinformations"), REFLECTORS)

    def node_folders(self, name: str, *, mesh: bool) -> tuple[str, ...]:  # noqa: ARG002  # selectors look at all nodes
        """Returns the folders that a node needs."""
        return self.all_node_folders(name)

    def all_node_folders(self, name: str) -> tuple[str, ...]:  # noqa: ARG002  # the port's signature
        """Returns the folders that a node can ever need."""
        return _folders(*_KINDS)

    def peer_of_all(self, address: Address) -> str:
        """Returns the key of a BGPPeer."""
        return f"{RESOURCES}/bgppeers/NAME, with peerIP {address},"


V3 = CalicoV3()


def _folders(*kinds: str) -> tuple[str, ...]:
    return tuple(f"{RESOURCES}/{kind}" for kind in kinds)


def _conditions(records: Iterable[Record | Rejected]) -> list[object]:
    labels = [record.labels for record in records if isinstance(record, HostLabels)]
    selectors = [(record.node, record.nodes, record.peers) for record in records if isinstance(record, BgpPeer)]
    return [*labels, *selectors]

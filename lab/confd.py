"""An oracle for tests: the BGP sessions that calico-node's confd makes of Calico's v3 resources.

It is a second, slow reading of Calico's rules, which shares nothing with rrwatch's except label selectors: one function
for each rule, plain dicts, and everything computed anew at each call. Where Calico's own result depends on chance or
cannot work (two peerings with one neighbor, a peer without an AS number), it has what rrwatch does instead.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from ipaddress import ip_address
from typing import Any

from lab.resources import RESOURCES
from rrwatch.calico.selector import parse

RECORDS = "/calico/bgp/v1"

Keys = Mapping[str, str]
Secrets = Mapping[str, Mapping[str, str]]
Fields = dict[str, Any]

_GLOBAL = ""
_NANOSECONDS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}


def node_sessions(keys: Keys, name: str, secrets: Secrets | None = None) -> list[Fields]:
    """Returns the sessions of a Calico node, one for each neighbor, sorted by family and name.

    Args:
        keys: keys of etcd v3 with their values.
        name: the node's name.
        secrets: the passwords, by the name of the secret and the key in it.
    """
    return _sorted(_first_of_each_neighbor(Cluster(keys, secrets or {}).protocols(name)))


def reflector_sessions(
    keys: Keys,
    address: str,
    port: int = 179,
    reflectors: Iterable[str] = (),
    cluster_id: str | None = None,
    secrets: Secrets | None = None,
) -> list[Fields]:
    """Returns the sessions of a route reflector that runs no calico-node, sorted by family and name.

    Args:
        keys: keys of etcd v3 with their values.
        address: the reflector's address.
        port: the port that it listens on; the port of its Node takes precedence.
        reflectors: the addresses of all reflectors, for one without an `rr_v4` or `rr_v6` record.
        cluster_id: its cluster id; that of its Node and that of its record take precedence.
        secrets: the passwords, by the name of the secret and the key in it.
    """
    cluster = Cluster(keys, secrets or {})
    own = ip_address(address)
    registered = next((node for node in cluster.nodes if own in node["addresses"]), None)
    records = {ip: record for ip, record in _reflector_records(keys) if ip.version == own.version}
    cluster_id = (registered and registered["rr"]) or records.get(own, {}).get("cluster_id") or cluster_id
    port = (registered and registered["port"]) or port
    mirrored = list(_mirrored(cluster, own, port, cluster_id))
    as_node = [*cluster.mesh(registered), *cluster.peerings(registered)] if registered else []
    # A reflector connects from its own address whatever a BGPPeer says, since its neighbors expect it there.
    as_node = [session | {"source_address": str(own)} for session in as_node]

    others = records if own in records else {ip_address(text): {"key": ""} for text in reflectors}
    mesh_as = next((peer["as"] for peer in cluster.peers if peer["ip"] == own), None)
    mesh_as = mesh_as or (registered["as"] if registered else cluster.global_as)
    sessions = [
        *(session for session in as_node if session["kind"] == "mesh"),
        *(_reflector_mesh(own, ip, port, mesh_as, record["key"]) for ip, record in others.items() if ip != own),
        *(session for kind in ("global", "node") for session in [*mirrored, *as_node] if session["kind"] == kind),
    ]
    return _sorted(_first_of_each_neighbor(session for session in sessions if session["family"] == own.version))


def _mirrored(cluster: "Cluster", own: Any, port: int, cluster_id: str | None) -> Iterator[Fields]:
    """Yields the other end of each session that a node has with the reflector, its mesh left out."""
    for node in cluster.nodes:
        neighbor = next((ip for ip in node["addresses"] if ip.version == own.version and ip != own), None)
        for session in cluster.peerings(node) if neighbor else ():
            if ip_address(session["neighbor"]) != own or (session["port"] or 179) != port:
                continue
            internal = session["local_as"] == session["remote_as"]
            client = internal and not (cluster_id and node["rr"] == cluster_id)
            yield session | {
                "name": _name(session["kind"], neighbor),
                "neighbor": str(neighbor),
                "port": node["port"] or None,
                "local_as": session["remote_as"],
                "remote_as": session["local_as"],
                "source_address": str(own),
                "passive": False,
                "rr_client": client,
                "cluster_id": cluster_id if client else None,
                "next_hop": None if internal else "keep",
                "allow_local_as": None,
            }


def _reflector_mesh(own: Any, neighbor: Any, port: int, as_number: int, key: str) -> Fields:
    entry = {
        "ip": neighbor,
        "port": 0 if port == 179 else port,
        "as": as_number,
        "rr": "",
        "key": key,
        **_options({}, {}),
    }
    return _session("mesh", {"rr": "", "as": as_number}, own, entry)


def _reflector_records(keys: Keys) -> Iterator[tuple[Any, Fields]]:
    for key, value in keys.items():
        if key.startswith((f"{RECORDS}/rr_v4/", f"{RECORDS}/rr_v6/")):
            with contextlib.suppress(ValueError, LookupError, TypeError):
                record = json.loads(value)
                yield ip_address(record["ip"]), record | {"key": key}


class Cluster:
    """What confd keeps of the resources, and the peerings that it computes from them.

    Attributes:
        nodes: name, labels, addresses, AS number, cluster id of a reflector (`rr`), and port (0 if none is given).
        default: the spec of the BGPConfiguration `default`.
    """

    def __init__(self, keys: Keys, secrets: Secrets) -> None:
        configurations = {name: spec for _, name, spec, _ in _resources(keys, "bgpconfigurations")}
        self.default = configurations.get("default", {})
        self.global_as = _as_number(self.default.get("asNumber")) or 64512
        self.secrets = secrets
        self.nodes: list[Fields] = []
        for key, name, spec, labels in _resources(keys, "nodes"):
            bgp = spec.get("bgp") or {}
            port = configurations.get(f"node.{name}", {}).get("listenPort") or self.default.get("listenPort") or 0
            self.nodes.append({
                "key": key,
                "name": name,
                "labels": labels,
                "addresses": [
                    ip
                    for version in (4, 6)
                    if (ip := _host_part(bgp.get(f"ipv{version}Address"))) and ip.version == version
                ],
                "as": _as_number(bgp.get("asNumber")) or self.global_as,
                "rr": bgp.get("routeReflectorClusterID") or "",
                "port": port,
            })  # fmt: skip
        self.peers = [
            peer
            for key, _, spec, _ in _resources(keys, "bgppeers")
            # A local workload's address is known only on its node. Without an AS number, BIRD refuses the whole file.
            if not spec.get("localWorkloadSelector")
            and (peer := _peer(key, spec, secrets))
            and (peer["to"] or (peer["ip"] and peer["as"]))
        ]
        self.entries = self._entries()

    def protocols(self, name: str) -> list[Fields]:
        """Returns what confd writes for a node: several sessions with one neighbor if several things ask for one."""
        node = next((node for node in self.nodes if node["name"] == name), None)
        return [*self.mesh(node), *self.peerings(node)] if node else []

    def mesh(self, node: Fields) -> Iterator[Fields]:
        """Yields the sessions of the node-to-node mesh."""
        if node["rr"] or self.default.get("nodeToNodeMeshEnabled") is False:
            return
        options = {"maxRestartTime": self.default.get("nodeMeshMaxRestartTime"),
                   "password": self.default.get("nodeMeshPassword")}  # fmt: skip
        for own in node["addresses"]:
            for other in self.nodes:
                for entry in _as_peers(other, [own.version], {"key": other["key"], **_options(options, self.secrets)}):
                    if not other["rr"] and entry["ip"] != own:
                        yield _session("mesh", node, own, entry | {"is_node": True})

    def peerings(self, node: Fields) -> Iterator[Fields]:
        """Yields the sessions that BGPPeers ask for, several with one neighbor if their ports differ."""
        for kind, wanted in ("global", _GLOBAL), ("node", node["name"]):
            for (scope, ip, _), entry in self.entries.items():
                for own in node["addresses"]:
                    if scope == wanted and ip.version == own.version and ip != own:
                        yield _session(kind, node, own, entry)

    def _entries(self) -> dict[tuple[str, Any, int], Fields]:
        """Returns the peerings by node (or all nodes), address and port; the first one that was emitted wins."""
        entries: dict[tuple[str, Any, int], Fields] = {}
        for scope, entry in (*self._global_pass(), *self._node_pass(), *self._reverse_pass()):
            if (_GLOBAL, entry["ip"], entry["port"]) not in entries:
                entries.setdefault((scope, entry["ip"], entry["port"]), entry)
        return entries

    # The three passes of confd's `updatePeersV1`.

    def _global_pass(self) -> Iterator[tuple[str, Fields]]:
        for peer in filter(_is_global, self.peers):
            for target in self._targets(peer):
                yield _GLOBAL, target

    def _node_pass(self) -> Iterator[tuple[str, Fields]]:
        for peer in self.peers:
            for node in [] if _is_global(peer) else self._near(peer):
                for target in self._targets(peer):
                    yield node["name"], target

    def _reverse_pass(self) -> Iterator[tuple[str, Fields]]:
        for peer in self.peers:
            if peer["reverse"] == "Manual":
                continue
            versions = [4, 6] if peer["to"] else [peer["ip"].version]
            for node in self._matching(peer["to"]) if peer["to"] else self._at(peer, peer["port"]):
                for other in self._near(peer):
                    for entry in _as_peers(other, versions, peer["options"]):
                        yield node["name"], entry

    def _near(self, peer: Fields) -> list[Fields]:
        if _is_global(peer):
            return self.nodes
        if peer["from"]:
            return self._matching(peer["from"])
        return [node for node in self.nodes if node["name"] == peer["node"]]

    def _targets(self, peer: Fields) -> list[Fields]:
        if peer["to"]:
            return [entry for node in self._matching(peer["to"]) for entry in _as_peers(node, [4, 6], peer["options"])]
        port = peer["port"] or next((node["port"] for node in self._at(peer, 0)), 0)
        is_node = any(peer["ip"] in node["addresses"] for node in self.nodes)
        entry = {"ip": peer["ip"], "port": port, "as": peer["as"], "rr": "", "is_node": is_node}
        return [peer["options"] | peer["far"] | entry]

    def _at(self, peer: Fields, port: int) -> list[Fields]:
        """Returns the nodes with the address and AS of a peer, and its port if one is given."""
        return [
            node
            for node in self.nodes
            if peer["ip"] in node["addresses"]
            and node["as"] == (peer["as"] or self.global_as)
            and (not port or node["port"] in {0, port})
        ]

    def _matching(self, text: str) -> list[Fields]:
        try:
            selector = parse(text)
        except ValueError:
            return []
        return [node for node in self.nodes if selector.matches(node["labels"])]


def _is_global(peer: Fields) -> bool:
    return not peer["from"] and not peer["node"]


def _as_peers(node: Fields, versions: Sequence[int], options: Fields) -> list[Fields]:
    """Returns a node as the far end of a peering, in each family in which it has an address."""
    seen = {"port": node["port"], "as": node["as"], "rr": node["rr"]}
    return [{**options, **seen, "ip": ip} for ip in node["addresses"] if ip.version in versions]


def _peer(key: str, spec: Fields, secrets: Secrets) -> Fields:
    ip, port = _ip_and_port(spec.get("peerIP") or "")
    return {
        "from": spec.get("nodeSelector") or "",
        "node": spec.get("node") or "",
        "to": spec.get("peerSelector") or "",
        "ip": None if spec.get("peerSelector") else ip,
        "port": port,
        "as": _as_number(spec.get("asNumber")),
        "reverse": spec.get("reversePeering"),
        "options": {"key": key, **_options(spec, secrets)},
        # Only of a far end that is given by its address.
        "far": {
            "local_as": _as_number(spec.get("localASNumber")),
            "keep_next_hop": bool(spec.get("keepOriginalNextHop")),
            "allow_local_as": spec.get("numAllowedLocalASNumbers") or None,
        },
    }


def _options(spec: Fields, secrets: Secrets) -> Fields:
    secret = (spec.get("password") or {}).get("secretKeyRef") or {}
    return {
        "password": secrets.get(secret.get("name", ""), {}).get(secret.get("key", "")),
        "use_own_address": spec.get("sourceAddress") in {None, "", "UseNodeIP"},
        "restart": _seconds(spec.get("maxRestartTime")),
        "keepalive": _seconds(spec.get("keepaliveTime")),
        "hops": spec.get("ttlSecurity") or None,
        "next_hop_mode": spec.get("nextHopMode"),
    }


def _session(kind: str, node: Fields, own: Any, entry: Fields) -> Fields:
    ip, port = entry["ip"], entry["port"]
    local_as = entry.get("local_as") or node["as"]
    internal = entry["as"] == local_as
    client = bool(internal and node["rr"] and entry["rr"] != node["rr"])
    keep = "keep" if entry.get("keep_next_hop") and not internal else None
    return {
        "name": _name(kind, ip) + (f"_port_{port}" if port and kind != "mesh" else ""),
        "family": ip.version,
        "kind": kind,
        "neighbor": str(ip),
        "port": port or None,
        "remote_as": entry["as"],
        "local_as": local_as,
        "source_address": str(own) if entry["use_own_address"] else None,
        # The two ends of a peering decide alike, because both compare the texts.
        "passive": kind != "node" and bool(entry.get("is_node")) and str(ip) > str(own),
        "password": entry["password"],
        "rr_client": client,
        "cluster_id": node["rr"] if client else None,
        "ttl_security": "on" if entry["hops"] else "off",
        "multihop": entry["hops"] or True,
        "graceful_restart_time": entry["restart"],
        "keepalive_time": entry["keepalive"],
        "next_hop": {"Self": "self", "Keep": "keep", "Auto": None}.get(entry["next_hop_mode"], keep),
        "allow_local_as": entry.get("allow_local_as"),
        "key": entry["key"],
    }


def _name(kind: str, ip: Any) -> str:
    return f"{kind.capitalize()}_{ip}".replace(".", "_").replace(":", "_")


def _first_of_each_neighbor(sessions: Iterable[Fields]) -> Iterable[Fields]:
    first: dict[str, Fields] = {}
    for session in sessions:
        first.setdefault(session["neighbor"], session)
    return first.values()


def _sorted(sessions: Iterable[Fields]) -> list[Fields]:
    return sorted(sessions, key=lambda session: (session["family"], session["name"]))


def _resources(keys: Keys, plural: str) -> Iterator[tuple[str, str, Fields, Fields]]:
    """Yields the resources of a kind that can be decoded, by name: key, name, spec and labels."""
    for key in sorted(keys):
        name = key.removeprefix(f"{RESOURCES}/{plural}/")
        if name == key or "/" in name:
            continue
        try:
            resource = json.loads(keys[key])
            spec, labels = resource.get("spec") or {}, (resource.get("metadata") or {}).get("labels") or {}
            _check(spec)
        except (ValueError, AttributeError):
            continue
        yield key, name, spec, labels


def _check(spec: Fields) -> None:
    """Raises ValueError for what Go would not decode."""
    bgp = spec.get("bgp") or {}
    for number in spec.get("asNumber"), spec.get("localASNumber"), bgp.get("asNumber"):
        _as_number(number)
    for time in "maxRestartTime", "keepaliveTime", "nodeMeshMaxRestartTime":
        _seconds(spec.get(time))


def _as_number(value: Any) -> int:
    """Returns an AS number given as a number or as text, also as `1.10`; 0 if there is none."""
    if value is None:
        return 0
    if isinstance(value, str) and re.fullmatch(r"\d+\.\d+", value):
        high, low = map(int, value.split("."))
        if max(high, low) > 0xFFFF:
            raise ValueError(value)
        return high << 16 | low
    if isinstance(value, bool) or not isinstance(value, int | str) or not re.fullmatch(r"\d+", str(value)):
        raise ValueError(value)
    if int(value) > 0xFFFFFFFF:
        raise ValueError(value)
    return int(value)


def _seconds(text: Any) -> int | None:
    """Returns a duration of Go, such as `1m30s`, in whole seconds."""
    if text is None:
        return None
    parts = re.findall(r"(\d+\.?\d*|\.\d+)(h|ms|m|us|µs|ns|s)", text) if isinstance(text, str) else []
    if text != "0" and (not parts or "".join(map("".join, parts)) != text):
        raise ValueError(text)
    return int(sum(Fraction(number) * _NANOSECONDS[unit] for number, unit in parts) / 10**9 + Fraction(1, 2))


def _host_part(text: str | None) -> Any:
    """Returns the address of `ADDRESS` or `ADDRESS/LENGTH`, None if it is neither."""
    try:
        address, slash, length = (text or "").partition("/")
        ip = ip_address(address)
        return ip if not slash or int(length) <= ip.max_prefixlen else None
    except ValueError:
        return None


def _ip_and_port(text: str) -> tuple[Any, int]:
    """Returns the address and the port of a BGPPeer: `IPV4`, `IPV4:PORT`, `IPV6` or `[IPV6]:PORT`."""
    found = re.fullmatch(r"(?:\[(?P<six>[^]]*)\]|(?P<four>[^:\[\]]*)):(?P<port>\d{1,5})", text)
    if not found:
        return _host_part(text if "/" not in text else None), 0
    ip, port = _host_part(found["six"] or found["four"]), int(found["port"])
    return (ip, port) if port <= 0xFFFF else (None, 0)

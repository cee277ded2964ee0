"""Calico's v3 resources as keys and values of etcd v3; a function that names a resource returns its one key."""

import json
from collections.abc import Mapping
from typing import Any

RESOURCES = "/calico/resources/v3/projectcalico.org"
BLOCKS = "/calico/ipam/v2/host"


def resource_key(kind: str, name: str) -> str:
    """Returns the key of a resource."""
    return f"{RESOURCES}/{kind.lower()}s/{name}"


def resource(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> dict[str, str]:
    """Returns a resource as calicoctl writes it."""
    value = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": {"name": name, **metadata}, "spec": spec}
    return {resource_key(kind, name): json.dumps(value)}


def node(name: str, address: str = "", labels: Mapping[str, str] | None = None, /, **bgp: Any) -> dict[str, str]:
    """Returns a Node; further arguments are members of `spec.bgp`, such as a second address."""
    if address:
        bgp[f"ipv{6 if ':' in address else 4}Address"] = address
    return resource("Node", name, {"bgp": bgp}, labels=labels or {})


def peer(name: str, /, **spec: Any) -> dict[str, str]:
    """Returns a BGPPeer."""
    return resource("BGPPeer", name, spec)


def configuration(name: str = "default", /, **spec: Any) -> dict[str, str]:
    """Returns a BGPConfiguration: `default`, or `node.NAME`."""
    return resource("BGPConfiguration", name, spec)


def mesh_off(**spec: Any) -> dict[str, str]:
    """Returns the BGPConfiguration of all nodes, without the mesh."""
    return configuration(nodeToNodeMeshEnabled=False, **spec)


def secret(name: str, key: str) -> dict[str, Any]:
    """Returns the value of a `password`: it names a key in a Secret."""
    return {"secretKeyRef": {"name": name, "key": key}}


def pool(name: str, cidr: str, /, **spec: Any) -> dict[str, str]:
    """Returns an IPPool without a tunnel."""
    return resource("IPPool", name, {"cidr": cidr, "ipipMode": "Never", "vxlanMode": "Never"} | spec)


def block(of: str, cidr: str, state: str = "confirmed") -> dict[str, str]:
    """Returns the affinity of a block of addresses to a node."""
    family = "ipv6" if ":" in cidr else "ipv4"
    key = f"{BLOCKS}/{of}/{family}/block/{cidr.replace('/', '-')}"
    return {key: json.dumps({"state": state, "deleted": False})}


def reflector_record(address: str, cluster_id: str = "1.0.0.1") -> dict[str, str]:
    """Returns the record of a route reflector, which Calico v3 has none for; `rrwatch rr add` writes it."""
    value = {"ip": address, "cluster_id": cluster_id}
    return {f"/calico/bgp/v1/rr_v{6 if ':' in address else 4}/{address}": json.dumps(value)}

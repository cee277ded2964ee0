"""Calico's v3 resources as keys and values of etcd v3; each function returns the one key of a resource."""

import json
from collections.abc import Mapping
from typing import Any

RESOURCES = "/calico/resources/v3/projectcalico.org"
BLOCKS = "/calico/ipam/v2/host"


def node(name: str, labels: Mapping[str, str] | None = None, /, **bgp: Any) -> dict[str, str]:
    """Returns a Node; `bgp` is its `spec.bgp`."""
    return _resource("Node", "nodes", name, {"bgp": bgp}, labels)


def peer(name: str, /, **spec: Any) -> dict[str, str]:
    """Returns a BGPPeer."""
    return _resource("BGPPeer", "bgppeers", name, spec)


def configuration(name: str = "default", /, **spec: Any) -> dict[str, str]:
    """Returns a BGPConfiguration: `default`, or `node.NAME`."""
    return _resource("BGPConfiguration", "bgpconfigurations", name, spec)


def pool(name: str, cidr: str, /, **spec: Any) -> dict[str, str]:
    """Returns an IPPool without a tunnel."""
    return _resource("IPPool", "ippools", name, {"cidr": cidr, "ipipMode": "Never", "vxlanMode": "Never"} | spec)


def block(of: str, cidr: str, state: str = "confirmed") -> dict[str, str]:
    """Returns the affinity of a block of addresses to a node."""
    family = "ipv6" if ":" in cidr else "ipv4"
    key = f"{BLOCKS}/{of}/{family}/block/{cidr.replace('/', '-')}"
    return {key: json.dumps({"state": state, "deleted": False})}


def _resource(
    kind: str, plural: str, name: str, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> dict[str, str]:
    metadata = {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"} | ({"labels": labels} if labels else {})
    value = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
    return {f"{RESOURCES}/{plural}/{name}": json.dumps(value)}

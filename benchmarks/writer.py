"""Writes what Calico would write: by either API of etcd, in either data model."""

import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from lab.etcd import Etcd
from lab.etcd_v3 import EtcdV3

REFLECTOR = "172.17.42.40"
_V1 = "/calico/bgp/v1"
_V3 = "/calico/resources/v3/projectcalico.org"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the keys are, and what they mean.

    Attributes:
        datastore: `etcdv2` or `etcdv3`, as in the setting.
        model: `calico-v1` or `calico-v3`, as in the setting.
    """

    datastore: str = "etcdv2"
    model: str = "calico-v1"

    def __str__(self) -> str:
        return f"{self.model} in {self.datastore}"

    @property
    def settings(self) -> Mapping[str, str]:
        """The environment variables of rrwatch that choose it."""
        return {"RRWATCH_DATASTORE": self.datastore, "RRWATCH_MODEL": self.model}

    def etcd(self, folder: Path) -> Etcd:
        """Returns an etcd that serves it, which is not started yet."""
        return EtcdV3(folder) if self.datastore == "etcdv3" else Etcd(folder)


class Writer:
    """A client of etcd that writes over one connection."""

    def __init__(self, url: str, source: Source) -> None:
        where = urlsplit(url)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        self._source = source

    def put(self, key: str, value: str) -> None:
        """Writes one key."""
        if self._source.datastore == "etcdv3":
            message = {"key": _encoded(key), "value": _encoded(value)}
            self._send("POST", "/v3/kv/put", json.dumps(message), "application/json")
        else:
            body = urlencode({"value": value})
            self._send("PUT", f"/v2/keys{key}", body, "application/x-www-form-urlencoded")

    def put_node(self, number: int, address: str | None = None) -> None:
        """Writes the records of one node."""
        address = address or address_of(number)
        if self._source.model == "calico-v3":
            self.put(f"{_V3}/nodes/node{number:05d}", _node(f"node{number:05d}", address))
        else:
            self.put(address_key(number), address)
            self.put(f"{_V1}/host/node{number:05d}/ip_addr_v6", "")

    def put_cluster(self, mesh: str = "false") -> None:
        """Writes what all nodes have in common: the AS, the mesh, and the reflector as a peer of all nodes."""
        if self._source.model == "calico-v3":
            spec: dict[str, object] = {"asNumber": 65100, "nodeToNodeMeshEnabled": mesh == "true"}
            self.put(f"{_V3}/bgpconfigurations/default", _resource("BGPConfiguration", "default", spec))
            # One for all nodes, and as many others as a larger cluster has, by racks.
            self.put(f"{_V3}/bgppeers/reflector", _peer("reflector", peerIP=REFLECTOR, asNumber=65100))
            for rack in range(20):
                name = f"rack{rack}"
                peer = _peer(name, nodeSelector=f"rack == '{rack}'", peerIP=f"172.17.43.{rack + 1}", asNumber=65200)
                self.put(f"{_V3}/bgppeers/{name}", peer)
        else:
            self.put(f"{_V1}/global/as_num", "65100")
            self.put(f"{_V1}/global/node_mesh", f'{{"enabled": {mesh}}}')
            self.put(f"{_V1}/global/peer_v4/{REFLECTOR}", f'{{"ip": "{REFLECTOR}", "as_num": "65100"}}')

    def _send(self, method: str, path: str, body: str, kind: str) -> None:
        self._connection.request(method, path, body, {"Content-Type": kind})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"etcd says {answer.status}: {text!r:.200}")


def address_of(number: int) -> str:
    """Returns the address of a node; there are up to four million."""
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def address_key(number: int) -> str:
    """Returns the key of a node's address in the data model v1."""
    return f"{_V1}/host/node{number:05d}/ip_addr_v4"


def _node(name: str, address: str) -> str:
    """Returns a Node as large as calico-node writes one."""
    number = sum(name.encode())
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": f"zone{number % 3}",
        "rack": str(number % 20),
    }
    spec: dict[str, object] = {
        "bgp": {"ipv4Address": f"{address}/8", "ipv4IPIPTunnelAddr": "192.168.9.64"},
        "orchRefs": [{"nodeName": name, "orchestrator": "k8s"}],
    }
    annotations = {"projectcalico.org/kube-labels": json.dumps(labels)}
    return _resource("Node", name, spec, labels=labels, annotations=annotations)


def _peer(name: str, **spec: object) -> str:
    return _resource("BGPPeer", name, spec)


def _resource(kind: str, name: str, spec: Mapping[str, object], **metadata: object) -> str:
    common = {"name": name, "uid": "0f3c5a52-9a44-4b19-8a7b-1d3c5e7f9a11", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return json.dumps(
        {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": {**common, **metadata}, "spec": spec}
    )


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()

"""The keys of the cluster in tests: three nodes, and a reflector at 172.17.42.40."""

PREFIX = "/calico/bgp/v1"
REFLECTOR = "172.17.42.40"

NODES = {"kube-master": "172.17.42.30", "kube-node1": "172.17.42.31", "kube-node2": "172.17.42.32"}


def host(name: str, address: str) -> dict[str, str]:
    """Returns the keys that a node writes about itself."""
    return {f"{PREFIX}/host/{name}/ip_addr_v4": address, f"{PREFIX}/host/{name}/ip_addr_v6": ""}


def reflector(address: str, cluster_id: str = "1.0.0.1") -> dict[str, str]:
    """Returns the record of a reflector."""
    family = 6 if ":" in address else 4
    return {f"{PREFIX}/rr_v{family}/{address}": f'{{"ip":"{address}","cluster_id":"{cluster_id}"}}'}


def global_peer(address: str, as_number: object = '"65100"') -> dict[str, str]:
    """Returns the record that makes every node peer with an address."""
    family = 6 if ":" in address else 4
    return {f"{PREFIX}/global/peer_v{family}/{address}": f'{{"ip": "{address}", "as_num": {as_number}}}'}


def node_peer(node: str, address: str, as_number: object = '"65100"') -> dict[str, str]:
    """Returns the record that makes one node peer with an address."""
    family = 6 if ":" in address else 4
    return {f"{PREFIX}/host/{node}/peer_v{family}/{address}": f'{{"ip": "{address}", "as_num": {as_number}}}'}


def pool(network: str, ipip: str = "", mode: str = "") -> dict[str, str]:
    """Returns the record of a pool."""
    family = 6 if ":" in network else 4
    value = f'{{"cidr": "{network}", "ipip": "{ipip}", "ipip_mode": "{mode}"}}'
    return {f"/calico/v1/ipam/v{family}/pool/{network.replace('/', '-')}": value}


def block(node: str, network: str) -> dict[str, str]:
    """Returns the record of a node's block."""
    family = 6 if ":" in network else 4
    return {f"/calico/ipam/v2/host/{node}/ipv{family}/block/{network.replace('/', '-')}": ""}


CLUSTER = {
    f"{PREFIX}/global/as_num": "65100",
    f"{PREFIX}/global/node_mesh": '{"enabled": false}',
    **host("kube-master", NODES["kube-master"]),
    **host("kube-node1", NODES["kube-node1"]),
    **host("kube-node2", NODES["kube-node2"]),
    **reflector(REFLECTOR),
    **global_peer(REFLECTOR),
}
"""The keys of the walkthrough with the reflector."""

SESSIONS = {f"Global_{address.replace('.', '_')}" for address in NODES.values()}
"""The sessions that the reflector holds then."""

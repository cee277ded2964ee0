"""Nodes with BIRD 2 route through a tunnel device, as `krt_tunnel` does in Calico's own BIRD."""

from pathlib import Path

import pytest

from lab.bird import BIRD2
from lab.cluster import cluster
from lab.process import wait_until

NODE1, NODE2 = "172.17.42.31", "172.17.42.32"


@pytest.mark.parametrize("mode", ["always", "cross-subnet"])
def test_ip_in_ip(tmp_path: Path, mode: str) -> None:
    with cluster(tmp_path) as lab:
        one = lab.add_node("kube-node1", NODE1, "192.168.0.0/26", release=BIRD2)
        two = lab.add_node("kube-node2", NODE2, "192.168.0.64/26", release=BIRD2)
        for host in one, two:
            # Not a real tunnel: what matters is that the kernel accepts a route through it.
            host.space.ip("link", "add", "tunl0", "type", "veth", "peer", "name", "far")
            host.space.ip("link", "set", "tunl0", "up")
            host.space.ip("link", "set", "far", "up")
        two_networks = {"kube-node1": "172.17.42.31/32", "kube-node2": "172.17.0.0/16"}
        for name, network in two_networks.items():
            lab.etcd.put(f"/calico/bgp/v1/host/{name}/network_v4", network)
        pool = f'{{"cidr": "192.168.0.0/16", "ipip": "tunl0", "ipip_mode": "{mode}"}}'
        lab.etcd.put("/calico/v1/ipam/v4/pool/192.168.0.0-16", pool)

        through = f"192.168.0.64/26 via {NODE2} dev tunl0 proto bird onlink"
        of_one = {"blackhole 192.168.0.0/26 proto bird", through}
        # The neighbor is in the same subnet, so a pool that asks for tunnels across subnets uses none.
        device = "tunl0 proto bird onlink" if mode == "always" else "eth0 proto bird"
        of_two = {"blackhole 192.168.0.64/26 proto bird", f"192.168.0.0/26 via {NODE1} dev {device}"}
        for host, wanted in (one, of_one), (two, of_two):
            try:
                wait_until(lambda host=host, wanted=wanted: host.bird_routes() == wanted, "routes", 60)  # type: ignore[misc]
            except TimeoutError:
                assert host.bird_routes() == wanted

"""The walkthrough of README, from the full mesh to route reflectors, with real sessions and routes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bird import RELEASES, Release
from lab.cluster import PREFIX, Cluster, Host, cluster
from lab.process import wait_until

MASTER, NODE1, NODE2 = "172.17.42.30", "172.17.42.31", "172.17.42.32"
RR1, RR2 = "172.17.42.40", "172.17.42.41"

TO_NODE1 = f"192.168.0.0/26 via {NODE1} dev eth0 proto bird"
TO_NODE2 = f"192.168.0.64/26 via {NODE2} dev eth0 proto bird"
OF_NODE1 = "blackhole 192.168.0.0/26 proto bird"
OF_NODE2 = "blackhole 192.168.0.64/26 proto bird"

FULL = {"kube-master": {TO_NODE1, TO_NODE2}, "kube-node1": {OF_NODE1, TO_NODE2}, "kube-node2": {TO_NODE1, OF_NODE2}}
ALONE = {"kube-master": set[str](), "kube-node1": {OF_NODE1}, "kube-node2": {OF_NODE2}}

SECONDS = 60.0  # BIRD waits some seconds before it connects, and retries rarely


# Each release once in each place, and never beside itself: that is where releases differ.
PAIRS = [(nodes, reflectors) for nodes, reflectors in zip(RELEASES, [*RELEASES[1:], RELEASES[0]], strict=True)]


@pytest.fixture
def lab(tmp_path: Path, datastore: str, nodes: Release, reflectors: Release) -> Iterator[Cluster]:
    with cluster(tmp_path, datastore) as made:
        made.add_node("kube-master", MASTER, release=nodes)
        made.add_node("kube-node1", NODE1, "192.168.0.0/26", ("192.168.0.2",), nodes)
        made.add_node("kube-node2", NODE2, "192.168.0.64/26", ("192.168.0.64", "192.168.0.65"), nodes)
        made.add_reflector("node1", RR1, reflectors)
        yield made


def established(host: Host) -> set[str]:
    return {name for name in host.bird.sessions() if host.bird.is_established(name)}


def wait_for_sessions(host: Host, *wanted: str) -> None:
    def right() -> bool:
        return host.bird.sessions() == established(host) == set(wanted)

    try:
        wait_until(right, f"sessions of {host.name}", SECONDS)
    except TimeoutError as error:
        raise AssertionError(f"{error}: {host.bird.command('show protocols')}\n{host.rrwatch.output()}") from None


def wait_for_routes(lab: Cluster, wanted: dict[str, set[str]]) -> None:
    for name, routes in wanted.items():
        host = lab.hosts[name]
        try:
            wait_until(lambda host=host, routes=routes: host.bird_routes() == routes, f"routes of {name}", SECONDS)  # type: ignore[misc]
        except TimeoutError:
            assert host.bird_routes() == routes


def names(kind: str, *addresses: str) -> list[str]:
    return [f"{kind}_{address.replace('.', '_')}" for address in addresses]


CASES = [
    *(("etcdv2", *pair) for pair in PAIRS),
    # The datastore does not depend on the BIRD; this etcd has no v2 API.
    ("etcdv3", RELEASES[0], RELEASES[-1]),
]


@pytest.mark.parametrize(
    ("datastore", "nodes", "reflectors"), CASES, ids=lambda value: value if isinstance(value, str) else value.name
)
def test_walkthrough(lab: Cluster, reflectors: Release) -> None:
    master, node1, node2, rr1 = (lab.hosts[name] for name in ("kube-master", "kube-node1", "kube-node2", "node1"))

    # 1: the mesh is on
    assert node1.run("node-mesh", "show") == "on\n"
    wait_for_sessions(master, *names("Mesh", NODE1, NODE2))
    wait_for_sessions(node1, *names("Mesh", MASTER, NODE2))
    wait_for_sessions(node2, *names("Mesh", MASTER, NODE1))
    wait_for_routes(lab, FULL)
    assert "192.168.0.2 dev cali0 scope link" in node1.routes()
    assert rr1.bird.sessions() == set()

    # 2: the mesh is off
    node1.run("node-mesh", "off")
    wait_for_routes(lab, ALONE)
    for host in master, node1, node2:
        wait_for_sessions(host)

    # 3: the reflector has a record, but nothing peers with it yet
    rr1.run("rr", "add", RR1, "--cluster-id", "1.0.0.1")
    assert lab.etcd.items(f"{PREFIX}/rr_v4") == {f"{PREFIX}/rr_v4/{RR1}": f'{{"ip":"{RR1}","cluster_id":"1.0.0.1"}}'}
    rr1.rrwatch.wait_for("etcd_synced")
    assert rr1.bird.sessions() == set()

    # 4: every node peers with the reflector
    node1.run("peer", "add", RR1, "as", "65100")
    wait_for_sessions(rr1, *names("Global", MASTER, NODE1, NODE2))
    for host in master, node1, node2:
        wait_for_sessions(host, *names("Global", RR1))
    wait_for_routes(lab, FULL)
    for address in MASTER, NODE1, NODE2:
        block = (
            f"protocol bgp {names('Global', address)[0]} from bgp_template {{\n"
            f"  local as 65100;\n  neighbor {address} as 65100;\n  rr client;\n  rr cluster id 1.0.0.1;\n}}\n"
        )
        assert block in rr1.bird.config.read_text()
    assert rr1.bird_routes() == set()

    # 5: a second reflector
    rr2 = lab.add_reflector("node2", RR2, reflectors)
    rr2.run("rr", "add", RR2, "--cluster-id", "1.0.0.1")
    rr2.run("peer", "add", RR2, "as", "65100")
    wait_for_sessions(rr1, *names("Mesh", RR2), *names("Global", MASTER, NODE1, NODE2))
    wait_for_sessions(rr2, *names("Mesh", RR1), *names("Global", MASTER, NODE1, NODE2))
    for host in master, node1, node2:
        wait_for_sessions(host, *names("Global", RR1, RR2))
    rr1.bird.kill()
    end = time.monotonic() + 6
    while time.monotonic() < end:
        assert {name: lab.hosts[name].bird_routes() for name in FULL} == FULL
    rr1.bird.start()
    rr1.rrwatch.wait_for("confirmed")
    wait_for_sessions(rr1, *names("Mesh", RR2), *names("Global", MASTER, NODE1, NODE2))

    # 6: a node's records are deleted
    connections = {host.name: host.space.bgp_connections(NODE1) for host in (rr1, rr2)}
    lab.etcd.delete(f"{PREFIX}/host/kube-node2", recursive=True)
    lab.etcd.delete("/calico/ipam/v2/host/kube-node2", recursive=True)
    for other, host in (RR2, rr1), (RR1, rr2):
        wait_for_sessions(host, *names("Mesh", other), *names("Global", MASTER, NODE1))
    wait_for_routes(lab, {"kube-master": {TO_NODE1}, "kube-node1": {OF_NODE1}})
    for host in rr1, rr2:
        assert connections[host.name] & host.space.bgp_connections(NODE1)
    waiting = node2.rrwatch.wait_for("waiting_for_key")
    assert waiting["key"] == f"{PREFIX}/host/kube-node2/ip_addr_v4"

    for host in lab.hosts.values():
        assert not host.rrwatch.all("drift_found")
        assert not host.rrwatch.all("refused")
        assert not host.rrwatch.all("apply_failed")

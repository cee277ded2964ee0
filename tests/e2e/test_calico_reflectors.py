"""Route reflectors with rrwatch for nodes as calico-node runs them: sessions come up on both ends, and routes stay."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, Bird
from lab.calico_cluster import CalicoCluster
from lab.calico_node import CalicoNodes
from lab.cluster import Host
from lab.network import Switch
from lab.process import wait_until
from lab.resources import block, configuration, mesh_off, node, peer, pool, resource_key, secret
from lab.route_monitor import REPLACED, RouteMonitor, monitoring
from lab.secrets_folder import SecretsFolder

ETCD, RR1, RR2, RR2_V6 = "172.17.42.30", "172.17.42.40", "172.17.42.41", "fd00::41"
ADDRESSES = {f"n{number}": f"172.17.42.{number}" for number in range(1, 5)}
BLOCKS = {name: f"192.168.{number}.0/26" for number, name in enumerate(ADDRESSES, 1)}
BLOCKS_V6 = {name: f"fd01:0:0:{number}::/122" for number, name in enumerate(("n1", "n2"), 1)}
POOL = pool("ipv4", "192.168.0.0/16") | pool("ipv6", "fd01::/48")
RACK = {"rack": "1"}
PASSWORD = "a password of 27 characters"
RESTART_TIME = "5s"
"""How long a node keeps the routes of a reflector that is gone. A test that is faster sees them and nothing else."""

SECONDS = 60.0


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def keys_of(name: str, labels: dict[str, str] | None = None, **bgp: object) -> dict[str, str]:
    """Returns the keys of a node and of its block."""
    return node(name, f"{ADDRESSES[name]}/16", labels, **bgp) | block(name, BLOCKS[name])


def sessions(kind: str, *names: str) -> set[str]:
    return {f"{kind}_{ADDRESSES[name].replace('.', '_')}" for name in names}


def wait_for_sessions(host: Host, wanted: set[str]) -> None:
    """Waits until a reflector has these sessions and no others, and all of them are established."""
    wait_until(lambda: host.bird.sessions() == wanted, f"{host.name} has {wanted}", SECONDS)
    for name in wanted:
        wait_until(lambda name=name: host.bird.is_established(name), f"{name} on {host.name}", SECONDS)  # type: ignore[misc]


def missing_routes(lab: CalicoCluster, name: str, *others: str) -> list[str]:
    """Returns the routes that a node lacks: to the blocks of other nodes, straight to them."""
    found = lab.nodes.routes(name)
    wanted = [f"{BLOCKS[other]} via {ADDRESSES[other]} dev eth0" for other in others if other != name]
    return [route for route in wanted if not any(row.startswith(f"{route} ") for row in found)]


def wait_for_learned(lab: CalicoCluster, name: str, session: str, *others: str) -> None:
    """Waits until a node has from one of its sessions the blocks of those nodes, and no others."""
    wanted = {BLOCKS[other] for other in others}
    wait_until(lambda: lab.nodes.learned(name, session) == wanted, f"routes of {session} on {name}", SECONDS)


def assert_kept(monitors: list[RouteMonitor]) -> None:
    """Asserts that no route was away since the monitors began, and begins anew."""
    for monitor in monitors:
        monitor.sync()
        absences = monitor.absences()
        assert all(seconds < REPLACED for seconds in absences.values()), absences
        monitor.begin()


MESH1, MESH2 = f"Mesh_{RR1.replace('.', '_')}", f"Mesh_{RR2.replace('.', '_')}"


def wait_for_routes(lab: CalicoCluster, *names: str) -> None:
    for name in names:
        wait_until(lambda name=name: not missing_routes(lab, name, *names), f"the routes of {name}", SECONDS)  # type: ignore[misc]


def test_reflectors_outside_of_the_cluster(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    folder = SecretsFolder(tmp_path / "secrets")
    lab = CalicoCluster(tmp_path, stack, ETCD)
    lab.secrets = {"bgp": {"rr1": PASSWORD}}

    # From the full mesh: n1 has both families, n2 a port of its own, n3 an AS of its own.
    lab.apply(
        POOL
        | configuration(asNumber=65100)
        | configuration("node.n2", listenPort=1790)
        | keys_of("n1", RACK, ipv6Address="fd00::1/64")
        | keys_of("n2", RACK, ipv6Address="fd00::2/64")
        | keys_of("n3", RACK, asNumber=65103)
        | block("n1", BLOCKS_V6["n1"])
        | block("n2", BLOCKS_V6["n2"])
    )
    rr1 = lab.add_reflector("rr1", RR1, BIRD1, RRWATCH_BGP_PASSWORDS=str(folder.path))
    rr2 = lab.add_reflector("rr2", RR2, BIRD2, IP6=RR2_V6)
    for host in rr1, rr2:
        host.rrwatch.wait_for("configured", SECONDS)
        host.run("rr", "add", host.address, "--cluster-id", "1.0.0.1")
    wait_for_routes(lab, "n1", "n2")  # n3 may see them through each other: to another AS, nodes pass on what they have

    # Reflectors first. The password of the first one is not known at once.
    terms = {"password": secret("bgp", "rr1"), "ttlSecurity": 1, "maxRestartTime": RESTART_TIME}
    lab.apply(
        peer("rr1", nodeSelector="has(rack)", peerIP=RR1, asNumber=65100, **terms)
        | peer("rr2", peerIP=RR2, asNumber=65100, maxRestartTime=RESTART_TIME)
        | peer("rr2-v6", peerIP=RR2_V6, asNumber=65100)
    )
    on_rr1 = sessions("Node", "n1", "n2", "n3")
    on_rr2 = {MESH1, "Global_fd00__1", "Global_fd00__2"} | sessions("Global", "n1", "n2", "n3")
    wait_for_sessions(rr2, on_rr2)
    assert rr1.rrwatch.wait_for("record_rejected")["key"] == resource_key("BGPPeer", "rr1")
    wait_for_sessions(rr1, {MESH2})
    folder.mount("bgp", {"rr1": PASSWORD})
    wait_for_sessions(rr1, on_rr1 | {MESH2})
    for session in "Node_172_17_42_40", "Global_172_17_42_41":
        wait_for_learned(lab, "n1", session, "n2", "n3")
        wait_for_learned(lab, "n2", session, "n1", "n3")

    # Then the mesh goes.
    monitors = stack.enter_context(monitoring((lab.nodes.space(name) for name in ("n1", "n2", "n3")), tmp_path))
    lab.apply(mesh_off(asNumber=65100))
    lab.nodes.wait_established(SECONDS)
    assert set(lab.nodes.sessions("n1")) == {"Node_172_17_42_40", "Global_172_17_42_41", "Global_fd00__41"}
    wait_for_routes(lab, "n1", "n2", "n3")
    # The metric is made of LOCAL_PREF, which the reflectors pass on within an AS.
    wanted = f"{BLOCKS['n2']} via {ADDRESSES['n2']} dev eth0 proto bird metric 1024"
    wait_until(lambda: wanted in lab.nodes.routes("n1"), "the metric of n2", SECONDS)
    assert_kept(monitors)
    v6 = f"{BLOCKS_V6['n2']} via fd00::2 dev eth0 proto bird metric 1024 pref medium"
    assert v6 in lab.nodes.routes("n1")
    text = rr1.bird.config.read_text()
    assert f"neighbor {ADDRESSES['n2']} port 1790 as 65100;" in text
    assert f"neighbor {ADDRESSES['n3']} as 65103;" in text

    # A label ends one session, and brings it back; a node joins and leaves.
    lab.apply(keys_of("n3", asNumber=65103))
    wait_for_sessions(rr1, (on_rr1 - sessions("Node", "n3")) | {MESH2})
    wait_for_routes(lab, "n1", "n2", "n3")
    lab.apply(keys_of("n3", RACK, asNumber=65103) | keys_of("n4", RACK))
    wait_for_sessions(rr1, on_rr1 | sessions("Node", "n4") | {MESH2})
    wait_for_routes(lab, "n1", "n2", "n3", "n4")
    lab.delete(resource_key("Node", "n4"), *block("n4", BLOCKS["n4"]))
    wait_for_sessions(rr1, on_rr1 | {MESH2})
    wait_for_sessions(rr2, on_rr2)
    wait_until(lambda: missing_routes(lab, "n1", "n4"), "the route to n4 is gone", SECONDS)

    # One reflector dies with its rrwatch: no route is lost, also when its own routes have been given up.
    for monitor in monitors:
        monitor.begin()
    rr1.rrwatch.process.kill()
    rr1.bird.kill()
    for name in "n1", "n2", "n3":
        wait_for_learned(lab, name, "Node_172_17_42_40")
        assert not missing_routes(lab, name, "n1", "n2", "n3")
    assert_kept(monitors)


def test_registered_reflectors_are_found_by_their_labels(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    reflector = {"route-reflector": "true"}
    lab = CalicoCluster(tmp_path, stack, ETCD, without=("rr1", "rr2"))
    lab.apply(
        POOL
        | mesh_off(asNumber=65100)
        | keys_of("n1")
        | keys_of("n2")
        | keys_of("n3")
        | node("rr1", f"{RR1}/16", reflector, routeReflectorClusterID="1.0.0.1")
        | node("rr2", f"{RR2}/16", reflector, routeReflectorClusterID="1.0.0.1")
        | peer(
            "nodes",
            nodeSelector="!has(route-reflector)",
            peerSelector="has(route-reflector)",
            maxRestartTime=RESTART_TIME,
        )
        | configuration("node.rr1", listenPort=1791)
        | peer("reflectors", nodeSelector="has(route-reflector)", peerSelector="has(route-reflector)")
    )
    rr1, rr2 = lab.add_reflector("rr1", RR1, BIRD1), lab.add_reflector("rr2", RR2, BIRD2)
    clients = sessions("Node", "n1", "n2", "n3")
    wait_for_sessions(rr1, clients | {f"Node_{RR2.replace('.', '_')}"})
    wait_for_sessions(rr2, clients | {f"Node_{RR1.replace('.', '_')}"})
    lab.nodes.wait_established(SECONDS)
    wait_for_routes(lab, "n1", "n2", "n3")
    for host in rr1, rr2:
        # The other reflector is in the same cluster, and no client.
        assert host.bird.config.read_text().count("rr cluster id 1.0.0.1;") == 3

    rr2.bird.kill()
    for name in "n1", "n2", "n3":
        wait_for_learned(lab, name, "Node_172_17_42_41")
        assert not missing_routes(lab, name, "n1", "n2", "n3")


def test_a_range_of_neighbors_instead_of_rrwatch(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "calico-v3.md"
    (configuration_of_page,) = re.findall(r"```\n(router id .*?)```", page.read_text(), re.DOTALL)
    switch = Switch(stack)
    bird = Bird(tmp_path / "bird", switch.plug(f"{RR1}/16"), release=BIRD2)
    bird.config.write_text(configuration_of_page)
    stack.callback(bird.stop)
    bird.start()
    nodes = CalicoNodes(tmp_path, switch, stack)
    keys = POOL | mesh_off(asNumber=65100) | peer("rr1", peerIP=RR1, asNumber=65100)
    nodes.update(keys | keys_of("n1") | keys_of("n2") | keys_of("n3", asNumber=65103))

    def others(name: str) -> set[str]:
        return {row for row in nodes.routes(name) if not row.startswith("blackhole")}

    for name, other in ("n1", "n2"), ("n2", "n1"):
        wanted = {f"{BLOCKS[other]} via {ADDRESSES[other]} dev eth0 proto bird metric 1024"}
        wait_until(lambda name=name, wanted=wanted: others(name) == wanted, f"routes of {name}", SECONDS)  # type: ignore[misc]

    # A node of another AS is refused; a node that is not there does not show.
    def states() -> list[str]:
        return [row.info for row in bird.protocols().values() if row.name.startswith("node")]

    assert [info.split()[0] for info in states() if info].count("Established") == 2
    wait_until(lambda: any("Bad peer AS" in info for info in states()), "the refused node", SECONDS)
    assert others("n3") == set()

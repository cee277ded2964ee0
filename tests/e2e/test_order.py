"""In the right order, going from the mesh to a reflector loses no route, as the kernel's own events show."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, RELEASES, Release
from lab.cluster import Cluster, Host, cluster
from lab.process import wait_until
from lab.route_monitor import REPLACED, RouteMonitor, monitoring

NODES = {"kube-master": "172.17.42.30", "kube-node1": "172.17.42.31", "kube-node2": "172.17.42.32"}
BLOCKS = {"kube-node1": "192.168.0.0/26", "kube-node2": "192.168.0.64/26"}
REFLECTOR = "172.17.42.40"
SESSION = "Global_172_17_42_40"

SECONDS = 60.0  # BIRD waits some seconds before it connects


@pytest.fixture
def lab(tmp_path: Path, release: Release) -> Iterator[Cluster]:
    with cluster(tmp_path) as made:
        for name, address in NODES.items():
            made.add_node(name, address, BLOCKS.get(name), release=release)
        made.add_reflector("node1", REFLECTOR, release)
        for name in NODES:
            wait_for_all_routes(made, name)
        yield made


@pytest.fixture
def monitors(lab: Cluster, tmp_path: Path) -> Iterator[list[RouteMonitor]]:
    with monitoring((lab.hosts[name].space for name in NODES), tmp_path) as made:
        yield made


def routes_to_others(host: Host) -> set[str]:
    return {f"{block} via {NODES[name]} dev eth0 proto bird" for name, block in BLOCKS.items() if name != host.name}


def wait_for_all_routes(lab: Cluster, name: str) -> None:
    host = lab.hosts[name]
    wait_until(lambda: routes_to_others(host) <= host.bird_routes(), f"routes of {name}", SECONDS)


def reflected(host: Host) -> bool:
    """Returns whether the reflector has announced the blocks of the other nodes."""
    shown = host.bird.command(f"show route protocol {SESSION}")
    return all(route.split()[0] in shown for route in routes_to_others(host))


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_with_the_reflector_first_no_route_is_lost(
    lab: Cluster, monitors: list[RouteMonitor], release: Release
) -> None:
    reflector, nodes = lab.hosts["node1"], [lab.hosts[name] for name in NODES]

    reflector.run("rr", "add", REFLECTOR, "--cluster-id", "1.0.0.1")
    nodes[0].run("peer", "add", REFLECTOR, "as", "65100")
    for address in NODES.values():
        session = f"Global_{address.replace('.', '_')}"
        wait_until(lambda session=session: reflector.bird.is_established(session), session, SECONDS)  # type: ignore[misc]
    for host in nodes:
        wait_until(lambda host=host: reflected(host), f"routes of {host.name} from the reflector", SECONDS)  # type: ignore[misc]
    nodes[0].run("node-mesh", "off")
    for host in nodes:
        wait_until(lambda host=host: host.bird.sessions() == {SESSION}, f"mesh of {host.name} ended", SECONDS)  # type: ignore[misc]

    for host, monitor in zip(nodes, monitors, strict=True):
        monitor.sync()
        assert routes_to_others(host) <= host.bird_routes()
        absences = monitor.absences()
        assert all(seconds < REPLACED for seconds in absences.values()), absences
        if release is not BIRD1:
            assert not absences, "BIRD 2 and 3 leave the kernel's routes as they are"


@pytest.mark.parametrize("release", [BIRD2], ids=lambda release: release.name)
def test_with_the_mesh_off_first_routes_are_lost_until_the_reflector_is_there(
    lab: Cluster, monitors: list[RouteMonitor]
) -> None:
    nodes = [lab.hosts[name] for name in NODES]

    nodes[0].run("node-mesh", "off")
    for host in nodes:
        wait_until(lambda host=host: not routes_to_others(host) & host.bird_routes(), host.name, SECONDS)  # type: ignore[misc]
    lab.hosts["node1"].run("rr", "add", REFLECTOR, "--cluster-id", "1.0.0.1")
    nodes[0].run("peer", "add", REFLECTOR, "as", "65100")
    for name in NODES:
        wait_for_all_routes(lab, name)

    for host, monitor in zip(nodes, monitors, strict=True):
        expected = {route.removesuffix(" proto bird") for route in routes_to_others(host)}
        wait_until(lambda monitor=monitor: REPLACED < max(monitor.absences().values()) < SECONDS, "the routes' return")  # type: ignore[misc]
        absences = monitor.absences()
        assert absences.keys() == expected
        assert all(REPLACED < seconds < SECONDS for seconds in absences.values()), absences

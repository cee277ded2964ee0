"""In the right order, going from the mesh to a reflector loses no route, as the kernel's own events show."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, RELEASES, Release
from lab.cluster import Cluster, Host, cluster
from lab.process import Process, wait_until

NODES = {"kube-master": "172.17.42.30", "kube-node1": "172.17.42.31", "kube-node2": "172.17.42.32"}
BLOCKS = {"kube-node1": "192.168.0.0/26", "kube-node2": "192.168.0.64/26"}
REFLECTOR = "172.17.42.40"
SESSION = "Global_172_17_42_40"

REPLACED = 0.5
"""Seconds. BIRD 1.6 replaces a route by deleting it and adding it again 0.1 ms later, or later on a loaded machine. A
route that is lost stays away for the seconds that BIRD waits before it connects."""

SECONDS = 60.0  # BIRD waits some seconds before it connects

_EVENT = re.compile(r"\[\d{4}-\d\d-\d\dT(\d\d):(\d\d):(\d\d\.\d+)\] (Deleted )?(\S+) (via \S+ dev \S+) proto bird")


@dataclass
class RouteMonitor:
    """The kernel's route events on one host, as `ip monitor` prints them."""

    host: Host
    log: Path
    process: Process

    def absences(self) -> dict[str, float]:
        """Returns for each deleted route the longest time in seconds until it was back; infinite if it never was."""
        gone: dict[str, float] = {}
        longest: dict[str, float] = {}
        for hours, minutes, seconds, deleted, block, hop in _EVENT.findall(self.log.read_text()):
            at, route = int(hours) * 3600 + int(minutes) * 60 + float(seconds), f"{block} {hop}"
            if deleted:
                gone[route] = at
            elif route in gone:
                absent = (at - gone.pop(route)) % 86400  # past midnight
                longest[route] = max(absent, longest.get(route, 0.0))
        return longest | dict.fromkeys(gone, float("inf"))

    def has_seen(self, text: str) -> bool:
        return text in self.log.read_text()


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
    made: list[RouteMonitor] = []
    try:
        for name in NODES:
            host, log = lab.hosts[name], tmp_path / f"{name}-routes.log"
            process = Process(["ip", "-ts", "-n", host.space.name, "monitor", "route"], log)
            monitor = RouteMonitor(host, log, process)
            made.append(monitor)
            # A route in a table that BIRD does not read shows that the monitor is listening.
            mark = f"198.51.100.{len(made)}"
            wait_until(lambda monitor=monitor, mark=mark: marked(monitor, mark), f"ip monitor on {name}")  # type: ignore[misc]
        yield made
    finally:
        for monitor in made:
            monitor.process.stop()


def marked(monitor: RouteMonitor, mark: str) -> bool:
    # The kernel reports only real changes, so each attempt adds a route and deletes it.
    for change in "add", "delete":
        monitor.host.space.ip("route", change, "blackhole", mark, "table", "99")
    return monitor.has_seen(f"Deleted blackhole {mark} ")


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

    # Every event that could follow from the end of the mesh comes before this one.
    for number, monitor in enumerate(monitors):
        mark = f"198.51.100.{100 + number}"
        wait_until(lambda monitor=monitor, mark=mark: marked(monitor, mark), mark)  # type: ignore[misc]
        assert routes_to_others(monitor.host) <= monitor.host.bird_routes()
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

    for monitor in monitors:
        expected = {route.removesuffix(" proto bird") for route in routes_to_others(monitor.host)}
        wait_until(lambda monitor=monitor: REPLACED < max(monitor.absences().values()) < SECONDS, "the routes' return")  # type: ignore[misc]
        absences = monitor.absences()
        assert absences.keys() == expected
        assert all(REPLACED < seconds < SECONDS for seconds in absences.values()), absences

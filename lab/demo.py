"""Runs and shows the walkthrough of README: `make demo`."""

import argparse
import contextlib
import re
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from lab.calico_cluster import calico_cluster
from lab.cluster import PREFIX, Cluster, Host, cluster
from lab.demo_calico3 import ETCD, run
from lab.process import wait_until
from lab.screen import SECONDS, Screen

RR1, RR2 = "172.17.42.40", "172.17.42.41"
NODES = {"kube-master": "172.17.42.30", "kube-node1": "172.17.42.31", "kube-node2": "172.17.42.32"}


class Demo:
    """Takes a Calico cluster from the full mesh of its nodes to two route reflectors, and shows each step."""

    def __init__(self, console: Console, pause: float, picture: Path | None = None) -> None:
        """Prepares the demonstration.

        Args:
            console: for the output.
            pause: seconds before each step.
            picture: file for an SVG of the step in which the nodes peer with the reflector.
        """
        self._console, self._picture = console, picture
        self._screen = Screen(console, pause)

    def run(self, lab: Cluster) -> None:  # noqa: PLR0915  # one step after another
        """Runs all steps, from empty hosts to a cluster that has lost a reflector and a node."""
        self._screen.step("Four hosts on one network: three Calico nodes, etcd on the first, and one for a reflector")
        lab.add_node("kube-master", NODES["kube-master"])
        node1 = lab.add_node("kube-node1", NODES["kube-node1"], "192.168.0.0/26", ("192.168.0.2",))
        node2 = lab.add_node("kube-node2", NODES["kube-node2"], "192.168.0.64/26", ("192.168.0.64", "192.168.0.65"))
        rr1 = lab.add_reflector("node1", RR1)
        self._screen.note("On each runs a BIRD and, beside it, an rrwatch. In etcd are the nodes, blocks and a pool.")

        self._screen.step("The node mesh is on: every node peers with every other, and has the others' routes")
        self._screen.command(node1, "node-mesh", "show")
        self._wait(node1, "Mesh_172_17_42_30", "Mesh_172_17_42_32")
        self._wait_for_route(node1, "192.168.0.64/26")
        self._screen.show_sessions(node1)
        self._screen.show_routes(node1, node2)

        self._screen.step("The mesh is switched off: the routes to the other node's block go")
        done = len(node1.rrwatch.all("configured"))
        self._screen.command(node1, "node-mesh", "off")
        self._screen.event(node1, "configured", "sessions_removed", "cause", "took_ms", after=done)
        wait_until(lambda: not self._has_route(node1, "192.168.0.64/26"), "the route is gone", SECONDS)
        wait_until(lambda: not self._has_route(node2, "192.168.0.0/26 via"), "the route is gone", SECONDS)
        self._screen.show_routes(node1, node2)

        self._screen.step("A record for the reflector: nothing peers with it yet")
        self._screen.command(rr1, "rr", "add", RR1, "--cluster-id", "1.0.0.1")
        self._screen.show_sessions(rr1)

        if self._picture:
            self._console.export_text()  # forget the output so far, which is not part of the picture
        self._screen.step("All nodes peer with the reflector: the routes are back, and go straight to the nodes")
        done = len(rr1.rrwatch.all("configured"))
        self._screen.command(node1, "peer", "add", RR1, "as", "65100")
        self._screen.command(node1, "peer", "list")
        self._screen.event(rr1, "configured", "sessions_added", "cause", "took_ms", after=done)
        self._wait(rr1, *(f"Global_{address.replace('.', '_')}" for address in NODES.values()))
        self._wait_for_route(node1, "192.168.0.64/26")
        self._wait_for_route(node2, "192.168.0.0/26 via")
        self._screen.show_sessions(rr1)
        self._screen.show_routes(node1, node2)
        if self._picture:
            drawn = self._console.export_svg(title="make demo")
            # The picture should load nothing: any monospaced font of the viewer will do.
            self._picture.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")

        self._screen.step("A record that cannot be used is left out, and everything else goes on")
        lab.etcd.put(f"{PREFIX}/host/kube-node9/ip_addr_v4", '172.17.42.39; } protocol static { "')
        self._screen.event(rr1, "record_rejected", "key", "reason")
        lab.etcd.delete(f"{PREFIX}/host/kube-node9", recursive=True)

        self._screen.step("Someone edits the reflector's file by hand, and rrwatch corrects it")
        rr1.bird.config.write_text(rr1.bird.config.read_text().replace("172.17.42.32", "10.9.9.9"))
        self._screen.event(rr1, "drift_found", "found")
        wait_until(lambda: "10.9.9.9" not in rr1.bird.config.read_text(), "the right file")

        self._screen.step("A second reflector; then the first one's BIRD is killed, and no route is lost")
        rr2 = lab.add_reflector("node2", RR2)
        self._screen.command(rr2, "rr", "add", RR2, "--cluster-id", "1.0.0.1")
        self._screen.command(rr2, "peer", "add", RR2, "as", "65100")
        self._wait(rr2, "Mesh_172_17_42_40", "Global_172_17_42_30", "Global_172_17_42_31", "Global_172_17_42_32")
        self._screen.show_sessions(rr2)
        rr1.bird.kill()
        self._screen.note("node1's BIRD is dead.")
        self._screen.show_routes(node1, node2)
        rr1.bird.start()
        self._screen.event(rr1, "bird_restarted", "socket")

        self._screen.step("kube-node2's records are deleted: its session and its routes go, kube-node1's session stays")
        self._screen.show_sessions(rr2)
        for key in f"{PREFIX}/host/kube-node2", "/calico/ipam/v2/host/kube-node2":
            lab.etcd.delete(key, recursive=True)
        wait_until(lambda: "Global_172_17_42_32" not in rr2.bird.sessions(), "the session is gone", SECONDS)
        wait_until(lambda: not self._has_route(node1, "192.168.0.64/26"), "the route is gone", SECONDS)
        self._screen.show_sessions(rr2)
        self._screen.show_routes(node1)

        self._screen.step("The state of the second reflector")
        self._screen.command(rr2, "status")
        self._screen.command(rr2, "sessions")
        self._screen.note("Everything is removed again.")

    def _wait(self, host: Host, *sessions: str) -> None:
        for session in sessions:
            wait_until(lambda session=session: host.bird.is_established(session), session, SECONDS)  # type: ignore[misc]

    def _wait_for_route(self, host: Host, begin: str) -> None:
        wait_until(lambda: self._has_route(host, begin), f"the route to {begin}", SECONDS)

    def _has_route(self, host: Host, begin: str) -> bool:
        return any(route.startswith(begin) for route in host.bird_routes())


def main() -> None:
    """Runs the demonstration, and cleans up however it ends."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="no pauses")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="save the step of the first reflector as an SVG")
    parser.add_argument("--etcd", choices=("2", "3"), default="2", help="the API of etcd that has the keys")
    parser.add_argument("--calico", choices=("2", "3"), default="2", help="the release of Calico on the nodes")
    given = parser.parse_args()

    def leave(number: int, _: object) -> None:
        console.print("interrupted: removing everything")
        sys.exit(128 + number)

    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, leave)
    console = Console(record=given.picture is not None, width=100 if given.picture else None)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rrwatch-demo-")))
        pause = 0 if given.fast else 2.5
        if given.calico == "3":
            run(Screen(console, pause), stack.enter_context(calico_cluster(folder, ETCD)))
        else:
            lab = stack.enter_context(cluster(folder, f"etcdv{given.etcd}"))
            Demo(console, pause, given.picture).run(lab)


main()

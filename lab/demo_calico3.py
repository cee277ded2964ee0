"""Shows nodes of Calico 3 on their way from the full mesh to two route reflectors: `make demo CALICO=3`."""

import json

from lab.calico_cluster import CalicoCluster
from lab.cluster import Host
from lab.process import wait_until
from lab.resources import RESOURCES, block, configuration, node, peer, pool
from lab.screen import SECONDS, Screen

ETCD = "172.17.42.30"
RR1, RR2 = "172.17.42.40", "172.17.42.41"
NODES = {"kube-node1": "172.17.42.31", "kube-node2": "172.17.42.32", "kube-node3": "172.17.42.33"}
BLOCKS = {"kube-node1": "192.168.0.0/26", "kube-node2": "192.168.0.64/26", "kube-node3": "192.168.0.128/26"}
LABELS = {"kube-node1": {"rack": "1"}, "kube-node2": {"rack": "1"}, "kube-node3": {"rack": "2"}}


def run(screen: Screen, lab: CalicoCluster) -> None:
    """Runs all steps."""
    demo = _Demo(screen, lab)
    demo.mesh()
    rr1 = demo.first_reflector()
    demo.all_nodes(rr1)
    demo.mesh_off()
    demo.second_reflector(rr1)
    demo.a_typo(rr1)


class _Demo:
    def __init__(self, screen: Screen, lab: CalicoCluster) -> None:
        self._screen, self._lab = screen, lab

    def mesh(self) -> None:
        self._screen.step("Three nodes as calico-node runs them, in a full mesh")
        keys = pool("default-ipv4-ippool", "192.168.0.0/16") | configuration(asNumber=65100)
        for name, address in NODES.items():
            keys |= node(name, f"{address}/16", LABELS[name]) | block(name, BLOCKS[name])
        self._lab.apply(keys)
        self._lab.nodes.wait_established(SECONDS)
        self._wait_for_routes(*NODES)
        self._show_node("kube-node1")

    def first_reflector(self) -> Host:
        self._screen.step("A reflector that is no node: BIRD and rrwatch. Nothing peers with it yet")
        rr1 = self._lab.add_reflector("rr1", RR1)
        self._screen.command(rr1, "sessions")

        self._screen.step("A BGPPeer with a selector: the nodes in rack 1 peer with it")
        rr1.rrwatch.wait_for("configured", SECONDS)
        self._apply(peer("reflector-1", nodeSelector="rack == '1'", peerIP=RR1, asNumber=65100))
        self._screen.event(rr1, "configured", "sessions_added", "cause", "took_ms", after=1)
        self._wait(rr1, "kube-node1", "kube-node2")
        self._screen.show_sessions(rr1)
        return rr1

    def all_nodes(self, rr1: Host) -> None:
        self._screen.step("kube-node3 gets the label: it peers too; no other session is touched")
        done = len(rr1.rrwatch.all("configured"))
        address = NODES["kube-node3"]
        self._apply(node("kube-node3", f"{address}/16", {"rack": "1"}))
        self._screen.event(rr1, "configured", "sessions_added", "cause", "took_ms", after=done)
        self._wait(rr1, *NODES)
        self._screen.show_sessions(rr1)

    def mesh_off(self) -> None:
        self._screen.step("Now the mesh can be switched off: all routes stay")
        self._apply(configuration(asNumber=65100, nodeToNodeMeshEnabled=False))
        self._wait_for_routes(*NODES)
        self._show_node("kube-node1")

    def second_reflector(self, rr1: Host) -> None:
        self._screen.step("A second reflector; then the first one's BIRD is killed")
        rr2 = self._lab.add_reflector("rr2", RR2)
        for host, address in (rr1, RR1), (rr2, RR2):
            self._screen.command(host, "rr", "add", address, "--cluster-id", "1.0.0.1")
        self._apply(peer("reflector-2", peerIP=RR2, asNumber=65100))
        self._wait(rr2, *NODES, kind="Global")
        wait_until(lambda: rr2.bird.is_established("Mesh_172_17_42_40"), "the reflectors' session", SECONDS)
        self._screen.show_sessions(rr2)
        rr1.bird.kill()
        self._screen.note("rr1's BIRD is dead. The routes are still there:")
        self._wait_for_routes(*NODES)
        self._show_node("kube-node1")
        rr1.bird.start()
        self._wait(rr1, *NODES)

    def a_typo(self, rr1: Host) -> None:
        self._screen.step("A selector that cannot be read: the reason is told, the sessions stay")
        self._apply(peer("reflector-1", nodeSelector="rack = '1'", peerIP=RR1, asNumber=65100))
        self._screen.event(rr1, "record_rejected", "key", "reason")
        self._screen.command(rr1, "status")
        self._screen.note("Everything is removed again.")

    def _apply(self, keys: dict[str, str]) -> None:
        for key, value in keys.items():
            resource = json.loads(value)
            shown = {part: resource[part] for part in ("kind", "spec")}
            if labels := resource["metadata"].get("labels"):
                shown["labels"] = labels
            title = f"calicoctl apply, as it is in etcd: {key.removeprefix(f'{RESOURCES}/')}"
            self._screen.show_lines(title, json.dumps(shown, indent=2).splitlines())
        self._lab.apply(keys)

    def _show_node(self, name: str) -> None:
        rows = [f"{session:<22}{state}" for session, state in sorted(self._lab.nodes.sessions(name).items())]
        self._screen.show_lines(f"{name}: sessions", rows)
        self._screen.show_lines(f"{name}: ip route show proto bird", sorted(self._lab.nodes.routes(name)))

    def _wait(self, host: Host, *names: str, kind: str = "Node") -> None:
        for name in names:
            session = f"{kind}_{NODES[name].replace('.', '_')}"
            wait_until(lambda session=session: host.bird.is_established(session), session, SECONDS)  # type: ignore[misc]

    def _wait_for_routes(self, *names: str) -> None:
        for name in names:
            others = [block for other, block in BLOCKS.items() if other != name]
            wait_until(lambda name=name, others=others: self._has_all(name, others), f"routes of {name}", SECONDS)  # type: ignore[misc]

    def _has_all(self, name: str, blocks: list[str]) -> bool:
        routes = self._lab.nodes.routes(name)
        return all(any(route.startswith(f"{block} via") for route in routes) for block in blocks)

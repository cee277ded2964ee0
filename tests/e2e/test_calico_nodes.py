"""The lab's Calico nodes, without rrwatch: their sessions come up, and they have each other's routes."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.calico_node import CalicoNodes
from lab.network import Switch
from lab.process import wait_until
from lab.resources import block, configuration, mesh_off, node, peer, pool, secret

ADDRESSES = {"n1": "10.0.0.9", "n2": "10.0.0.10", "n3": "10.0.0.11", "n4": "10.0.0.12"}
BLOCKS = {"n1": "192.168.1.0/26", "n2": "192.168.2.0/26", "n3": "192.168.3.0/26", "n4": "192.168.4.0/26"}

POOL = pool("ipv4", "192.168.0.0/16")
MESH_OFF = mesh_off()
SECONDS = 60.0
RETRY = 6.0  # longer than the `connect retry time` of a node
PACE = 1.2  # seconds between nodes, where both ends of a session connect


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def switch(stack: contextlib.ExitStack) -> Switch:
    return Switch(stack)


@pytest.fixture
def nodes(tmp_path: Path, switch: Switch, stack: contextlib.ExitStack) -> CalicoNodes:
    return CalicoNodes(tmp_path, switch, stack)


def host(name: str, labels: dict[str, str] | None = None, **bgp: Any) -> dict[str, str]:
    """Returns the keys of a node with its block."""
    return node(name, f"{ADDRESSES[name]}/16", labels, **bgp) | block(name, BLOCKS[name])


def routes(own: str, *others: str) -> set[str]:
    """Returns a node's routes to the blocks of others, which have the metric of their origin, and to its own."""
    far = {f"{BLOCKS[name]} via {ADDRESSES[name]} dev eth0 proto bird metric 1024" for name in others}
    return far | {f"blackhole {BLOCKS[own]} proto bird"}


def wait_for_routes(nodes: CalicoNodes, wanted: dict[str, set[str]]) -> None:
    for name, rows in wanted.items():
        try:
            wait_until(lambda name=name, rows=rows: nodes.routes(name) == rows, f"routes of {name}", SECONDS)  # type: ignore[misc]
        except TimeoutError:
            assert nodes.routes(name) == rows


def never(condition: Callable[[], bool]) -> None:
    """Asserts that a condition stays false while each end tries to connect at least once."""
    end = time.monotonic() + RETRY
    while time.monotonic() < end:
        assert not condition()
        time.sleep(0.2)


def test_the_mesh_exchanges_blocks_and_follows_the_keys(nodes: CalicoNodes) -> None:
    three = POOL | host("n1") | host("n2") | host("n3")
    nodes.update(three)
    nodes.wait_established(SECONDS)
    assert set(nodes.sessions("n2")) == {"Mesh_10_0_0_9", "Mesh_10_0_0_11"}
    wait_for_routes(
        nodes, {"n1": routes("n1", "n2", "n3"), "n2": routes("n2", "n1", "n3"), "n3": routes("n3", "n1", "n2")}
    )

    before = nodes.space("n1").bgp_connections(ADDRESSES["n2"])
    nodes.update(POOL | host("n1") | host("n2") | host("n4"))
    nodes.wait_established(SECONDS)
    wait_for_routes(
        nodes, {"n1": routes("n1", "n2", "n4"), "n2": routes("n2", "n1", "n4"), "n4": routes("n4", "n1", "n2")}
    )
    assert set(nodes.sessions("n1")) == {"Mesh_10_0_0_10", "Mesh_10_0_0_12"}
    assert len(before) == 1
    assert nodes.space("n1").bgp_connections(ADDRESSES["n2"]) == before


def test_ipv6(nodes: CalicoNodes) -> None:
    six = node("n1", "10.0.0.9/16", ipv6Address="fd00::9/64") | block("n1", "fd01:0:0:1::/122")
    six |= node("n2", "fd00::10/64") | block("n2", "fd01:0:0:2::/122")
    nodes.update(six | pool("ipv6", "fd01::/48"))
    nodes.wait_established(SECONDS)
    assert nodes.sessions("n1") == {"Mesh_fd00__10": "Established"}
    far = "fd01:0:0:1::/122 via fd00::9 dev eth0 proto bird metric 1024 pref medium"
    own = "blackhole fd01:0:0:2::/122 dev lo proto bird metric 1024 pref medium"
    wait_for_routes(nodes, {"n2": {far, own}})


def test_a_reflector_among_the_nodes_passes_routes_on_as_they_are(nodes: CalicoNodes) -> None:
    keys = POOL | MESH_OFF | host("n2") | host("n3")
    keys |= host("n1", {"rr": "true"}, routeReflectorClusterID="1.0.0.1")
    nodes.update(keys | peer("rr", nodeSelector="all()", peerSelector="has(rr)"), pace=PACE)
    wait_for_routes(
        nodes, {"n1": routes("n1", "n2", "n3"), "n2": routes("n2", "n1", "n3"), "n3": routes("n3", "n1", "n2")}
    )
    assert set(nodes.sessions("n2")) == {"Node_10_0_0_9"}


def test_sessions_use_the_ports_of_nodes(nodes: CalicoNodes) -> None:
    ports = configuration(listenPort=1790) | configuration("node.n3", listenPort=1793)
    nodes.update(POOL | host("n1") | host("n2") | host("n3") | ports)
    nodes.wait_established(SECONDS)
    # A node waits for the connections of those whose address has the greater text: n2 for n3 and n1, n3 for n1.
    for near, far, port in ("n1", "n2", 1790), ("n3", "n2", 1790), ("n1", "n3", 1793):
        assert len(nodes.space(near).bgp_connections(ADDRESSES[far], port)) == 1, (near, far)
    assert not any(
        nodes.space(name).bgp_connections(address) for name in ("n1", "n2", "n3") for address in ADDRESSES.values()
    )


def test_the_password_of_the_mesh(tmp_path: Path, switch: Switch, stack: contextlib.ExitStack) -> None:
    keys = POOL | host("n1") | host("n2") | host("n3") | configuration(nodeMeshPassword=secret("bgp", "mesh"))
    first = CalicoNodes(tmp_path, switch, stack, without=["n3"])
    late = CalicoNodes(tmp_path, switch, stack, without=["n1", "n2"])
    first.update(keys, {"bgp": {"mesh": "new"}})
    late.update(keys, {"bgp": {"mesh": "old"}})
    wait_for_routes(first, {"n1": routes("n1", "n2"), "n2": routes("n2", "n1")})
    never(lambda: "Established" in late.sessions("n3").values())

    late.update(keys, {"bgp": {"mesh": "new"}})
    wait_for_routes(late, {"n3": routes("n3", "n1", "n2")})
    wait_for_routes(first, {"n1": routes("n1", "n2", "n3")})


@pytest.mark.parametrize(
    ("right", "wrong"),
    [({"password": secret("bgp", "a")}, {"password": secret("bgp", "b")}), ({"ttlSecurity": 1}, {})],
    ids=["password", "GTSM"],
)
def test_both_ends_must_agree(nodes: CalicoNodes, right: dict[str, Any], wrong: dict[str, Any]) -> None:
    def keys(of_n2: dict[str, Any]) -> dict[str, str]:
        # n1 and n3 agree, because n3 has the options of the one BGPPeer in the reverse direction.
        return (
            (POOL | MESH_OFF | host("n1") | host("n2") | host("n3"))
            | peer("a", node="n1", peerIP=ADDRESSES["n3"], asNumber=64512, **right)
            | peer("b", node="n1", peerIP=ADDRESSES["n2"], asNumber=64512, **right)
            | peer("c", node="n2", peerIP=ADDRESSES["n1"], asNumber=64512, **of_n2)
        )

    secrets = {"bgp": {"a": "one", "b": "two"}}
    nodes.update(keys(wrong), secrets, PACE)
    wait_for_routes(nodes, {"n3": routes("n3", "n1")})
    # With GTSM, n2 may hold the session for established: its first packet comes before n1 has set the limit.
    never(lambda: nodes.sessions("n1")["Node_10_0_0_10"] == "Established")
    assert nodes.routes("n2") == routes("n2")

    nodes.update(keys(right), secrets, PACE)
    wait_for_routes(nodes, {"n2": routes("n2", "n1")})

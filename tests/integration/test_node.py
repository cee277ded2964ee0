"""`rrwatch run` in the node role, between a real etcd and a real BIRD."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bird import BIRD2, MINIMAL, Bird
from lab.daemon import Rrwatch
from lab.environment import node
from lab.etcd import Etcd
from lab.process import wait_until
from tests.keys import CLUSTER, NODES, PREFIX, REFLECTOR, block, host, node_peer, pool
from tests.waits import status_of, wait_for_sessions

StartNode = Callable[..., Rrwatch]

MESH = CLUSTER | {f"{PREFIX}/global/node_mesh": '{"enabled": true}'}
ON, OFF = '{"enabled": true}', '{"enabled": false}'


@pytest.fixture
def start_node(start_rrwatch: Callable[..., Rrwatch]) -> StartNode:
    """Starts `rrwatch run` for the node kube-node1."""

    def start(etcd: Etcd, bird: Bird, **settings: str) -> Rrwatch:
        return start_rrwatch(
            etcd.url,
            bird,
            **(node("kube-node1") | settings),
        )

    return start


def test_mesh_peers_blocks_and_pools(etcd: Etcd, bird: Bird, start_node: StartNode) -> None:
    etcd.put_all(MESH | block("kube-node1", "192.168.0.0/26") | pool("192.168.0.0/16"))
    start_node(etcd, bird)
    wait_for_sessions(bird, {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"})
    assert "route 192.168.0.0/26 blackhole;" in bird.config.read_text()

    etcd.put_all(block("kube-node1", "192.168.0.64/26") | pool("10.0.0.0/8"))
    etcd.put_all(node_peer("kube-node1", "172.17.42.60"))
    etcd.put(f"{PREFIX}/host/kube-node1/as_num", "65200")
    wait_for_sessions(bird, {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40", "Node_172_17_42_60"})
    for statement in "route 192.168.0.64/26 blackhole;", "if ( net ~ 10.0.0.0/8 ) then", "local as 65200;":
        wait_until(lambda statement=statement: statement in bird.config.read_text(), statement)  # type: ignore[misc]


def test_only_what_it_needs_among_two_thousand_others(etcd: Etcd, bird: Bird, start_node: StartNode) -> None:
    others = {
        f"{PREFIX}/host/other{number}/ip_addr_v4": f"10.0.{number >> 8}.{number & 255}" for number in range(1, 2001)
    }
    etcd.put_all(CLUSTER | others)
    rrwatch = start_node(etcd, bird)
    wait_for_sessions(bird, {"Global_172_17_42_40"})
    assert sum(event["keys"] for event in rrwatch.all("etcd_synced")) == 5
    for number in range(1, 101):
        etcd.put(f"{PREFIX}/host/other{number}/ip_addr_v4", f"10.1.0.{number}")
    etcd.put_all(node_peer("kube-node1", "172.17.42.60"))
    rrwatch.wait_for("configured", sessions_added=["Node_172_17_42_60"])
    told = status_of(rrwatch)
    assert (told["etcd"]["keys"], told["etcd"]["events"]) == (6, 1)

    etcd.put(f"{PREFIX}/global/node_mesh", ON)
    mesh = rrwatch.wait_for("configured", sessions_added_count=len(NODES) - 1 + 2000)
    assert mesh["sessions"] == len(bird.sessions()) == len(NODES) - 1 + 2000 + 2
    wide = len(rrwatch.all("etcd_synced", prefix=f"{PREFIX}/host"))
    assert wide == 1

    etcd.put(f"{PREFIX}/global/node_mesh", OFF)
    wait_for_sessions(bird, {"Global_172_17_42_40", "Node_172_17_42_60"})
    etcd.put(f"{PREFIX}/host/other1/ip_addr_v4", "10.9.9.9")
    etcd.delete(f"{PREFIX}/host/kube-node1/peer_v4/172.17.42.60")
    wait_for_sessions(bird, {"Global_172_17_42_40"})
    wait_until(lambda: status_of(rrwatch)["etcd"]["keys"] == 5, "the other nodes' keys are gone")


def test_one_proof_of_the_majority_serves_all_folders(etcd: Etcd, bird: Bird, start_node: StartNode) -> None:
    etcd.put_all(CLUSTER | block("kube-node1", "192.168.0.0/26") | pool("192.168.0.0/16"))
    start_node(etcd, bird, RRWATCH_ETCD_WATCH_TIMEOUT="5")
    wait_for_sessions(bird, {"Global_172_17_42_40"})
    listed = etcd.reads()
    wait_until(lambda: etcd.reads() > listed, "the first quiet watch to end", 20)
    # All watches were opened together, so those of the other folders end with it.
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert etcd.reads() == listed + 1


def test_starting_under_a_mesh_never_takes_it_away(etcd: Etcd, bird: Bird, start_node: StartNode) -> None:
    etcd.put_all(MESH)
    first = start_node(etcd, bird)
    wait_for_sessions(bird, {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"})
    first.stop()
    done = bird.reconfigurations()
    second = start_node(etcd, bird)
    second.wait_for("confirmed")
    assert bird.reconfigurations() == done
    assert not second.all("configured")


def test_it_waits_for_its_own_record_and_says_so(etcd: Etcd, bird: Bird, start_node: StartNode) -> None:
    own = host("kube-node1", NODES["kube-node1"])
    etcd.put_all({key: value for key, value in MESH.items() if key not in own})
    rrwatch = start_node(etcd, bird)
    assert rrwatch.wait_for("waiting_for_key")["key"] == f"{PREFIX}/host/kube-node1/ip_addr_v4"
    assert bird.reconfigurations() == 0

    etcd.delete(f"{PREFIX}/global/as_num")
    etcd.put_all(own)
    assert rrwatch.wait_for("waiting_for_key", after=1)["key"] == f"{PREFIX}/global/as_num"
    etcd.put(f"{PREFIX}/global/as_num", "65100")
    wait_for_sessions(bird, {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"})

    etcd.delete(f"{PREFIX}/host/kube-node1", recursive=True)
    rrwatch.wait_for("waiting_for_key", after=2)
    assert bird.sessions() == {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"}


def test_bad_pools_and_blocks_cost_only_themselves(etcd: Etcd, bird: Bird, start_node: StartNode) -> None:
    bad = {
        "/calico/v1/ipam/v4/pool/host-bits": '{"cidr": "10.0.0.1/8"}',
        "/calico/v1/ipam/v4/pool/family": '{"cidr": "fd00::/64"}',
        "/calico/v1/ipam/v4/pool/overlap": '{"cidr": "192.168.4.0/24"}',
        **block("kube-node1", "192.168.0.1/26"),
        **block("kube-node1", "192.168.0.16/28"),
        f"{PREFIX}/host/twin/ip_addr_v4": NODES["kube-node2"],
    }
    etcd.put_all(MESH | pool("192.168.0.0/16") | block("kube-node1", "192.168.0.0/26") | bad)
    rrwatch = start_node(etcd, bird, RRWATCH_LOG_LEVEL="debug")
    wait_for_sessions(bird, {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"})
    rrwatch.wait_for("configured")
    rejected = {event["key"]: event["reason"] for event in rrwatch.all("record_rejected")}
    assert set(rejected) == set(bad)
    assert "address of node kube-node2 too" in rejected[f"{PREFIX}/host/twin/ip_addr_v4"]
    text = bird.config.read_text()
    assert text.count("blackhole;") == 1
    assert text.count("if ( net ~ 192.168.0.0/16 )") == 1


def test_a_pool_that_wants_a_tunnel(etcd: Etcd, bird: Bird, tmp_path: Path, start_node: StartNode) -> None:
    question = tmp_path / "bird.cfg"
    question.write_text(MINIMAL + "filter tunnels { onlink = true; accept; }\n")
    has_tunnels = not bird.release.refuses(question)
    assert has_tunnels or bird.release is not BIRD2
    etcd.put_all(MESH | pool("192.168.0.0/16", "tunl0"))

    rrwatch = start_node(etcd, bird)
    wait_for_sessions(bird, {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"})

    assert ('ifname = "tunl0";' in bird.config.read_text()) is has_tunnels
    rrwatch.wait_for("configured")
    warned = [event["key"] for event in rrwatch.all("record_warning")]
    assert warned == ([] if has_tunnels else ["/calico/v1/ipam/v4/pool/192.168.0.0-16"])


def test_custom_filters(etcd: Etcd, bird: Bird, start_node: StartNode) -> None:
    folder = f"{PREFIX}/global/custom_filters/v4"
    etcd.put_all(MESH | {f"{folder}/10": "if net = 0.0.0.0/0 then reject;", f"{folder}/20": "no statement"})
    off = start_node(etcd, bird)
    off.wait_for("configured")
    assert "custom_filters" not in bird.config.read_text()
    off.stop()

    on = start_node(etcd, bird, RRWATCH_CUSTOM_FILTERS="on")
    on.wait_for("configured")
    assert "if net = 0.0.0.0/0 then reject;" in bird.config.read_text()
    assert "no statement" not in bird.config.read_text()
    assert on.wait_for("record_rejected")["key"] == f"{folder}/20"
    etcd.put(f"{folder}/20", "if net ~ 10.0.0.0/8 then reject;")
    wait_until(lambda: "10.0.0.0/8 then reject" in bird.config.read_text(), "the corrected filter")


def test_ipv6_comes_and_goes_with_the_nodes_address(etcd: Etcd, bird: Bird, bird6: Bird, start_node: StartNode) -> None:
    etcd.put_all(MESH | {f"{PREFIX}/host/kube-node2/ip_addr_v6": "fd00::32"})
    four = {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"} if bird6 is bird else set[str]()
    start_node(etcd, bird).wait_for("configured")
    assert bird6.sessions() == four

    etcd.put(f"{PREFIX}/host/kube-node1/ip_addr_v6", "fd00::31")
    wait_for_sessions(bird6, four | {"Mesh_fd00__32"})
    etcd.put(f"{PREFIX}/host/kube-node1/ip_addr_v6", "")
    wait_for_sessions(bird6, four)


def test_the_reflector_is_no_neighbor_of_itself(etcd: Etcd, bird: Bird, start_node: StartNode) -> None:
    etcd.put_all(CLUSTER | host("rr", REFLECTOR))
    start_node(etcd, bird, NODENAME="rr").wait_for("configured")
    assert bird.sessions() == set()

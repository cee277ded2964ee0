"""The commands for records with a real etcd: they write the keys and JSON that Calico's own tools wrote."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from lab.etcd import Etcd
from lab.process import free_port
from tests.keys import CLUSTER, PREFIX, global_peer, node_peer, reflector

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(etcd: Etcd) -> Run:
    """Runs a command with the settings of that etcd."""

    def run(command: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rrwatch", *command.split(), *more],
            env={"PATH": os.environ["PATH"], "ETCD_ENDPOINTS": etcd.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_reflectors(etcd: Etcd, run: Run) -> None:
    assert run("rr list").stdout == "none\n"
    assert (
        run("rr add 172.17.42.40 --cluster-id 1.0.0.1").stdout == "reflector 172.17.42.40, cluster id 1.0.0.1: added\n"
    )
    assert etcd.items(PREFIX) == reflector("172.17.42.40")
    assert run("rr add 172.17.42.40 --cluster-id 16777217").stdout.endswith("unchanged\n")
    assert run("rr add 172.17.42.40 --cluster-id 2").stdout.endswith("cluster id 0.0.0.2: changed\n")
    assert run("rr add FD00:0::28").returncode == 0
    assert etcd.items(PREFIX) == reflector("172.17.42.40", "0.0.0.2") | reflector("fd00::28", "")
    assert json.loads(run("rr list --json").stdout) == [
        {"address": "172.17.42.40", "cluster_id": "0.0.0.2"},
        {"address": "fd00::28", "cluster_id": None},
    ]
    assert run("rr remove 172.17.42.40").stdout == "reflector 172.17.42.40: removed\n"
    assert run("rr remove 172.17.42.40").stdout == "reflector 172.17.42.40: not found\n"
    assert etcd.items(PREFIX) == reflector("fd00::28", "")


def test_peers(etcd: Etcd, run: Run) -> None:
    assert run("peer add 172.17.42.40 as 65100").stdout == "global peer 172.17.42.40 in AS 65100: added\n"
    assert run("peer add 172.17.42.41 1.10 --node kube-node1").returncode == 0
    assert run("peer add FD00::28 as 65100").returncode == 0
    wanted = global_peer("172.17.42.40") | node_peer("kube-node1", "172.17.42.41", '"65546"') | global_peer("fd00::28")
    assert etcd.items(PREFIX) == wanted
    assert run("peer add 172.17.42.40 as 0.65100").stdout.endswith("unchanged\n")

    rows = [line.split() for line in run("peer list").stdout.splitlines()]
    assert rows == [
        ["node", "address", "AS"],
        ["(all", "nodes)", "172.17.42.40", "65100"],
        ["(all", "nodes)", "fd00::28", "65100"],
        ["kube-node1", "172.17.42.41", "65546"],
    ]
    assert json.loads(run("peer list --json --node kube-node1").stdout) == [
        {"node": "kube-node1", "address": "172.17.42.41", "as_number": 65546}
    ]
    assert run("peer remove 172.17.42.41").stdout.endswith("not found\n")
    assert run("peer remove 172.17.42.41 --node kube-node1").stdout.endswith("removed\n")
    assert run("peer remove 172.17.42.40").stdout.endswith("removed\n")
    assert etcd.items(PREFIX) == global_peer("fd00::28")


def test_a_record_is_removed_however_it_is_spelled(etcd: Etcd, run: Run) -> None:
    etcd.put(f"{PREFIX}/global/peer_v6/FD00:0::28", '{"ip": "FD00::28", "as_num": 65100}')
    etcd.put(f"{PREFIX}/global/peer_v6/fd00::28", "{broken")
    assert run("peer remove fd00::28").stdout.endswith("removed\n")
    assert etcd.items(PREFIX) == {}


def test_mesh(etcd: Etcd, run: Run) -> None:
    assert run("node-mesh show").stdout == "on\n"
    assert run("node-mesh off").stdout == "node mesh off: added\n"
    assert etcd.items(PREFIX) == {f"{PREFIX}/global/node_mesh": '{"enabled": false}'}
    assert run("node-mesh off").stdout == "node mesh off: unchanged\n"
    assert run("node-mesh show").stdout == "off\n"
    assert json.loads(run("node-mesh show --json").stdout) == {"enabled": False}
    assert run("node-mesh on").stdout == "node mesh on: changed\n"
    assert etcd.items(PREFIX) == {f"{PREFIX}/global/node_mesh": '{"enabled": true}'}


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("rr add 127.0.0.1", "address: '127.0.0.1' is a loopback address"),
        ("rr add ten", "address: 'ten' is not an IPv4 address"),
        ("rr add 10.0.0.1 --cluster-id x", "cluster id: cluster_id 'x' is neither"),
        ("rr add", "Missing argument 'ADDRESS'"),
        ("peer add 10.0.0.1", "AS number: want one, as in: peer add 172.17.42.40 as 65100"),
        ("peer add 10.0.0.1 as", "AS number: want one"),
        ("peer add 10.0.0.1 as 0", "AS number: '0' is not an AS number"),
        ("peer add 10.0.0.1 as 1 --node a/b", "node: 'a/b' is not a name"),
        ("peer add 10.0.0.1 as 1 --node a;b", "node: 'a;b' is not a name"),
        ("node-mesh maybe", "No such command 'maybe'"),
    ],
)
def test_misuse_is_told_in_one_line_and_changes_nothing(etcd: Etcd, run: Run, command: str, line: str) -> None:
    etcd.put_all(CLUSTER)
    done = run(command)
    assert done.returncode == 2
    assert done.stderr.startswith(f"rrwatch: {line}")
    assert done.stderr.count("\n") == 1
    assert etcd.items(PREFIX) == CLUSTER


def test_etcd_away(run: Run) -> None:
    done = run("rr add 10.0.0.1 --timeout 0.3 --etcd-endpoints", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("node", ["a?b", "50%", "a%2Fb", "a&b"])
def test_a_node_with_a_name_that_urls_quote(etcd: Etcd, run: Run, node: str) -> None:
    assert run("peer add 10.0.0.1 as 65100 --node", node).stdout.endswith("added\n")
    assert etcd.items(PREFIX) == node_peer(node, "10.0.0.1")
    assert run("peer list --node", node).stdout.count(node) == 1
    assert run("peer remove 10.0.0.1 --node", node).stdout.endswith("removed\n")
    assert etcd.items(PREFIX) == {}


@pytest.mark.parametrize("node", [".", "..", "_hidden"])
def test_a_node_whose_keys_etcd_cannot_show(etcd: Etcd, run: Run, node: str) -> None:
    done = run("peer add 10.0.0.1 as 65100 --node", node)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be a key" in done.stderr
    assert done.stderr.count("\n") == 1
    assert etcd.items(PREFIX) == {}

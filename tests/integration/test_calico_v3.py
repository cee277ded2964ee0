"""All commands, and the daemon, with Calico's v3 resources, on an etcd that serves the v3 API only."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bird import Bird
from lab.daemon import Rrwatch
from lab.environment import beside
from lab.environment import node as as_node
from lab.etcd import Etcd
from lab.etcd_v3 import EtcdV3
from tests.command import Run
from tests.keys import CLUSTER as V1_CLUSTER
from tests.keys import REFLECTOR
from tests.resources import configuration, mesh_off, node, peer, reflector_record, resource, resource_key
from tests.waits import wait_for_sessions

V3 = {"RRWATCH_DATASTORE": "etcdv3"}
NODES = {"n1": "172.17.42.31", "n2": "172.17.42.32", "n3": "172.17.42.33"}
RACK1 = {"rack": "1"}
CLUSTER = (
    mesh_off(asNumber=65100)
    | node("n1", NODES["n1"], RACK1)
    | node("n2", NODES["n2"], {"rack": "2"}, asNumber=65102)
    | node("n3", NODES["n3"])
    | configuration("node.n1", listenPort=1790)
    | peer("rr", nodeSelector="has(rack)", peerIP=REFLECTOR, asNumber=65100)
    | resource("ClusterInformation", "default", {"clusterGUID": "8e5e", "datastoreReady": True})
    | {"/calico/resources/v3/projectcalico.org/workloadendpoints/default/x": "{}"}
)


def sessions_with(*nodes: str, kind: str = "Node") -> set[str]:
    return {f"{kind}_{NODES[name].replace('.', '_')}" for name in nodes}


class TestDaemon:
    def test_it_follows_nodes_labels_and_peers(
        self, etcd_v3: EtcdV3, bird: Bird, start_rrwatch: Callable[..., Rrwatch]
    ) -> None:
        etcd_v3.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd_v3.url, bird, **V3)
        rrwatch.wait_for("configured")
        wait_for_sessions(bird, sessions_with("n1", "n2"))
        text = bird.config.read_text()
        assert "neighbor 172.17.42.31 port 1790 as 65100;" in text
        assert "neighbor 172.17.42.32 as 65102;" in text

        etcd_v3.put_all(node("n3", NODES["n3"], RACK1))
        wait_for_sessions(bird, sessions_with("n1", "n2", "n3"))
        etcd_v3.delete(resource_key("Node", "n1"))
        wait_for_sessions(bird, sessions_with("n2", "n3"))
        etcd_v3.put_all(peer("all", peerIP=REFLECTOR, asNumber=65100))
        wait_for_sessions(bird, sessions_with("n2", "n3", kind="Global"))

    def test_reflectors_know_each_other_by_records_written_with_rr(
        self, run: Run, etcd_v3: EtcdV3, bird: Bird, start_rrwatch: Callable[..., Rrwatch]
    ) -> None:
        etcd_v3.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd_v3.url, bird, **V3)
        rrwatch.wait_for("configured")
        for address in REFLECTOR, "172.17.42.41":
            done = run("rr", "add", address, "--cluster-id", "1.0.0.1", ETCD_ENDPOINTS=etcd_v3.url, **V3)
            assert (done.returncode, done.stderr) == (0, "")
        wait_for_sessions(bird, sessions_with("n1", "n2") | {"Mesh_172_17_42_41"})
        assert "rr cluster id 1.0.0.1;" in bird.config.read_text()

    def test_what_is_not_about_bgp_changes_nothing(
        self, etcd_v3: EtcdV3, bird: Bird, start_rrwatch: Callable[..., Rrwatch]
    ) -> None:
        etcd_v3.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd_v3.url, bird, **V3)
        rrwatch.wait_for("configured")
        wait_for_sessions(bird, sessions_with("n1", "n2"))
        busy = json.loads(CLUSTER[resource_key("Node", "n1")])
        busy["metadata"]["annotations"] = {"projectcalico.org/kube-labels": "{}"}
        busy["status"] = {"wireguardPublicKey": "x"}
        etcd_v3.put(resource_key("Node", "n1"), json.dumps(busy))
        etcd_v3.put_all(mesh_off(asNumber=65100, serviceClusterIPs=[{"cidr": "10.0.0.0/8"}]))
        etcd_v3.put_all(node("n3", NODES["n3"], RACK1))
        wait_for_sessions(bird, sessions_with("n1", "n2", "n3"))
        assert bird.reconfigurations() == 2

    def test_a_selector_that_matches_no_more_is_held(
        self, etcd_v3: EtcdV3, bird: Bird, start_rrwatch: Callable[..., Rrwatch]
    ) -> None:
        nodes = {f"n{number}": f"10.0.0.{number}" for number in range(1, 9)}
        etcd_v3.put_all(CLUSTER)
        for name, address in nodes.items():
            etcd_v3.put_all(node(name, address, RACK1))
        rrwatch = start_rrwatch(etcd_v3.url, bird, **V3)
        rrwatch.wait_for("configured")
        wanted = {f"Node_10_0_0_{number}" for number in range(1, 9)}
        wait_for_sessions(bird, wanted)
        etcd_v3.put_all(peer("rr", nodeSelector="has(rakc)", peerIP=REFLECTOR, asNumber=65100))
        assert "8 of 8 sessions would end" in rrwatch.wait_for("held")["reason"]
        assert bird.sessions() == wanted
        etcd_v3.put_all(peer("rr", nodeSelector="has(rack)", peerIP=REFLECTOR, asNumber=65100))
        rrwatch.wait_for("hold_ended")
        assert bird.sessions() == wanted

    @pytest.mark.parametrize("number", [2, 8])
    def test_all_that_is_deleted_in_one_revision_is_held(
        self, etcd_v3: EtcdV3, bird: Bird, start_rrwatch: Callable[..., Rrwatch], number: int
    ) -> None:
        """The only BGPPeer is a single deletion in its folder, but not the only one in the revision."""
        keys = mesh_off(asNumber=65100) | peer("rr", nodeSelector="has(rack)", peerIP=REFLECTOR, asNumber=65100)
        for last in range(number):
            keys |= node(f"n{last}", f"10.0.0.{last + 1}", RACK1)
        etcd_v3.put_all(keys)
        rrwatch = start_rrwatch(etcd_v3.url, bird, **V3)
        wanted = {f"Node_10_0_0_{last + 1}" for last in range(number)}
        wait_for_sessions(bird, wanted)
        etcd_v3.delete("/calico/resources", recursive=True)
        assert f"{number} of {number} sessions would end" in rrwatch.wait_for("held")["reason"]
        assert bird.sessions() == wanted
        etcd_v3.put_all(keys)
        rrwatch.wait_for("hold_ended")
        etcd_v3.delete(resource_key("BGPPeer", "rr"))
        wait_for_sessions(bird, set())


class TestCommands:
    def test_sessions_of_a_reflector_and_once(self, run: Run, etcd_v3: EtcdV3, bird: Bird) -> None:
        etcd_v3.put_all(CLUSTER)
        settings = beside(bird, etcd_v3.url) | V3
        done = run("sessions", "--json", **settings)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["source"] == "etcd"
        first, second = json.loads(done.stdout)["sessions"]
        assert first == {
            "name": "Node_172_17_42_31", "kind": "node", "family": 4, "neighbor": "172.17.42.31", "local_as": 65100,
            "remote_as": 65100, "rr_client": True, "cluster_id": None, "node": "n1",
            "key": "/calico/resources/v3/projectcalico.org/bgppeers/rr", "port": 1790, "password": False,
            "passive": False, "ttl_security": None, "source_address": REFLECTOR, "graceful_restart_time": None,
            "keepalive_time": None, "daemon": None, "derived": True, "kept_by": None, "state": None, "since": None,
            "last_error": None, "losses": 0, "losses_last_hour": 0,
        }  # fmt: skip
        assert (second["local_as"], second["remote_as"], second["rr_client"]) == (65100, 65102, False)
        assert run("once", **settings).returncode == 0
        wait_for_sessions(bird, sessions_with("n1", "n2"))

    def test_sessions_of_a_node(self, run: Run, etcd_v3: EtcdV3) -> None:
        etcd_v3.put_all(CLUSTER)
        done = run("sessions", "--json", ETCD_ENDPOINTS=etcd_v3.url, **V3, **as_node("n1"))
        assert (done.returncode, done.stderr) == (0, "")
        (session,) = json.loads(done.stdout)["sessions"]
        assert (session["name"], session["source_address"]) == ("Node_172_17_42_40", NODES["n1"])

    @pytest.mark.parametrize("command", ["run", "once", "render"])
    def test_a_node_is_not_configured(self, run: Run, etcd_v3: EtcdV3, command: str) -> None:
        done = run(command, ETCD_ENDPOINTS=etcd_v3.url, **V3, **as_node("n1"))
        assert done.returncode == 2
        assert done.stderr == (
            "rrwatch: role is node and model is calico-v3: rrwatch prints the sessions of such a node (`rrwatch "
            "sessions`), but does not configure its BIRD; calico-node does\n"
        )

    @pytest.mark.parametrize("command", ["run", "once", "render", "sessions"])
    def test_resources_are_not_in_etcd_v2(self, run: Run, etcd: Etcd, command: str) -> None:
        done = run(command, ETCD_ENDPOINTS=etcd.url, RRWATCH_MODEL="calico-v3")
        assert done.returncode == 2
        assert done.stderr == (
            "rrwatch: model is calico-v3 and datastore is etcdv2: Calico keeps its resources in etcd v3, set datastore "
            "to etcdv3\n"
        )

    @pytest.mark.parametrize(
        ("words", "resources"),
        [
            (("peer", "add", REFLECTOR, "as", "65100"), "peers are BGPPeer resources"),
            (("peer", "list"), "peers are BGPPeer resources"),
            (
                ("node-mesh", "off"),
                "the node mesh is switched by nodeToNodeMeshEnabled of ",
            ),
        ],
    )
    def test_what_calicoctl_writes_is_refused(
        self, run: Run, etcd_v3: EtcdV3, words: tuple[str, ...], resources: str
    ) -> None:
        done = run(*words, ETCD_ENDPOINTS=etcd_v3.url, **V3)
        assert done.returncode == 2
        assert done.stderr.startswith(f"rrwatch: model is calico-v3: there {resources}")
        assert done.stderr.endswith(", see `calicoctl apply`; for keys of Calico up to 2.6 set model to calico-v1\n")
        assert not etcd_v3.items("/calico")

    def test_check_finds_keys_of_the_other_model(self, run: Run, etcd_v3: EtcdV3, bird: Bird) -> None:
        etcd_v3.put_all(V1_CLUSTER)
        assert self.etcd_finding(run, etcd_v3, bird) == (
            False, "no keys of the model that is set, but of calico-v1", "set model to calico-v1",
        )  # fmt: skip
        etcd_v3.delete("/calico", recursive=True)
        etcd_v3.put_all(CLUSTER | reflector_record(REFLECTOR))
        assert self.etcd_finding(run, etcd_v3, bird, RRWATCH_MODEL="calico-v1") == (
            False, "no keys of the model that is set, but of calico-v3", "set model to calico-v3",
        )  # fmt: skip
        good, text, _ = self.etcd_finding(run, etcd_v3, bird)
        assert good
        assert text.startswith("3 keys below /calico/resources/v3/projectcalico.org/nodes, 1 keys below ")

    def test_check_says_what_run_refuses(self, run: Run, etcd_v3: EtcdV3, bird: Bird) -> None:
        etcd_v3.put_all(CLUSTER)
        settings = beside(bird, etcd_v3.url, RRWATCH_STATUS_LISTEN="") | V3 | as_node("n1")
        for more, reason in (
            ({}, "role is node and model is calico-v3: "),
            ({"RRWATCH_DATASTORE": "etcdv2", "RRWATCH_MODEL": "calico-v3"}, "model is calico-v3 and datastore is "),
        ):
            done = run("check", "--json", "--user", "root", **settings | more)
            assert done.returncode == 1
            found = json.loads(done.stdout)
            assert any(not one["good"] and one["text"].startswith(reason) for one in found)
            assert not any(one["subject"].startswith(("bird", "file", "templates")) for one in found)

    def etcd_finding(self, run: Run, etcd: EtcdV3, bird: Bird, **variables: str) -> tuple[bool, str, str]:
        settings = beside(bird, etcd.url, RRWATCH_STATUS_LISTEN="") | V3 | variables
        done = run("check", "--json", "--user", "root", **settings)
        (found,) = (one for one in json.loads(done.stdout) if one["subject"].startswith("etcd"))
        return found["good"], found["text"], found["hint"]


class TestFilesOfKeys:
    """`--keys` knows the data model by the names of the keys."""

    def sessions(self, run: Run, path: Path, keys: dict[str, str], **variables: str) -> set[str]:
        path.write_text(json.dumps(keys))
        done = run("sessions", "--json", "--keys", str(path), **variables)
        assert (done.returncode, done.stderr) == (0, "")
        return {session["name"] for session in json.loads(done.stdout)["sessions"]}

    def test_a_reflector(self, run: Run, tmp_path: Path) -> None:
        assert self.sessions(run, tmp_path / "keys", CLUSTER) == sessions_with("n1", "n2")

    def test_a_node(self, run: Run, tmp_path: Path) -> None:
        assert self.sessions(run, tmp_path / "keys", CLUSTER, **as_node("n2")) == {"Node_172_17_42_40"}

    def test_records_of_reflectors_do_not_make_it_v1(self, run: Run, tmp_path: Path) -> None:
        keys = CLUSTER | reflector_record(REFLECTOR) | reflector_record("172.17.42.41")
        assert self.sessions(run, tmp_path / "keys", keys) == sessions_with("n1", "n2") | {"Mesh_172_17_42_41"}

    def test_keys_of_v1_with_the_datastore_of_v3(self, run: Run, tmp_path: Path) -> None:
        found = self.sessions(run, tmp_path / "keys", V1_CLUSTER, **V3)
        assert {name.split("_")[0] for name in found} == {"Global"}

    def test_render(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "keys").write_text(json.dumps(CLUSTER))
        done = run("render", "--keys", str(tmp_path / "keys"), RRWATCH_BIRD_VERSION="2")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("protocol bgp Node_") == 2

    def test_a_model_that_is_set_counts(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "keys").write_text(json.dumps(CLUSTER))
        done = run("sessions", "--keys", str(tmp_path / "keys"), RRWATCH_MODEL="calico-v1")
        assert done.returncode == 1
        assert "want keys as Calico writes them, like /calico/bgp/v1/host/NODE/ip_addr_v4" in done.stderr

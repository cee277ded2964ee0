"""When what is known of the cluster is enough to go by."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rrwatch.bgp.topology import Family
from rrwatch.daemon.cluster import Cluster
from rrwatch.datastore.folders import Folders
from rrwatch.datastore.follow import Alarm
from rrwatch.datastore.port import Change, Changes, Snapshot
from rrwatch.guard.baseline import StateFolder
from rrwatch.settings.values import RoleName
from tests.daemon.conftest import Passes
from tests.datastore.test_folders import Silent
from tests.keys import CLUSTER, PREFIX, global_peer, host

NODE = "kube-node1"
MESH = CLUSTER | {f"{PREFIX}/global/node_mesh": '{"enabled": true}'}
EIGHT = {f"n{number}": f"10.0.0.{number}" for number in range(1, 9)}
MESH_OF_EIGHT = {key: value for key, value in MESH.items() if "/host/" not in key or f"/{NODE}/" in key} | {
    key: value for name, address in EIGHT.items() for key, value in host(name, address).items()
}
OFF = MESH | {f"{PREFIX}/global/node_mesh": '{"enabled": false}'}


class Node:
    """A node whose folders a test lists one by one."""

    def __init__(self, passes: Callable[..., Passes]) -> None:
        self.passes = passes(role=RoleName.NODE, nodename=NODE, families=(Family.IPV4,), ip=None)
        self.folders = Folders(Silent)
        self.role = self.passes.settings.role
        self.cluster = Cluster(self.role, self.folders, self.passes.reconciler)
        self.cluster.start()
        self.index = 0

    def list(self, prefix: str, items: Mapping[str, str]) -> None:
        self.index += 1
        below = {key: value for key, value in items.items() if key.startswith(prefix + "/")}
        self.cluster.take(Snapshot(prefix, below, self.index, "c", "http://e"))

    def list_all(self, items: Mapping[str, str]) -> "Node":
        """Lists every folder, also those that matter under a mesh only."""
        for prefix in (*self.role.prefixes(None), f"{PREFIX}/host"):
            self.list(prefix, items)
            self.sessions()
        return self

    def put(self, items: Mapping[str, str]) -> "Node":
        """Writes keys, one after the other; those that nobody follows make no event."""
        for key, value in items.items():
            if any(key.startswith(prefix + "/") for prefix in self.folders.wanted):
                self._change(key, Change(key, value))
        return self

    def delete(self, key: str) -> "Node":
        """Deletes a key or a folder."""
        return self._change(f"{key}/", Change(key, None, subtree=True))

    def _change(self, path: str, change: Change) -> "Node":
        self.index += 1
        (prefix,) = (one for one in self.folders.wanted if path.startswith(one + "/"))
        self.cluster.take(Changes(prefix, (change,), self.index))
        return self

    def sessions(self) -> set[str]:
        """Runs a pass; returns the sessions that BIRD has after it."""
        self.passes.reconciler.run_pass(self.cluster.topology())
        return self.passes.bird.sessions()


@pytest.fixture
def node(passes: Callable[..., Passes]) -> Node:
    return Node(passes)


def test_a_node_under_a_mesh_does_nothing_before_it_knows_all_nodes(node: Node) -> None:
    for prefix in node.role.prefixes(None):
        assert node.sessions() == set()
        node.list(prefix, MESH)
    assert node.sessions() == set()
    assert node.passes.bird.configures == 0

    node.list(f"{PREFIX}/host", MESH)
    assert node.sessions() == {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"}


def test_a_mesh_that_is_switched_off_narrows_what_is_followed(node: Node) -> None:
    for prefix in (*node.role.prefixes(None), f"{PREFIX}/host"):
        node.list(prefix, MESH)
        node.sessions()
    node.list(f"{PREFIX}/global", OFF)
    assert len(node.sessions()) == 3  # its own folder is not known yet
    node.list(f"{PREFIX}/host/{NODE}", OFF)
    assert node.sessions() == {"Global_172_17_42_40"}
    assert node.folders.wanted == {*node.role.prefixes(None)}
    topology = node.cluster.topology()
    assert topology
    assert set(topology.hosts) == {NODE}

    # The other nodes' records, which were let go, are nothing that is missing when they are followed again.
    node.list(f"{PREFIX}/global", MESH)
    assert node.sessions() == {"Global_172_17_42_40"}
    node.list(f"{PREFIX}/host", {key: value for key, value in MESH.items() if "kube-master" not in key})
    assert node.sessions() == {"Mesh_172_17_42_32", "Global_172_17_42_40"}
    assert node.passes.reconciler.guard.hold is None


def test_a_restart_with_the_mesh_switched_off_meanwhile_forgets_the_other_nodes(
    node: Node, passes: Callable[..., Passes]
) -> None:
    for prefix in (*node.role.prefixes(None), f"{PREFIX}/host"):
        node.list(prefix, MESH)
        node.sessions()
    node.passes.reconciler.close()
    again = Node(passes)
    again.index = node.index
    for prefix in again.role.prefixes(None):
        again.list(prefix, OFF)
    assert again.sessions() == {"Global_172_17_42_40"}
    topology = again.cluster.topology()
    assert topology
    assert set(topology.hosts) == {NODE}


def test_nothing_is_derived_again_where_nothing_has_changed(node: Node) -> None:
    for prefix in (*node.role.prefixes(None), f"{PREFIX}/host"):
        node.list(prefix, MESH)
        node.sessions()
    before = node.cluster.topology()
    node.list(f"{PREFIX}/host", MESH)
    assert node.cluster.topology() is before
    node.cluster.take(Changes(f"{PREFIX}/host", (Change(f"{PREFIX}/host/x/ip_addr_v4", "10.0.0.1"),), 99))
    assert node.cluster.topology() is not before


def test_an_etcd_that_went_back_to_the_same_records_is_no_alarm_for_what_comes_later(node: Node) -> None:
    everything = node.list_all(MESH_OF_EIGHT).sessions()
    assert len(everything) == 9
    for prefix in sorted(node.folders.wanted):
        node.passes.reconciler.hear(Alarm(prefix, "http://e", "etcd went back"))
        node.list(prefix, MESH_OF_EIGHT)
    assert node.sessions() == everything
    node.delete(f"{PREFIX}/host/n8")
    assert node.sessions() == everything - {"Mesh_10_0_0_8"}
    assert node.passes.reconciler.guard.hold is None


def test_a_mesh_that_is_switched_off_again_before_all_nodes_could_be_listed(node: Node) -> None:
    for prefix in node.role.prefixes(None):
        node.list(prefix, OFF)
    assert node.sessions() == {"Global_172_17_42_40"}
    node.put({f"{PREFIX}/global/node_mesh": '{"enabled": true}'} | global_peer("172.17.42.41"))
    assert node.sessions() == {"Global_172_17_42_40"}
    node.put({f"{PREFIX}/global/node_mesh": '{"enabled": false}'})
    assert node.sessions() == {"Global_172_17_42_40", "Global_172_17_42_41"}


def test_a_follower_that_could_not_be_started_is_started_in_the_next_pass(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Silent) -> None:
        raise RuntimeError("can't start new thread")

    for prefix in node.role.prefixes(None):
        node.list(prefix, OFF)
    node.sessions()
    node.put({f"{PREFIX}/global/node_mesh": '{"enabled": true}'})
    with monkeypatch.context() as patch:
        patch.setattr(Silent, "start", fail)
        with pytest.raises(RuntimeError):
            node.sessions()
    started: list[str] = []
    monkeypatch.setattr(Silent, "start", lambda one: started.append(one.prefix))
    node.sessions()
    assert started == [f"{PREFIX}/host"]


def test_a_node_whose_baseline_is_lost_is_held_and_waits_for_no_key(
    node: Node, passes: Callable[..., Passes], tmp_path: Path
) -> None:
    everything = node.list_all(MESH_OF_EIGHT).sessions()
    again = restarted(node, passes, damage=tmp_path / "state" / "baseline.json")
    again.list_all({key: value for key, value in MESH_OF_EIGHT.items() if "/n8/" not in key})
    outcome = again.passes.reconciler.run_pass(again.cluster.topology())
    assert outcome
    assert outcome.hold
    assert (outcome.waits_for, outcome.derived) == ("", None)
    assert again.passes.bird.sessions() == everything


def held(node: Node) -> set[str]:
    """Deletes all nodes by mistake; returns the sessions, all of which are held, when this node is back."""
    everything = node.list_all(MESH_OF_EIGHT).sessions()
    node.delete(f"{PREFIX}/host")
    node.put({key: value for key, value in MESH_OF_EIGHT.items() if f"/{NODE}/" in key})
    assert node.sessions() == everything
    assert node.passes.reconciler.guard.hold
    return everything


def restarted(node: Node, passes: Callable[..., Passes], *, damage: Path | None = None) -> Node:
    node.passes.reconciler.close()
    if damage:
        damage.write_text("{")
    again = Node(lambda **values: passes(node.passes.bird, **values))
    again.index = node.index
    return again


def test_a_hold_of_a_node_under_a_mesh_survives_a_restart(node: Node, passes: Callable[..., Passes]) -> None:
    everything = held(node)
    hold = node.passes.reconciler.guard.hold
    # Of those that are missing there are fewer now than the share.
    back = {key: value for key, value in MESH_OF_EIGHT.items() if "/n7/" not in key and "/n8/" not in key}
    assert node.put(back).sessions() == everything
    again = restarted(node, passes).list_all(back)
    assert again.sessions() == everything
    assert hold
    assert again.passes.reconciler.guard.hold
    assert again.passes.reconciler.guard.hold.id == hold.id
    assert again.put(MESH_OF_EIGHT).sessions() == everything
    assert again.passes.reconciler.guard.hold is None


def test_a_release_while_a_node_under_a_mesh_was_away(
    node: Node, passes: Callable[..., Passes], tmp_path: Path
) -> None:
    held(node)
    hold = node.passes.reconciler.guard.hold
    assert hold
    again = restarted(node, passes)
    StateFolder(tmp_path / "state").ask_release(hold)
    again.list_all({key: value for key, value in MESH_OF_EIGHT.items() if "/host/" not in key or f"/{NODE}/" in key})
    assert again.sessions() == {"Global_172_17_42_40"}
    assert again.passes.reconciler.guard.hold is None


def test_a_hold_survives_a_restart_with_the_mesh_switched_off_meanwhile(
    node: Node, passes: Callable[..., Passes]
) -> None:
    held(node)
    again = restarted(node, passes)
    for prefix in again.role.prefixes(None):
        again.list(prefix, OFF)
    assert again.sessions() == {"Global_172_17_42_40"}
    assert again.passes.reconciler.guard.hold is None


OWN = {key: value for key, value in MESH_OF_EIGHT.items() if f"/{NODE}/" in key}


def test_what_goes_unasked_while_a_nodes_own_record_is_missing_counts_when_that_is_back(node: Node) -> None:
    everything = node.list_all(MESH_OF_EIGHT).sessions()
    assert node.delete(f"{PREFIX}/host/{NODE}").sessions() == everything
    assert node.delete(f"{PREFIX}/host").sessions() == everything
    assert node.put(OWN).sessions() == everything
    assert node.passes.reconciler.guard.hold
    assert node.put(MESH_OF_EIGHT).sessions() == everything
    assert node.passes.reconciler.guard.hold is None


def test_another_etcd_while_a_nodes_own_record_is_missing_counts_when_that_is_back(
    node: Node, passes: Callable[..., Passes]
) -> None:
    everything = node.list_all(MESH_OF_EIGHT).sessions()
    assert node.delete(f"{PREFIX}/host/{NODE}").sessions() == everything
    less = {key: value for key, value in MESH_OF_EIGHT.items() if "/n8/" not in key and key not in OWN}
    for prefix in sorted(node.folders.wanted):
        node.passes.reconciler.hear(Alarm(prefix, "http://e", "etcd went back"))
        node.list(prefix, less)
    assert node.sessions() == everything
    assert node.put(OWN).sessions() == everything
    again = restarted(node, passes).list_all(less | OWN)
    assert again.sessions() == everything
    assert again.passes.reconciler.guard.hold
    assert again.put(MESH_OF_EIGHT).sessions() == everything
    assert again.passes.reconciler.guard.hold is None


@pytest.mark.parametrize("restarts", [False, True])
def test_a_nodes_own_record_that_is_deleted_ends_no_hold(
    node: Node, passes: Callable[..., Passes], *, restarts: bool
) -> None:
    everything = held(node)
    assert node.delete(f"{PREFIX}/host/{NODE}").sessions() == everything
    assert node.passes.reconciler.guard.hold
    if restarts:
        without = {key: value for key, value in MESH_OF_EIGHT.items() if "/host/" not in key}
        node = restarted(node, passes).list_all(without)
    assert node.put(OWN).sessions() == everything
    assert node.passes.reconciler.guard.hold
    assert node.put(MESH_OF_EIGHT).sessions() == everything
    assert node.passes.reconciler.guard.hold is None

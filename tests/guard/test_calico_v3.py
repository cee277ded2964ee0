"""The guard on Calico's v3 resources: losses by labels and selectors, the cluster's identity, a locked datastore."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rrwatch.calico.v3 import RESOURCES, V3
from rrwatch.datastore.port import Change
from tests.guard.clusters import ROLE, Host
from tests.keys import REFLECTOR

EIGHT = range(1, 9)
V3_ROLE = ROLE.with_model(V3)
PEER = f"{RESOURCES}/bgppeers/rr"
INFORMATION = f"{RESOURCES}/clusterinformations/default"


def resource(kind: str, **spec: Any) -> str:
    return json.dumps({"kind": kind, "spec": spec})


def node_key(number: int) -> str:
    return f"{RESOURCES}/nodes/n{number}"


def node(number: int, **labels: str) -> str:
    bgp = {"ipv4Address": f"10.0.0.{number}/24"}
    return json.dumps({"kind": "Node", "metadata": {"labels": labels}, "spec": {"bgp": bgp}})


def peer(selector: str = "has(rack)", **more: Any) -> str:
    return resource("BGPPeer", nodeSelector=selector, peerIP=REFLECTOR, asNumber=64512, **more)


def information(guid: str = "aaaa", *, ready: bool = True) -> str:
    return resource("ClusterInformation", clusterGUID=guid, datastoreReady=ready)


CLUSTER = {PEER: peer(), INFORMATION: information()} | {node_key(one): node(one, rack="1") for one in EIGHT}


def names(*numbers: int) -> set[str]:
    return {f"Node_10_0_0_{number}" for number in numbers}


def new_host(folder: Path) -> Host:
    return Host(folder, is_what=V3_ROLE, prefix="/calico")


@pytest.fixture
def eight(tmp_path: Path) -> Host:
    """A host that runs sessions with eight nodes."""
    host = new_host(tmp_path).list(CLUSTER)
    assert host.settle() == names(*EIGHT)
    host.guard.keep()
    return host


def test_a_label_taken_from_one_node_ends_its_session(eight: Host) -> None:
    assert eight.put({node_key(3): node(3)}).settle() == names(*EIGHT) - names(3)
    assert not eight.guard.hold


def test_labels_taken_from_most_nodes_are_held_and_their_return_ends_that(eight: Host) -> None:
    eight.put({node_key(number): node(number) for number in range(1, 7)})
    assert eight.settle() == names(*EIGHT)
    assert eight.reason == "6 of 8 sessions would end that nobody asked to end"
    assert eight.guard.hold
    assert eight.guard.hold.loss.nodes == tuple(f"n{number}" for number in range(1, 7))

    eight.put({node_key(9): node(9, rack="1")})
    assert eight.settle() == names(*EIGHT, 9)  # what is new goes ahead

    eight.put({node_key(number): node(number, rack="2") for number in range(1, 7)})
    assert eight.settle() == names(*EIGHT, 9)
    assert not eight.guard.hold


def test_labels_taken_one_after_the_other_add_up(eight: Host) -> None:
    for number in range(1, 5):
        eight.put({node_key(number): node(number)}).settle()
        assert not eight.guard.hold
    assert eight.put({node_key(5): node(5)}).settle() == names(5, 6, 7, 8)
    assert eight.reason.startswith("1 of 4 sessions would end that nobody asked to end; 4 others ended so")


def test_a_selector_that_matches_no_more_is_held_until_it_is_released(eight: Host) -> None:
    assert eight.put({PEER: peer("has(rakc)")}).settle() == names(*EIGHT)
    assert eight.reason == "8 of 8 sessions would end that nobody asked to end"
    eight.release()
    assert eight.settle() == set()
    assert not eight.guard.hold


def test_a_selector_that_matches_others_too_takes_effect(eight: Host) -> None:
    eight.put({node_key(9): node(9), PEER: peer("all()")})
    assert eight.settle() == names(*EIGHT, 9)
    assert not eight.guard.hold


def test_a_held_selector_is_judged_again_when_it_is_put_right(eight: Host) -> None:
    eight.put({PEER: peer("has(rakc)")}).settle()
    assert eight.put({PEER: peer("has(rack) || has(zone)")}).settle() == names(*EIGHT)
    assert not eight.guard.hold
    assert json.loads(eight.in_force[PEER])["spec"]["nodeSelector"] == "has(rack) || has(zone)"


def test_a_held_peer_that_is_deleted_goes(eight: Host) -> None:
    eight.put({PEER: peer("has(rakc)")}).settle()
    assert eight.delete(PEER).settle() == set()


@pytest.mark.parametrize("value", [peer("has(rack"), peer(ttlSecurity=-1), "{", "[]", resource("BGPPeer")])
def test_a_peer_that_cannot_be_read_keeps_its_last_readable_value(eight: Host, value: str) -> None:
    assert eight.put({PEER: value}).settle() == names(*EIGHT)
    assert not eight.guard.hold
    (unreadable,) = eight.guard.settle(eight.mirror.items).unreadable
    assert unreadable.key == PEER
    assert unreadable.reason.endswith("its last readable value stays in force")


def test_nodes_deleted_one_by_one_go_at_once(eight: Host) -> None:
    for number in range(1, 8):
        eight.delete(node_key(number))
    assert eight.settle() == names(8)
    assert not eight.guard.hold


def test_nodes_deleted_in_one_revision_are_held(eight: Host) -> None:
    eight.change(*(Change(node_key(number), None) for number in EIGHT))
    assert eight.settle() == names(*EIGHT)
    assert eight.guard.hold


def test_terms_that_change_with_the_peer_that_wins_count_as_losses(eight: Host) -> None:
    secret = {"secretKeyRef": {"name": "s", "key": "k"}}
    eight.put({f"{RESOURCES}/bgppeers/rrz": peer(password=secret)}).settle()
    # Without `rr`, which comes first by name, all sessions would restart with a password.
    eight.change(Change(PEER, None), Change(node_key(7), None))
    eight.settle()
    assert eight.reason == "8 of 8 sessions would end that nobody asked to end"


class TestIdentity:
    """`clusterGUID` tells one cluster from another in the same etcd."""

    OTHER: ClassVar = {INFORMATION: information("bbbb"), PEER: peer(), node_key(1): node(1, rack="1")}

    def test_another_cluster_ends_no_session(self, eight: Host) -> None:
        eight.list(self.OTHER, index=20)
        assert eight.settle() == names(*EIGHT)
        assert "Calico's cluster is another one than before: 'bbbb', it was 'aaaa'" in eight.reason

    def test_it_is_known_over_a_restart(self, eight: Host, tmp_path: Path) -> None:
        eight.guard.close()
        again = new_host(tmp_path).list(self.OTHER, index=20)
        assert again.settle() == names(*EIGHT)
        assert "another one than before" in again.reason

        again.guard.close()
        third = new_host(tmp_path).list(CLUSTER, index=30)
        assert third.settle() == names(*EIGHT)
        assert not third.guard.hold

    def test_a_release_makes_it_the_known_one(self, eight: Host, tmp_path: Path) -> None:
        eight.list(self.OTHER, index=20).settle()
        eight.release()
        assert eight.settle() == names(1)
        eight.guard.close()
        again = new_host(tmp_path).list(self.OTHER, index=20)
        assert again.settle() == names(1)
        assert not again.guard.hold

    def test_another_cluster_with_the_same_sessions_is_none_worth_a_hold(self, eight: Host) -> None:
        eight.list(CLUSTER | {INFORMATION: information("bbbb")}, index=20)
        assert eight.settle() == names(*EIGHT)
        assert not eight.guard.hold
        # From now on it is the known one.
        assert eight.list(CLUSTER | {INFORMATION: information("bbbb")}, index=21).settle() == names(*EIGHT)

    @pytest.mark.parametrize("value", [None, "{", resource("ClusterInformation"), information("")])
    def test_without_an_identity_nothing_is_concluded(self, eight: Host, value: str | None) -> None:
        eight.change(Change(INFORMATION, value))
        assert eight.settle() == names(*EIGHT)
        assert not eight.guard.hold

    def test_when_it_is_the_known_one_again_new_nodes_count_again(self, eight: Host) -> None:
        eight.put(dict(self.OTHER) | {node_key(2): node(2)}).settle()
        assert eight.guard.hold
        assert eight.guard.hold.frozen
        eight.put({INFORMATION: information(), node_key(9): node(9, rack="1")})
        assert eight.settle() == names(*EIGHT, 9)
        assert eight.reason == "1 of 8 sessions would end that nobody asked to end"
        assert not eight.guard.hold.frozen

    def test_a_baseline_of_an_older_rrwatch_has_none(self, eight: Host, tmp_path: Path) -> None:
        eight.guard.close()
        path = tmp_path / "baseline.json"
        document = json.loads(path.read_text())
        del document["roles"]["me"]["identity"]
        path.write_text(json.dumps(document))
        again = new_host(tmp_path).list(CLUSTER, index=20)
        assert again.settle() == names(*EIGHT)
        assert not again.errors


class TestLock:
    """`datastoreReady: false` means that a migration is in progress: nothing in the datastore counts."""

    def test_nothing_ends_while_it_is_locked(self, eight: Host) -> None:
        eight.put({INFORMATION: information(ready=False)}).settle()
        assert not eight.guard.hold
        assert eight.delete(node_key(1)).settle() == names(*EIGHT)
        assert "datastoreReady is false" in eight.reason

    def test_new_sessions_go_ahead(self, eight: Host) -> None:
        eight.put({INFORMATION: information(ready=False), node_key(9): node(9, rack="1")})
        assert eight.settle() == names(*EIGHT, 9)

    def test_when_what_was_gone_is_back_the_hold_ends(self, eight: Host) -> None:
        eight.put({INFORMATION: information(ready=False)}).delete(node_key(1)).settle()
        assert eight.guard.hold
        eight.put({node_key(1): node(1, rack="1"), INFORMATION: information()})
        assert eight.settle() == names(*EIGHT)
        assert not eight.guard.hold

    def test_when_it_is_open_again_what_is_gone_waits_for_a_release_and_what_is_new_does_not(self, eight: Host) -> None:
        eight.put({INFORMATION: information(ready=False)}).delete(node_key(1)).settle()
        eight.put({INFORMATION: information(), node_key(9): node(9, rack="1")})
        assert eight.settle() == names(*EIGHT, 9)
        assert eight.reason == "1 of 8 sessions would end that nobody asked to end"
        eight.release()
        assert eight.settle() == names(*EIGHT, 9) - names(1)

    def test_open_again_after_a_restart_what_is_new_goes_ahead(self, eight: Host, tmp_path: Path) -> None:
        eight.put({INFORMATION: information(ready=False)}).delete(node_key(1)).settle()
        eight.guard.close()
        left = {key: value for key, value in CLUSTER.items() if key != node_key(1)}
        again = new_host(tmp_path).list(left | {INFORMATION: information(ready=False)}, index=20)
        assert again.settle() == names(*EIGHT)
        assert "datastoreReady is false" in again.reason
        again.put({INFORMATION: information(), node_key(9): node(9, rack="1")})
        assert again.settle() == names(*EIGHT, 9)
        assert again.reason == "1 of 8 sessions would end that nobody asked to end"


class TestAnotherModel:
    """The baseline of one data model says nothing about the keys of another one."""

    RUNNING: ClassVar = names(*EIGHT)

    @pytest.fixture
    def of_v1(self, eight: Host, tmp_path: Path) -> Path:
        eight.guard.close()
        path = tmp_path / "baseline.json"
        document = json.loads(path.read_text())
        v1 = {f"/calico/bgp/v1/host/n{number}/ip_addr_v4": f"10.0.0.{number}" for number in EIGHT}
        document["roles"]["me"] |= {"items": v1, "identity": ""}
        del document["roles"]["me"]["root"]  # as older releases wrote it
        path.write_text(json.dumps(document))
        return tmp_path

    def test_sessions_that_run_do_not_end_by_themselves(self, of_v1: Path) -> None:
        host = Host(of_v1, is_what=V3_ROLE, prefix="/calico", running=self.RUNNING)
        host.list({key: value for key, value in CLUSTER.items() if key != node_key(1)}, index=20)
        assert host.settle() == set()  # BIRD keeps what it has
        assert host.reason == (
            f"model is another one than before: keys below {RESOURCES} count, not /calico/bgp/v1; "
            "1 of 8 sessions would end that nobody asked to end"
        )
        host.guard.close()
        again = Host(of_v1, is_what=V3_ROLE, prefix="/calico", running=self.RUNNING)
        again.list({PEER: peer()}, index=30).settle()
        assert "8 of 8 sessions" in again.reason
        again.put({node_key(number): node(number, rack="1") for number in EIGHT})
        assert again.settle() == names(*EIGHT)
        assert not again.guard.hold

    def test_a_complete_set_of_keys_takes_effect(self, of_v1: Path) -> None:
        host = Host(of_v1, is_what=V3_ROLE, prefix="/calico", running=self.RUNNING).list(CLUSTER, index=20)
        assert host.settle() == names(*EIGHT)
        assert not host.guard.hold
        host.guard.close()
        again = Host(of_v1, is_what=V3_ROLE, prefix="/calico").list(CLUSTER, index=20)
        assert again.settle() == names(*EIGHT)
        assert not again.guard.hold

    def test_a_release_goes_ahead(self, of_v1: Path) -> None:
        host = Host(of_v1, is_what=V3_ROLE, prefix="/calico", running=self.RUNNING)
        host.list({PEER: peer(), node_key(1): node(1, rack="1")}, index=20).settle()
        host.release()
        assert host.settle() == names(1)
        assert not host.guard.hold

"""The oracle for Calico v3, against what Calico's own confd gave, and against the rules where Calico leaves a gap."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.confd import Cluster, node_sessions, reflector_sessions
from tests.resources import Fields, node, patched, reflector_record, resource, secret
from tests.resources import resource_key as key

FOLDER = Path(__file__).parent.parent / "cases"
NODES = json.loads((FOLDER / "calico-v3-nodes.json").read_text())["cases"]
REFLECTORS = json.loads((FOLDER / "calico-v3-reflector.json").read_text())["cases"]

# Calico has two sessions with one neighbor here; rrwatch has that of the first BGPPeer by name.
LEFT_OUT = {"explicit_peering/global-external": {"Global_10_192_0_4"}}


KINDS = {"peer": "BGPPeer", "config": "BGPConfiguration"}


def cluster(**resources: Fields) -> dict[str, str]:
    """Returns the keys of resources: `node_N` is a Node's `spec.bgp` with its labels, `peer_N` and `config_N` specs."""
    keys: dict[str, str] = {}
    for title, spec in resources.items():
        kind, _, name = title.partition("_")
        if kind == "node":
            keys |= node(name, "", spec.get("labels"), **{field: spec[field] for field in spec if field != "labels"})
        else:
            keys |= resource(KINDS[kind], name, spec)
    return keys


def named(sessions: list[Fields]) -> dict[str, Fields]:
    return {session["name"]: session for session in sessions}


def brief(sessions: list[Fields]) -> dict[str, tuple[Any, ...]]:
    return {
        session["name"]: (session["port"], session["local_as"], session["remote_as"], session["rr_client"])
        for session in sessions
    }


@pytest.mark.parametrize("case", NODES, ids=lambda case: case["case"])
def test_a_node_has_the_sessions_of_confd(case: Fields) -> None:
    keys = patched(case)
    sessions = named(node_sessions(keys, case["node"], case["secrets"]))
    assert {session.pop("key") for session in sessions.values()} <= set(keys)
    wanted = named(case["sessions"])
    for name in LEFT_OUT.get(case["case"], ()):
        del wanted[name]
    assert sessions == wanted


@pytest.mark.parametrize("case", REFLECTORS, ids=lambda case: f"{case['case']}-{case['reflector']}")
def test_a_reflector_mirrors_the_session_of_a_node(case: Fields) -> None:
    golden = case["golden"]
    sessions = reflector_sessions(
        case["keys"], case["reflector"], golden["reflector_port"] or 179, secrets=case["secrets"]
    )
    (session,) = (session for session in sessions if session["neighbor"] == golden["neighbor"])
    compared = "port", "remote_as", "local_as", "rr_client", "password"
    assert {field: session[field] for field in compared} == {field: golden[field] for field in compared}
    assert session["family"] == case["family"]
    assert session["multihop"] == (golden["ttl_hops"] or True)


class TestNodes:
    """What the golden cases do not show."""

    def test_defaults_without_a_configuration(self) -> None:
        keys = cluster(node_a={"ipv4Address": "10.0.0.1"}, node_b={"ipv4Address": "10.0.0.2/24"})
        assert brief(node_sessions(keys, "a")) == {"Mesh_10_0_0_2": (None, 64512, 64512, False)}

    def test_passive_compares_the_texts_of_addresses(self) -> None:
        keys = cluster(node_a={"ipv4Address": "10.0.0.9"}, node_b={"ipv4Address": "10.0.0.10"})
        assert [session["passive"] for session in node_sessions(keys, "a")] == [False]
        assert [session["passive"] for session in node_sessions(keys, "b")] == [True]

    def test_a_mesh_peer_without_an_as_number_is_in_the_global_as(self) -> None:
        keys = cluster(
            config_default={"asNumber": 65100},
            node_a={"ipv4Address": "10.0.0.1", "asNumber": 65101},
            node_b={"ipv4Address": "10.0.0.2"},
        )
        assert brief(node_sessions(keys, "a")) == {"Mesh_10_0_0_2": (None, 65101, 65100, False)}

    def test_nothing_is_made_of_a_peer_without_an_as_number(self) -> None:
        keys = cluster(
            config_default={"nodeToNodeMeshEnabled": False},
            node_a={"ipv4Address": "10.0.0.1"},
            node_b={"ipv4Address": "10.0.0.2"},
            peer_b={"peerIP": "10.0.0.2"},
        )
        assert node_sessions(keys, "a") == node_sessions(keys, "b") == []

    def test_the_first_peer_by_name_wins(self) -> None:
        keys = cluster(
            config_default={"nodeToNodeMeshEnabled": False},
            node_a={"ipv4Address": "10.0.0.1"},
            peer_z={"peerIP": "10.0.0.7", "asNumber": 65107},
            peer_b={"peerIP": "10.0.0.7", "asNumber": 65102},
            peer_a={"peerIP": "10.0.0.7", "asNumber": 65101, "node": "a"},
        )
        assert brief(node_sessions(keys, "a")) == {"Global_10_0_0_7": (None, 64512, 65102, False)}

    def test_the_mesh_has_precedence(self) -> None:
        keys = cluster(
            node_a={"ipv4Address": "10.0.0.1"},
            node_b={"ipv4Address": "10.0.0.2"},
            peer_b={"peerIP": "10.0.0.2", "asNumber": 64512},
        )
        assert list(named(node_sessions(keys, "a"))) == ["Mesh_10_0_0_2"]

    @pytest.mark.parametrize(("port", "agrees"), [(1790, True), (180, False), (179, False)])
    def test_the_port_of_a_node_decides_on_its_reverse_session(self, port: int, agrees: bool) -> None:
        keys = cluster(
            config_default={"nodeToNodeMeshEnabled": False, "listenPort": 180},
            **{"config_node.b": {"listenPort": 1790}},
            node_a={"ipv4Address": "10.0.0.1"},
            node_b={"ipv4Address": "10.0.0.2"},
            peer_b={"peerIP": f"10.0.0.2:{port}", "asNumber": 64512, "node": "a"},
        )
        assert list(named(node_sessions(keys, "a"))) == [f"Node_10_0_0_2_port_{port}"]
        assert list(named(node_sessions(keys, "b"))) == ["Node_10_0_0_1_port_180"] * agrees

    @pytest.mark.parametrize("port", [179, 1790])
    def test_a_node_without_a_port_may_listen_on_any(self, port: int) -> None:
        keys = cluster(
            config_default={"nodeToNodeMeshEnabled": False},
            node_a={"ipv4Address": "10.0.0.1"},
            node_b={"ipv4Address": "10.0.0.2"},
            peer_b={"peerIP": f"10.0.0.2:{port}", "asNumber": 64512, "node": "a"},
        )
        assert list(named(node_sessions(keys, "b"))) == ["Node_10_0_0_1"]

    def test_the_reverse_session_needs_the_as_of_the_node(self) -> None:
        keys = cluster(
            config_default={"nodeToNodeMeshEnabled": False},
            node_a={"ipv4Address": "10.0.0.1"},
            node_b={"ipv4Address": "10.0.0.2"},
            peer_b={"peerIP": "10.0.0.2", "asNumber": 65001, "node": "a"},
        )
        assert brief(node_sessions(keys, "a")) == {"Node_10_0_0_2": (None, 64512, 65001, False)}
        assert node_sessions(keys, "b") == []

    def test_the_reverse_session_has_the_family_of_the_address(self) -> None:
        keys = cluster(
            config_default={"nodeToNodeMeshEnabled": False},
            node_a={"ipv4Address": "10.0.0.1", "ipv6Address": "fd00::1"},
            node_b={"ipv4Address": "10.0.0.2", "ipv6Address": "fd00::2"},
            peer_b={"peerIP": "10.0.0.2", "asNumber": 64512, "node": "a"},
        )
        assert list(named(node_sessions(keys, "b"))) == ["Node_10_0_0_1"]

    def test_confd_leaves_out_a_node_peering_that_is_global_too(self) -> None:
        keys = cluster(
            node_a={"ipv4Address": "10.0.0.1"},
            peer_x={"peerIP": "10.0.0.7", "asNumber": 65007},
            peer_y={"peerIP": "10.0.0.7", "asNumber": 65008, "node": "a"},
            peer_z={"peerIP": "10.0.0.7:1790", "asNumber": 65009, "node": "a"},
        )
        assert list(named(Cluster(keys, {}).protocols("a"))) == ["Global_10_0_0_7", "Node_10_0_0_7_port_1790"]
        assert list(named(node_sessions(keys, "a"))) == ["Global_10_0_0_7"]

    @pytest.mark.parametrize(("as_number", "next_hop"), [(64512, None), (65007, "keep")])
    def test_the_next_hop_is_kept_outside_of_the_as_only(self, as_number: int, next_hop: str | None) -> None:
        spec = {"peerIP": "10.0.0.7", "asNumber": as_number, "keepOriginalNextHop": True}
        (session,) = node_sessions(cluster(node_a={"ipv4Address": "10.0.0.1"}, peer_b=spec), "a")
        assert session["next_hop"] == next_hop

    def test_addresses_are_compared_as_addresses(self) -> None:
        keys = cluster(
            config_default={"nodeToNodeMeshEnabled": False},
            node_a={"ipv6Address": "fd00::1/64"},
            node_b={"ipv6Address": "fd00::a/64"},
            peer_b={"peerIP": "[FD00:0::A]:179", "asNumber": 64512, "node": "a"},
        )
        assert list(named(node_sessions(keys, "a"))) == ["Node_fd00__a_port_179"]
        assert list(named(node_sessions(keys, "b"))) == ["Node_fd00__1"]

    def test_clients_are_those_with_another_cluster_id(self) -> None:
        keys = cluster(
            node_a={"ipv4Address": "10.0.0.1", "labels": {"rr": ""}, "routeReflectorClusterID": "1.0.0.1"},
            node_b={"ipv4Address": "10.0.0.2", "labels": {"rr": ""}, "routeReflectorClusterID": "1.0.0.1"},
            node_c={"ipv4Address": "10.0.0.3", "labels": {"rr": ""}, "routeReflectorClusterID": "1.0.0.2"},
            node_d={"ipv4Address": "10.0.0.4"},
            peer_rr={"nodeSelector": "all()", "peerSelector": "has(rr)"},
        )
        assert {name: session["cluster_id"] for name, session in named(node_sessions(keys, "a")).items()} == {
            "Node_10_0_0_2": None,
            "Node_10_0_0_3": "1.0.0.1",
            "Node_10_0_0_4": "1.0.0.1",
        }
        assert brief(node_sessions(keys, "d")) == {
            f"Node_10_0_0_{number}": (None, 64512, 64512, False) for number in (1, 2, 3)
        }

    def test_options_of_a_peer(self) -> None:
        options = {
            "password": secret("bgp", "tor"),
            "maxRestartTime": "1m59.5s",
            "keepaliveTime": "500ms",
            "ttlSecurity": 2,
            "nextHopMode": "Self",
            "keepOriginalNextHop": True,
            "localASNumber": "1.1",
            "sourceAddress": "None",
        }
        keys = cluster(node_a={"ipv4Address": "10.0.0.1"}, peer_b={"peerIP": "10.0.0.7", "asNumber": 65107} | options)
        (session,) = node_sessions(keys, "a", {"bgp": {"tor": "secret"}})
        assert session == {
            "name": "Global_10_0_0_7",
            "family": 4,
            "kind": "global",
            "neighbor": "10.0.0.7",
            "port": None,
            "remote_as": 65107,
            "local_as": 65537,
            "source_address": None,
            "passive": False,
            "password": "secret",
            "rr_client": False,
            "cluster_id": None,
            "ttl_security": "on",
            "multihop": 2,
            "graceful_restart_time": 120,
            "keepalive_time": 1,
            "next_hop": "self",
            "allow_local_as": None,
            "key": key("BGPPeer", "b"),
        }

    @pytest.mark.parametrize("value", ["", "{", "[]", '{"spec": {"peerIP": "10.0.0.7", "asNumber": true}}'])
    def test_what_cannot_be_decoded_is_left_out(self, value: str) -> None:
        keys = cluster(node_a={"ipv4Address": "10.0.0.1"}, peer_b={"peerIP": "10.0.0.8", "asNumber": 65108})
        assert list(named(node_sessions(keys | {key("BGPPeer", "a"): value}, "a"))) == ["Global_10_0_0_8"]


MESH_OFF: Fields = {"config_default": {"asNumber": 65100, "nodeToNodeMeshEnabled": False}}

RACKS: Fields = MESH_OFF | {
    "config_node.n1": {"listenPort": 1790},
    "node_n1": {"ipv4Address": "172.17.42.31/16", "labels": {"rack": "1"}},
    "node_n2": {"ipv4Address": "172.17.42.32/16", "labels": {"rack": "2"}, "asNumber": 65102},
    "node_n3": {"ipv4Address": "172.17.42.33/16"},
    "peer_a": {"peerIP": "172.17.42.40", "asNumber": 65100},
    "peer_b": {
        "nodeSelector": "rack == '1'",
        "peerIP": "172.17.42.40",
        "asNumber": 65100,
        "password": secret("s", "x"),
    },
    "peer_c": {"nodeSelector": "has(rack)", "peerIP": "172.17.42.41", "asNumber": 65100},
}


class TestReflectors:
    def test_each_node_that_peers_with_it_is_mirrored(self) -> None:
        keys = cluster(**RACKS)
        sessions = reflector_sessions(keys, "172.17.42.40", cluster_id="1.0.0.1", secrets={"s": {"x": "secret"}})
        assert brief(sessions) == {
            "Global_172_17_42_31": (1790, 65100, 65100, True),
            "Global_172_17_42_32": (None, 65100, 65102, False),
            "Global_172_17_42_33": (None, 65100, 65100, True),
        }
        assert [session["password"] for session in sessions] == [None, None, None]
        assert [session["next_hop"] for session in sessions] == [None, "keep", None]
        assert [session["cluster_id"] for session in sessions] == ["1.0.0.1", None, "1.0.0.1"]
        assert {session["source_address"] for session in sessions} == {"172.17.42.40"}
        assert brief(reflector_sessions(keys, "172.17.42.41")) == {
            "Node_172_17_42_31": (1790, 65100, 65100, True),
            "Node_172_17_42_32": (None, 65100, 65102, False),
        }

    def test_the_port_tells_reflectors_at_one_address_apart(self) -> None:
        keys = cluster(
            **MESH_OFF,
            node_a={"ipv4Address": "10.0.0.1"},
            node_b={"ipv4Address": "10.0.0.2"},
            peer_a={"peerIP": "10.0.0.9:1791", "asNumber": 65100, "node": "a"},
            peer_b={"peerIP": "10.0.0.9", "asNumber": 65100},
        )
        assert list(named(reflector_sessions(keys, "10.0.0.9"))) == ["Global_10_0_0_1", "Global_10_0_0_2"]
        assert list(named(reflector_sessions(keys, "10.0.0.9", 1791))) == ["Node_10_0_0_1"]

    def test_ends_agree_on_password_hops_and_local_as(self) -> None:
        peer = {"peerIP": "10.0.0.9", "asNumber": 65200, "localASNumber": 65200, "ttlSecurity": 3,
                "password": secret("s", "x")}  # fmt: skip
        keys = cluster(**MESH_OFF, node_a={"ipv4Address": "10.0.0.1"}, peer_a=peer)
        (session,) = reflector_sessions(keys, "10.0.0.9", secrets={"s": {"x": "secret"}})
        assert brief([session]) == {"Global_10_0_0_1": (None, 65200, 65200, True)}
        assert (session["password"], session["ttl_security"], session["multihop"]) == ("secret", "on", 3)

    def test_a_node_with_its_cluster_id_is_no_client(self) -> None:
        keys = cluster(
            **MESH_OFF,
            node_a={"ipv4Address": "10.0.0.1", "routeReflectorClusterID": "1.0.0.1"},
            node_b={"ipv4Address": "10.0.0.2", "routeReflectorClusterID": "1.0.0.2"},
            peer_a={"peerIP": "10.0.0.9", "asNumber": 65100},
        )
        sessions = reflector_sessions(keys, "10.0.0.9", cluster_id="1.0.0.1")
        assert [session["rr_client"] for session in sessions] == [False, True]

    def test_reflectors_with_records_are_a_mesh(self) -> None:
        keys = (
            cluster(**RACKS) | reflector_record("172.17.42.40", "1.0.0.1") | reflector_record("172.17.42.41", "1.0.0.1")
        )
        sessions = named(reflector_sessions(keys, "172.17.42.40", reflectors=["172.17.42.50"], cluster_id="2.0.0.2"))
        assert brief([sessions.pop("Mesh_172_17_42_41")]) == {"Mesh_172_17_42_41": (None, 65100, 65100, False)}
        assert {session["cluster_id"] for session in sessions.values()} == {"1.0.0.1", None}

    def test_without_a_record_the_setting_names_the_others(self) -> None:
        keys = cluster(**RACKS, peer_aa={"peerIP": "172.17.42.40:1791", "asNumber": 65199}) | reflector_record(
            "172.17.42.41", "1.0.0.1"
        )
        del keys[key("BGPPeer", "a")]
        reflectors = ["172.17.42.40", "172.17.42.50", "fd00::50"]
        sessions = named(reflector_sessions(keys, "172.17.42.40", reflectors=reflectors))
        assert brief([sessions["Mesh_172_17_42_50"]]) == {"Mesh_172_17_42_50": (None, 65199, 65199, False)}
        assert list(sessions) == ["Mesh_172_17_42_50", "Node_172_17_42_31"]

    def test_a_registered_reflector_has_its_sessions_as_a_node_too(self) -> None:
        keys = cluster(
            **RACKS,
            node_rr1={"ipv4Address": "172.17.42.40", "routeReflectorClusterID": "1.0.0.1", "labels": {"rr": ""}},
            node_rr2={"ipv4Address": "172.17.42.41", "routeReflectorClusterID": "1.0.0.1", "labels": {"rr": ""}},
            peer_mesh={"nodeSelector": "has(rr)", "peerSelector": "has(rr)"},
            peer_tor={"node": "rr1", "peerIP": "10.0.0.7", "asNumber": 65007},
        )
        assert brief(reflector_sessions(keys, "172.17.42.40", cluster_id="2.0.0.2")) == {
            "Global_172_17_42_31": (1790, 65100, 65100, True),
            "Global_172_17_42_32": (None, 65100, 65102, False),
            "Global_172_17_42_33": (None, 65100, 65100, True),
            "Global_172_17_42_41": (None, 65100, 65100, False),
            "Node_10_0_0_7": (None, 65100, 65007, False),
        }

    def test_a_registered_reflector_without_a_cluster_id_is_in_the_mesh(self) -> None:
        keys = cluster(
            node_a={"ipv4Address": "10.0.0.1"},
            node_rr={"ipv4Address": "10.0.0.9", "asNumber": 65100},
            peer_a={"peerIP": "10.0.0.9", "asNumber": 65100},
        )
        assert brief(reflector_sessions(keys, "10.0.0.9", reflectors=["10.0.0.8"])) == {
            "Mesh_10_0_0_1": (None, 65100, 64512, False),
            "Mesh_10_0_0_8": (None, 65100, 65100, False),
        }

    def test_a_registered_reflector_mirrors_before_it_peers_as_a_node(self) -> None:
        keys = cluster(**RACKS, node_rr2={"ipv4Address": "172.17.42.41"})
        sessions = named(reflector_sessions(keys, "172.17.42.41"))
        assert list(sessions) == ["Global_172_17_42_40", "Node_172_17_42_31", "Node_172_17_42_32"]
        assert sessions["Node_172_17_42_32"]["next_hop"] == "keep"

    def test_the_mesh_of_a_registered_reflector_is_in_its_as(self) -> None:
        keys = cluster(**MESH_OFF, node_rr={"ipv4Address": "10.0.0.9", "asNumber": 65109})
        assert brief(reflector_sessions(keys, "10.0.0.9", reflectors=["10.0.0.8"])) == {
            "Mesh_10_0_0_8": (None, 65109, 65109, False)
        }

    def test_the_port_of_a_registered_reflector_is_that_of_its_node(self) -> None:
        keys = cluster(
            **MESH_OFF,
            **{"config_node.rr": {"listenPort": 1791}},
            node_a={"ipv4Address": "10.0.0.1"},
            node_rr={"ipv4Address": "10.0.0.9", "labels": {"rr": ""}},
            peer_a={"peerSelector": "has(rr)"},
        )
        assert list(named(reflector_sessions(keys, "10.0.0.9"))) == ["Global_10_0_0_1"]

"""The sessions that follow from Calico's v3 resources."""

import json
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import confd
from rrwatch.bgp import peerings
from rrwatch.bgp.sessions import Derived, Session, sort_key
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import BgpPeer, Family, Host, Remark, Topology
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v3 import V3
from tests.fuzz import EXAMPLES
from tests.resources import (
    NODES,
    REFLECTORS,
    SECRETS,
    Fields,
    clusters,
    configuration,
    mesh_off,
    node,
    patched,
    peer,
    reflector_record,
    resource,
    resource_key,
)

ONLY_NODES = {"next_hop", "allow_local_as"}
CASES = Path(__file__).parent.parent / "cases"
GOLDEN_NODES = json.loads((CASES / "calico-v3-nodes.json").read_text())["cases"]
GOLDEN_REFLECTORS = json.loads((CASES / "calico-v3-reflector.json").read_text())["cases"]

# Calico has two sessions with one neighbor here; rrwatch has the one of the first BGPPeer by name.
LOSING = {"explicit_peering/global-external": {resource_key("BGPPeer", "bgppeer-3"): "Global_10_192_0_4"}}


def topology(keys: dict[str, str]) -> Topology:
    return RecordStore.of(keys, V3).topology()


def node_sees(keys: dict[str, str], name: str) -> Derived:
    return V3.node_sessions(topology(keys), name, tuple(Family))


def reflector_sees(keys: dict[str, str], *addresses: str, **speaker: Any) -> Derived:
    own = [ip_address(address) for address in addresses or REFLECTORS[:1]]
    return V3.reflector_sessions(
        topology(keys), Speaker({Family(address.version): address for address in own}, **speaker)
    )


def text(value: object) -> str | None:
    return None if value is None else str(value)


def fields(session: Session) -> Fields:
    """Returns a session as the oracle describes it."""
    return {
        "name": session.name,
        "family": session.family,
        "kind": session.kind.value,
        "neighbor": str(session.neighbor),
        "port": session.port,
        "remote_as": session.remote_as,
        "local_as": session.local_as,
        "source_address": text(session.source_address),
        "passive": session.passive,
        "password": text(session.password),
        "rr_client": session.rr_client,
        "cluster_id": text(session.cluster_id),
        "ttl_security": "off" if session.ttl_security is None else "on",
        "multihop": session.ttl_security or True,
        "graceful_restart_time": session.graceful_restart_time,
        "keepalive_time": session.keepalive_time,
        "key": session.key,
    }


def with_passwords(derived: Derived, secrets: dict[str, dict[str, str]]) -> Derived:
    """Returns sessions with the text of their password in place of its name, or with none if there is no text."""
    found = []
    for session in derived.sessions:
        asked = session.password
        known = secrets.get(asked.secret, {}).get(asked.key) if asked else None
        found.append(replace(session, password=known))  # type: ignore[arg-type]  # as `fields` shows it
    return replace(derived, sessions=tuple(found))


def by_name(sessions: list[Fields]) -> dict[str, Fields]:
    return {session["name"]: session for session in sessions}


def assert_equal(derived: Derived, oracle: list[Fields]) -> None:
    got = [fields(session) for session in derived.sessions]
    oracle = [{field: session[field] for field in session if field not in ONLY_NODES} for session in oracle]
    for session in (session for session in got if session["name"] in by_name(oracle)):
        session["key"] = by_name(oracle)[session["name"]]["key"] and session["key"]  # a setting has no key
    assert by_name(got) == by_name(oracle)
    assert list(derived.sessions) == sorted(derived.sessions, key=sort_key)
    assert len({session.neighbor for session in derived.sessions}) == len(oracle)
    for remark in (*derived.rejected, *derived.warnings):
        assert remark.reason.isascii()
        assert remark.reason.isprintable()


@pytest.mark.parametrize("case", GOLDEN_NODES, ids=lambda case: case["case"])
def test_a_node_has_the_sessions_of_calico(case: Fields) -> None:
    keys = patched(case)
    derived = node_sees(keys, case["node"])
    assert not derived.rejected
    assert {remark.key for remark in derived.warnings} == LOSING.get(case["case"], {}).keys()
    lost = set(LOSING.get(case["case"], {}).values())
    wanted = [session for session in case["sessions"] if session["name"] not in lost]
    by_key = {session.name: session.key for session in derived.sessions}
    assert set(by_key.values()) <= keys.keys()
    assert_equal(
        with_passwords(derived, case["secrets"]),
        [session | {"key": by_key.get(session["name"])} for session in wanted],
    )


@pytest.mark.parametrize("case", GOLDEN_REFLECTORS, ids=lambda case: f"{case['case']}-{case['reflector']}")
def test_a_reflector_mirrors_the_session_of_a_node(case: Fields) -> None:
    golden = case["golden"]
    derived = reflector_sees(case["keys"], case["reflector"], port=golden["reflector_port"] or 179)
    mirrored = [session for session in derived.sessions if str(session.neighbor) == golden["neighbor"]]
    (session,) = with_passwords(replace(derived, sessions=tuple(mirrored)), case["secrets"]).sessions
    assert session.node == golden["node"]
    assert session.name == f"{session.kind.name.capitalize()}_{golden['neighbor']}".replace(".", "_").replace(":", "_")
    compared = "port", "remote_as", "local_as", "rr_client", "password"
    assert {field: fields(session)[field] for field in compared} == {field: golden[field] for field in compared}
    assert session.ttl_security == golden["ttl_hops"]
    assert not session.passive


class TestRandomClusters:
    """The same sessions as those of a slow, literal reading of Calico's code."""

    @given(clusters())
    @settings(deadline=None, max_examples=EXAMPLES)
    def test_node(self, keys: dict[str, str]) -> None:
        for name in NODES:
            assert_equal(node_sees(keys, name), confd.node_sessions(keys, name, SECRETS))

    @given(
        clusters(),
        st.sampled_from([179, 1790]),
        st.sampled_from([[], ["10.0.0.9", "10.0.0.40", "10.0.0.42", "fd00::42"]]),
        st.sampled_from([None, "1.0.0.1"]),
    )
    @settings(deadline=None, max_examples=EXAMPLES)
    def test_reflector(self, keys: dict[str, str], port: int, others: list[str], cluster_id: str | None) -> None:
        told = {"port": port, "reflectors": tuple(map(ip_address, others)),
                "cluster_id": cluster_id and IPv4Address(cluster_id)}  # fmt: skip
        known = topology(keys)
        ports, both = set(), []
        for own in REFLECTORS:
            oracle = confd.reflector_sessions(keys, own, port, others, cluster_id, SECRETS)
            assert_equal(reflector_sees(keys, own, **told), oracle)
            both += oracle
            ports.add(V3.listen_port(known, Speaker({Family.IPV4: ip_address(own)}, port)))
        if len(ports) == 1:  # one BIRD listens on one port for both families
            assert_equal(reflector_sees(keys, *REFLECTORS, **told), both)


def key(kind: str, name: str) -> str:
    return resource_key({"node": "Node", "peer": "BGPPeer"}[kind], name)


def remarks(found: tuple[Remark, ...]) -> dict[str, str]:
    return {remark.key: remark.reason for remark in found}


def brief(derived: Derived) -> dict[str, tuple[Any, ...]]:
    return {
        session.name: (session.port, session.local_as, session.remote_as, session.rr_client)
        for session in derived.sessions
    }


def rr(address: str = "10.0.0.40", **spec: Any) -> Fields:
    return {"peerIP": address, "asNumber": 64512} | spec


TWO_NODES = node("n1", "10.0.0.1", {"rack": "1"}) | node("n2", "10.0.0.2", {"rack": "2"})


def test_racks_with_a_reflector_each() -> None:
    keys = (
        mesh_off(asNumber=65100)
        | configuration("node.n1", listenPort=1790)
        | node("n1", "172.17.42.31", {"rack": "1"})
        | node("n2", "172.17.42.32", {"rack": "2"}, asNumber=65102)
        | node("n3", "172.17.42.33")
        | peer("a", peerIP="172.17.42.40", asNumber=65100)
        | peer("b", nodeSelector="rack == '1'", peerIP="172.17.42.40", asNumber=65100,
               password={"secretKeyRef": {"name": "bgp", "key": "x"}})
        | peer("c", nodeSelector="has(rack)", peerIP="172.17.42.41", asNumber=65100)
    )  # fmt: skip
    first = reflector_sees(keys, "172.17.42.40", cluster_id=IPv4Address("1.0.0.1"))
    assert brief(first) == {
        "Global_172_17_42_31": (1790, 65100, 65100, True),
        "Global_172_17_42_32": (None, 65100, 65102, False),
        "Global_172_17_42_33": (None, 65100, 65100, True),
    }
    assert {session.password for session in first.sessions} == {None}
    assert [text(session.cluster_id) for session in first.sessions] == ["1.0.0.1", None, "1.0.0.1"]
    assert remarks(first.warnings) == {
        key("peer", "b"): f"{key('peer', 'a')} comes first for 172.17.42.40 on some nodes"
    }
    assert brief(reflector_sees(keys, "172.17.42.41")) == {
        "Node_172_17_42_31": (1790, 65100, 65100, True),
        "Node_172_17_42_32": (None, 65100, 65102, False),
    }


class TestRemarks:
    """What people are told about records that do not work as they ask for."""

    def test_none_about_an_ordinary_cluster(self) -> None:
        keys = (
            mesh_off()
            | TWO_NODES
            | node("no-bgp")
            | configuration("node.gone", listenPort=1790)
            | peer("a", **rr(), localASNumber=65001, filters=["f"])
            | peer("b", node="unknown", peerIP="10.0.0.99", asNumber=1)
            | peer("mesh", peerSelector="has(rack)", nodeSelector="has(rack)")
            | resource("BGPFilter", "f", {})
            | reflector_record("10.0.0.40")
            | reflector_record("10.0.0.41")
        )
        for derived in (reflector_sees(keys), node_sees(keys, "n1"), node_sees(keys, "no-bgp")):
            assert derived.rejected == derived.warnings == ()

    def test_a_node_without_a_resource(self) -> None:
        derived = node_sees(TWO_NODES, "n3")
        assert derived.sessions == ()
        assert remarks(derived.rejected) == {
            key("node", "n3"): "is missing: this node, n3, has no record in etcd",
        }

    def test_records_that_cannot_be_read(self) -> None:
        keys = TWO_NODES | {key("node", "n3"): "{"} | peer("a", peerIP="10.0.0.40")
        for derived in (reflector_sees(keys), node_sees(keys, "n1")):
            assert list(remarks(derived.rejected)) == [key("peer", "a"), key("node", "n3")]

    def test_two_peers_for_one_address(self) -> None:
        keys = mesh_off() | TWO_NODES | peer("b", **rr()) | peer("a", node="n2", **rr()) | peer("c", **rr())
        losing = {
            key("peer", "a"): f"{key('peer', 'b')} comes first for 10.0.0.40",
            key("peer", "c"): f"{key('peer', 'b')} comes first for 10.0.0.40",
        }
        on_node = node_sees(keys, "n2")
        assert {session.key for session in on_node.sessions} == {key("peer", "b")}
        assert remarks(on_node.warnings) == {name: f"{reason} on node n2" for name, reason in losing.items()}
        assert list(remarks(node_sees(keys, "n1").warnings)) == [key("peer", "c")]
        at_reflector = reflector_sees(keys)
        assert {session.key for session in at_reflector.sessions} == {key("peer", "b")}
        assert remarks(at_reflector.warnings) == {name: f"{reason} on some nodes" for name, reason in losing.items()}

    def test_two_ports_of_one_address(self) -> None:
        derived = node_sees(mesh_off() | TWO_NODES | peer("a", **rr()) | peer("b", **rr("10.0.0.40:1790")), "n1")
        assert list(brief(derived)) == ["Global_10_0_0_40"]
        assert remarks(derived.warnings) == {
            key("peer", "b"): f"10.0.0.40 already has session Global_10_0_0_40, from {key('peer', 'a')}"
        }

    def test_a_peer_that_is_in_the_mesh_already(self) -> None:
        derived = node_sees(TWO_NODES | peer("a", nodeSelector="all()", peerSelector="has(rack)"), "n1")
        assert list(brief(derived)) == ["Mesh_10_0_0_2"]
        assert remarks(derived.warnings) == {
            key("peer", "a"): f"10.0.0.2 already has session Mesh_10_0_0_2, from {key('node', 'n2')}"
        }

    def test_filters_that_do_not_exist(self) -> None:
        names = ["known", "b\n\ud800", "a"]
        keys = TWO_NODES | resource("BGPFilter", "known", {}) | peer("a", **rr(), filters=names)
        assert remarks(node_sees(keys, "n1").warnings) == {
            key("peer", "a"): "names filters that do not exist: 'a', 'b\\n\\ud800'; node n1 peers without them"
        }
        assert reflector_sees(keys).warnings == ()

    def test_many_filters_that_do_not_exist(self) -> None:
        keys = TWO_NODES | peer("a", **rr(), filters=["x" * 1000 + str(number) for number in range(100)])
        ((_, reason),) = remarks(node_sees(keys, "n1").warnings).items()
        assert len(reason) < 600

    def test_a_local_as_number_beside_a_peer_selector(self) -> None:
        keys = mesh_off() | TWO_NODES | peer("a", peerSelector="rack == '2'", localASNumber=65001)
        for derived in (node_sees(keys, "n1"), reflector_sees(keys)):
            assert remarks(derived.warnings) == {
                key("peer", "a"): "localASNumber has no effect with a peerSelector: Calico ignores it"
            }
        assert brief(node_sees(keys, "n1")) == {"Global_10_0_0_2": (None, 64512, 64512, False)}

    def test_a_port_where_the_reflector_does_not_listen(self) -> None:
        keys = mesh_off() | TWO_NODES | peer("a", **rr("10.0.0.40:1790")) | peer("b", **rr())
        told = "of 10.0.0.40, where this reflector does not listen"
        derived = reflector_sees(keys)
        assert {session.key for session in derived.sessions} == {key("peer", "b")}
        assert remarks(derived.warnings) == {key("peer", "a"): f"asks for port 1790 {told}"}
        derived = reflector_sees(keys, port=1790)
        assert {session.key for session in derived.sessions} == {key("peer", "a")}
        assert {session.port for session in derived.sessions} == {None}
        assert list(brief(derived)) == ["Global_10_0_0_1", "Global_10_0_0_2"]
        assert remarks(derived.warnings) == {key("peer", "b"): f"asks for port 179 {told}"}

    @pytest.mark.parametrize("role", ["node", "reflector"])
    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({}, id="in the mesh"),
            pytest.param(mesh_off() | peer("a", nodeSelector="all()", peerSelector="all()"), id="selected"),
        ],
    )
    def test_two_nodes_with_one_address(self, role: str, options: dict[str, str]) -> None:
        keys = TWO_NODES | node("twin", "10.0.0.2", {"rack": "2"}, asNumber=65001) | options
        derived = node_sees(keys, "n1") if role == "node" else reflector_sees(keys | peer("b", **rr()))
        assert [session.node for session in derived.sessions if str(session.neighbor) == "10.0.0.2"] == ["n2"]
        (reason,) = remarks(derived.rejected).values()
        assert list(remarks(derived.rejected)) == [key("node", "twin")]
        assert reason.startswith("10.0.0.2 is the address of node n2 too")

    def test_another_node_with_the_own_address(self) -> None:
        keys = TWO_NODES | node("twin", "10.0.0.1")
        assert remarks(node_sees(keys, "n1").rejected) == {
            key("node", "twin"): "10.0.0.1 is the address of this node, n1, too"
        }
        assert list(brief(node_sees(keys, "n1"))) == ["Mesh_10_0_0_2"]
        registered = node("rr1", "10.0.0.40") | node("rr2", "10.0.0.40")
        assert remarks(reflector_sees(TWO_NODES | registered).rejected) == {
            key("node", "rr2"): "10.0.0.40 is the address of this node, rr1, too"
        }


@pytest.mark.parametrize("registered", [{}, node("rr", "10.0.0.40")], ids=["not registered", "registered"])
def test_a_peer_for_each_node_is_not_compared_with_every_node(
    registered: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    known = peerings.selects

    def selects(resource: BgpPeer, host: Host) -> bool:
        compared.append(host.name)
        return known(resource, host)

    monkeypatch.setattr(peerings, "selects", selects)
    keys = mesh_off() | registered
    for number in range(1, 101):
        keys |= node(f"n{number}", f"10.0.1.{number}")
        keys |= peer(f"p{number}", node=f"n{number}", peerIP="10.0.0.40", asNumber=64512)
    assert len(reflector_sees(keys).sessions) == 100
    assert len(compared) <= 300


class TestRegisteredReflector:
    def test_it_is_found_by_its_address(self) -> None:
        keys = TWO_NODES | node("rr", "10.0.0.40") | node("rr6", "fd00::40")
        both = {Family(address.version): address for address in map(ip_address, REFLECTORS)}
        assert V3.registered_nodes(topology(keys), Speaker(both)) == ("rr", "rr6")
        assert V3.registered_nodes(topology(keys), Speaker({Family.IPV6: both[Family.IPV6]})) == ("rr6",)
        assert V3.registered_nodes(topology(TWO_NODES), Speaker(both)) == ()

    def test_its_port_is_that_of_its_node(self) -> None:
        keys = TWO_NODES | node("rr", "10.0.0.40")
        speaker = Speaker({Family.IPV4: ip_address("10.0.0.40")}, 1792)
        assert V3.listen_port(topology(keys), speaker) == 1792
        assert V3.listen_port(topology(keys | configuration(listenPort=1791)), speaker) == 1791
        keys |= configuration("node.rr", listenPort=1790)
        assert V3.listen_port(topology(keys | configuration(listenPort=1791)), speaker) == 1790
        assert V3.listen_port(topology(TWO_NODES | configuration(listenPort=1791)), speaker) == 1792

    def test_other_reflectors_listen_where_it_does(self) -> None:
        records = reflector_record("10.0.0.40") | reflector_record("10.0.0.41")

        def port(keys: dict[str, str], **speaker: int) -> int | None:
            (session,) = reflector_sees(keys | records, **speaker).sessions
            return session.port

        assert port({}) is None
        assert port({}, port=1790) == 1790
        assert port(mesh_off() | node("rr", "10.0.0.40") | configuration("node.rr", listenPort=1791), port=1790) == 1791

    def test_peers_that_are_no_nodes(self) -> None:
        keys = mesh_off() | node("rr", "10.0.0.40") | peer("tor", node="rr", peerIP="10.9.9.9", asNumber=65001)
        derived = reflector_sees(keys | peer("other", nodeSelector="has(x)", peerIP="10.9.9.8", asNumber=65001))
        assert brief(derived) == {"Node_10_9_9_9": (None, 64512, 65001, False)}
        assert [text(session.source_address) for session in derived.sessions] == ["10.0.0.40"]
        assert derived.warnings == ()

    def test_two_peers_for_one_address(self) -> None:
        keys = mesh_off() | node("rr", "10.0.0.40") | peer("a", **rr("10.9.9.9")) | peer("b", **rr("10.9.9.9"))
        assert remarks(reflector_sees(keys).warnings) == {
            key("peer", "b"): f"{key('peer', 'a')} comes first for 10.9.9.9 on node rr"
        }

    def test_both_ends_of_one_peer_are_one_session(self) -> None:
        keys = (
            mesh_off()
            | TWO_NODES
            | node("rr", "10.0.0.40", {"rr": ""}, routeReflectorClusterID="1.0.0.1")
            | peer("a", nodeSelector="has(rack)", peerSelector="has(rr)")
        )
        derived = reflector_sees(keys, cluster_id=IPv4Address("2.0.0.2"))
        assert brief(derived) == {
            "Node_10_0_0_1": (None, 64512, 64512, True),
            "Node_10_0_0_2": (None, 64512, 64512, True),
        }
        assert {text(session.cluster_id) for session in derived.sessions} == {"1.0.0.1"}
        assert derived.warnings == ()


class TestReflectorMesh:
    def test_a_record_of_its_own_counts_even_if_it_cannot_be_read(self) -> None:
        keys = TWO_NODES | reflector_record("10.0.0.41")
        own = dict.fromkeys(reflector_record("10.0.0.40"), "{")
        told = {"reflectors": (ip_address("10.0.0.42"),)}
        assert list(brief(reflector_sees(keys, **told))) == ["Mesh_10_0_0_42"]
        assert list(brief(reflector_sees(keys | own, **told))) == ["Mesh_10_0_0_41"]

    def test_its_key_is_that_of_the_record(self) -> None:
        records = reflector_record("10.0.0.40") | reflector_record("10.0.0.41")
        (session,) = reflector_sees(records).sessions
        assert session.key == "/calico/bgp/v1/rr_v4/10.0.0.41"
        assert session.node is None

    @pytest.mark.parametrize(
        ("keys", "as_number"),
        [
            ({}, 64512),
            (configuration(asNumber=65100), 65100),
            (configuration(asNumber=65100) | node("rr", "10.0.0.40", asNumber=65109), 65109),
            (node("rr", "10.0.0.40", asNumber=65109) | peer("a", node="n9", **rr(asNumber=65001)), 65001),
            (peer("a", node="n9", **rr("10.0.0.41", asNumber=65001)), 64512),
            (peer("a", node="n9", peerSelector="all()", asNumber=65001), 64512),
        ],
    )
    def test_its_as_number(self, keys: dict[str, str], as_number: int) -> None:
        (session,) = reflector_sees(keys, reflectors=(ip_address("10.0.0.41"),)).sessions
        assert (session.local_as, session.remote_as, session.rr_client) == (as_number, as_number, False)

    @pytest.mark.parametrize(
        ("keys", "cluster_id"),
        [
            ({}, "9.9.9.9"),
            (reflector_record("10.0.0.41", "1.0.0.1"), "9.9.9.9"),
            (reflector_record("10.0.0.40", ""), "9.9.9.9"),
            (reflector_record("10.0.0.40", "1.0.0.1"), "1.0.0.1"),
            (reflector_record("10.0.0.40", "1.0.0.1") | node("rr", "10.0.0.40"), "1.0.0.1"),
            (reflector_record("10.0.0.40") | node("rr", "10.0.0.40", routeReflectorClusterID="2.0.0.2"), "2.0.0.2"),
        ],
    )
    def test_its_cluster_id(self, keys: dict[str, str], cluster_id: str) -> None:
        keys = mesh_off() | node("n1", "10.0.0.1") | peer("a", **rr()) | keys
        found = reflector_sees(keys, cluster_id=IPv4Address("9.9.9.9")).sessions
        assert [text(session.cluster_id) for session in found if session.node == "n1"] == [cluster_id]


ENDS = node("n1", "10.0.0.1") | node("n2", "10.0.0.2", {"far": ""})
BOTH_FAMILIES = node("n1", "10.0.0.1", ipv6Address="fd00::1") | node(
    "n2", "10.0.0.2", {"far": ""}, ipv6Address="fd00::2"
)


class TestNodes:
    """One rule each, where random clusters meet it rarely."""

    @pytest.mark.parametrize(
        ("keys", "peers_back"),
        [
            pytest.param(peer("a", node="n1", **rr("10.0.0.2")), True, id="as asked for"),
            pytest.param(peer("a", **rr("10.0.0.2")), True, id="all nodes"),
            pytest.param(peer("a", node="n1", **rr("10.0.0.2"), reversePeering="Manual"), False, id="manual"),
            pytest.param(peer("a", node="n1", **rr("10.0.0.3")), False, id="another address"),
            pytest.param(peer("a", node="n1", **rr("10.0.0.2", asNumber=65001)), False, id="another AS"),
            pytest.param(peer("a", node="n1", **rr("10.0.0.2:1790")), True, id="a port, and none of the node"),
            pytest.param(
                peer("a", node="n1", **rr("10.0.0.2:1790")) | configuration("node.n2", listenPort=1790),
                True,
                id="its port",
            ),
            pytest.param(
                peer("a", node="n1", **rr("10.0.0.2:1790")) | configuration("node.n2", listenPort=1791),
                False,
                id="another port",
            ),
            pytest.param(
                peer("a", node="n1", **rr("10.0.0.2")) | configuration("node.n2", listenPort=1791), True, id="no port"
            ),
            pytest.param(peer("a", node="n1", peerSelector="has(far)"), True, id="selected"),
            pytest.param(peer("a", node="n1", peerSelector="!has(far)"), False, id="not selected"),
        ],
    )
    def test_the_far_end_peers_back(self, keys: dict[str, str], peers_back: bool) -> None:
        keys = mesh_off() | ENDS | keys
        assert [str(session.neighbor) for session in node_sees(keys, "n2").sessions] == ["10.0.0.1"] * peers_back

    def test_it_peers_back_in_the_family_of_the_address(self) -> None:
        keys = mesh_off() | BOTH_FAMILIES
        assert list(brief(node_sees(keys | peer("a", node="n1", **rr("fd00::2")), "n2"))) == ["Node_fd00__1"]
        selected = keys | peer("a", node="n1", peerSelector="has(far)")
        assert list(brief(node_sees(selected, "n2"))) == ["Node_10_0_0_1", "Node_fd00__1"]

    def test_a_selector_leaves_other_nodes_out(self) -> None:
        keys = mesh_off() | ENDS | node("n3", "10.0.0.3") | peer("a", node="n1", peerSelector="has(far)")
        assert list(brief(node_sees(keys, "n1"))) == ["Node_10_0_0_2"]

    @pytest.mark.parametrize(
        ("own", "other", "waits"), [("10.0.0.9", "10.0.0.10", False), ("10.0.0.10", "10.0.0.9", True)]
    )
    @pytest.mark.parametrize("scope", ["mesh", "global", "node", "selected", "no node"])
    def test_the_greater_text_waits(self, scope: str, own: str, other: str, waits: bool) -> None:
        keys = {} if scope == "mesh" else mesh_off()
        keys = keys | node("n1", own) | (node("n2", other, {"far": ""}) if scope != "no node" else {})
        keys |= {
            "mesh": {},
            "global": peer("a", **rr(other)),
            "node": peer("a", node="n1", **rr(other)),
            "selected": peer("a", peerSelector="has(far)"),
            "no node": peer("a", **rr(other)),
        }[scope]
        (session,) = node_sees(keys, "n1").sessions
        assert session.passive is (waits and scope in {"mesh", "global"})

    def test_terms_of_the_mesh(self) -> None:
        keys = ENDS | configuration("node.n2", listenPort=1790)
        (plain,) = node_sees(keys, "n1").sessions
        assert (plain.port, plain.password, plain.graceful_restart_time, plain.keepalive_time) == (
            1790,
            None,
            None,
            None,
        )
        secret = {"secretKeyRef": {"name": "s", "key": "mesh"}}
        terms = configuration(listenPort=1792, nodeMeshPassword=secret, nodeMeshMaxRestartTime="10s", asNumber=65100)
        (session,) = node_sees(ENDS | terms, "n1").sessions
        assert (session.name, session.port, text(session.password)) == ("Mesh_10_0_0_2", 1792, "s/mesh")
        assert (session.local_as, session.remote_as, session.graceful_restart_time) == (65100, 65100, 10)

    def test_route_reflectors_are_no_part_of_the_mesh(self) -> None:
        keys = ENDS | node("rr", "10.0.0.3", routeReflectorClusterID="1.0.0.1")
        assert list(brief(node_sees(keys, "n1"))) == ["Mesh_10_0_0_2"]
        assert brief(node_sees(keys, "rr")) == {}

    @pytest.mark.parametrize(("other", "client"), [({}, True), ({"routeReflectorClusterID": "2.0.0.2"}, True),
                                                   ({"routeReflectorClusterID": "1.0.0.1"}, False),
                                                   ({"asNumber": 65001}, False)])  # fmt: skip
    def test_clients_of_a_route_reflector(self, other: Fields, client: bool) -> None:
        keys = mesh_off() | node("rr", "10.0.0.3", routeReflectorClusterID="1.0.0.1") | node("n2", "10.0.0.2", **other)
        (session,) = node_sees(keys | peer("a", node="rr", peerSelector="all()"), "rr").sessions
        assert session.rr_client is client
        assert text(session.cluster_id) == ("1.0.0.1" if client else None)

    def test_a_local_as_number_makes_a_session_internal(self) -> None:
        keys = mesh_off() | node("rr", "10.0.0.3", routeReflectorClusterID="1.0.0.1")
        keys |= peer("a", **rr("10.9.9.9", asNumber=65001), localASNumber=65001)
        assert brief(node_sees(keys, "rr")) == {"Global_10_9_9_9": (None, 65001, 65001, True)}


class TestMirror:
    @pytest.mark.parametrize(("bgp", "own", "client"), [
        ({}, None, True),
        ({}, "1.0.0.1", True),
        ({"routeReflectorClusterID": "1.0.0.1"}, None, True),
        ({"routeReflectorClusterID": "2.0.0.2"}, "1.0.0.1", True),
        ({"routeReflectorClusterID": "1.0.0.1"}, "1.0.0.1", False),
        ({"asNumber": 65001}, None, False),
    ])  # fmt: skip
    def test_clients(self, bgp: Fields, own: str | None, client: bool) -> None:
        keys = mesh_off() | node("n1", "10.0.0.1", **bgp) | peer("a", **rr())
        (session,) = reflector_sees(keys, cluster_id=own and IPv4Address(own)).sessions
        assert session.rr_client is client
        assert text(session.cluster_id) == (own if client else None)

    def test_terms(self) -> None:
        spec = rr(asNumber=65001, localASNumber=65002, ttlSecurity=3, maxRestartTime="5s", keepaliveTime="7s",
                  password={"secretKeyRef": {"name": "s", "key": "k"}}, sourceAddress="None")  # fmt: skip
        keys = mesh_off() | node("n9", "10.0.0.9") | peer("a", **spec) | configuration("node.n9", listenPort=1790)
        (session,) = reflector_sees(keys).sessions
        assert fields(session) == {
            "name": "Global_10_0_0_9",
            "family": 4,
            "kind": "global",
            "neighbor": "10.0.0.9",
            "port": 1790,
            "remote_as": 65002,
            "local_as": 65001,
            "source_address": "10.0.0.40",
            "passive": False,
            "password": "s/k",
            "rr_client": False,
            "cluster_id": None,
            "ttl_security": "on",
            "multihop": 3,
            "graceful_restart_time": 5,
            "keepalive_time": 7,
            "key": key("peer", "a"),
        }

    def test_global_sessions_of_its_node_come_before_mirrored_ones_of_some_nodes(self) -> None:
        keys = mesh_off() | ENDS | node("rr", "10.0.0.40") | peer("z", peerSelector="has(far)")
        keys |= peer("a", nodeSelector="has(far)", **rr(), reversePeering="Manual")
        sessions = {session.name: session.key for session in reflector_sees(keys).sessions}
        assert sessions["Global_10_0_0_2"] == key("peer", "z")
        assert "Node_10_0_0_2" not in sessions

    def test_the_port_is_that_of_the_first_node_with_its_address(self) -> None:
        keys = node("rr1", "10.0.0.40") | node("rr2", "10.0.0.40") | configuration("node.rr2", listenPort=1790)
        assert V3.listen_port(topology(keys), Speaker({Family.IPV4: ip_address("10.0.0.40")}, 1791)) == 1791

"""The sessions of one BIRD that follow from a topology."""

import json
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrwatch.bgp.rules_v1 import node_sessions, reflector_sessions
from rrwatch.bgp.sessions import Derived, Kind, session_name
from rrwatch.bgp.speaker import BGP_PORT, Speaker
from rrwatch.bgp.topology import Family
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from tests.keys import CLUSTER, NODES, PREFIX, REFLECTOR, global_peer, host, node_peer, reflector

CASES = json.loads((Path(__file__).parent.parent / "cases" / "calico.json").read_text())

# The original's IPv6 reflector did nothing without a record of its own; rrwatch's has its clients, as for IPv4.
STANDALONE_IPV6 = {
    5: {("Global_fd00_42__1_0", "fd00:42::1:0", 64511, 64511, True, None)},
    37: set[Any](),
    55: set[Any](),
}

PRECEDENCE = ["Mesh", "Global", "Node"]


def reflector_sees(items: dict[str, str], *addresses: str, port: int = BGP_PORT) -> Derived:
    own = [ip_address(address) for address in addresses or (REFLECTOR,)]
    speaker = Speaker({Family(address.version): address for address in own}, port)
    return reflector_sessions(RecordStore.of(items, V1).topology(), speaker)


def node_sees(items: dict[str, str], name: str, *families: Family) -> Derived:
    return node_sessions(RecordStore.of(items, V1).topology(), name, families or (Family.IPV4,))


def names(derived: Derived) -> list[str]:
    return [session.name for session in derived.sessions]


def rejected(derived: Derived) -> dict[str, str]:
    return {remark.key: remark.reason for remark in derived.rejected}


def expected(number: int, case: dict[str, Any]) -> set[tuple[Any, ...]]:
    """Returns the original's sessions, one for each neighbor: mesh before global before node-specific."""
    if number in STANDALONE_IPV6:
        return STANDALONE_IPV6[number]
    first: dict[str, tuple[Any, ...]] = {}
    # The file has no name where the original's was not valid in BIRD; those were all global peers.
    named = [{**row, "name": row["name"] or "Global_" + row["neighbor"].replace(":", "_")} for row in case["sessions"]]
    for row in sorted(named, key=lambda row: PRECEDENCE.index(row["name"].split("_")[0])):
        columns = ("name", "neighbor", "local_as", "remote_as", "rr_client", "cluster_id")
        first.setdefault(row["neighbor"], tuple(row[column] for column in columns))
    return set(first.values())


@pytest.mark.parametrize(("number", "case"), list(enumerate(CASES)))
def test_the_originals_cases(number: int, case: dict[str, Any]) -> None:
    items = {key: value or "" for key, value in case["keys"].items()}
    environment, family = case["env"], Family(case["family"])

    if case["role"] == "reflector":
        derived = reflector_sees(items, environment["IP" if family is Family.IPV4 else "IP6"])
    else:
        derived = node_sees(items, environment["NODENAME"], family)

    got = {
        (
            session.name,
            str(session.neighbor),
            session.local_as,
            session.remote_as,
            session.rr_client,
            session.cluster_id and str(session.cluster_id),
        )
        for session in derived.sessions
    }
    assert got == expected(number, case)
    assert len(got) == len(derived.sessions)


class TestReflector:
    def test_global_peer_of_all_nodes(self) -> None:
        derived = reflector_sees(CLUSTER)

        assert {session.node: str(session.neighbor) for session in derived.sessions} == NODES
        for session in derived.sessions:
            assert (session.kind, session.local_as, session.remote_as) == (Kind.GLOBAL, 65100, 65100)
            assert session.rr_client
            assert session.cluster_id == IPv4Address("1.0.0.1")
            assert session.key == f"{PREFIX}/global/peer_v4/{REFLECTOR}"
        assert not derived.rejected
        assert not derived.warnings

    def test_nobody_names_it(self) -> None:
        assert names(reflector_sees(CLUSTER, "172.17.42.49")) == []

    def test_standalone_has_clients_without_cluster_id_and_no_mesh(self) -> None:
        items = CLUSTER | reflector("172.17.42.41") | global_peer("172.17.42.49")
        derived = reflector_sees(items, "172.17.42.49")
        assert {session.kind for session in derived.sessions} == {Kind.GLOBAL}
        assert {session.cluster_id for session in derived.sessions} == {None}

    def test_a_record_of_an_address_that_begins_alike_is_not_its_own(self) -> None:
        derived = reflector_sees(CLUSTER | reflector("10.0.0.10") | global_peer("10.0.0.1"), "10.0.0.1")
        assert {session.kind for session in derived.sessions} == {Kind.GLOBAL}

    def test_reflectors_mesh_in_the_global_as(self) -> None:
        items = CLUSTER | reflector("172.17.42.42", "2.0.0.2") | reflector("172.17.42.41") | reflector("fd00::41")
        derived = reflector_sees(items)

        assert names(derived)[:2] == ["Mesh_172_17_42_41", "Mesh_172_17_42_42"]
        mesh = derived.sessions[0]
        assert (mesh.local_as, mesh.remote_as, mesh.rr_client, mesh.cluster_id, mesh.node) == (
            65100, 65100, False, None, None,
        )  # fmt: skip

    def test_other_reflectors_listen_where_it_does(self) -> None:
        items = CLUSTER | reflector("172.17.42.41")
        ports = {session.name: session.port for session in reflector_sees(items, port=1790).sessions}
        assert ports.pop("Mesh_172_17_42_41") == 1790
        assert set(ports.values()) == {None}

    def test_mesh_needs_the_global_as_and_nothing_else_does(self) -> None:
        items = CLUSTER | reflector("172.17.42.41")
        del items[f"{PREFIX}/global/as_num"]
        derived = reflector_sees(items)
        assert len(derived.sessions) == len(NODES)
        assert "is missing: reflectors peer with each other in that AS" in rejected(derived)[f"{PREFIX}/global/as_num"]

    def test_node_specific_peer(self) -> None:
        items = CLUSTER | node_peer("kube-node1", REFLECTOR, 65100)
        del items[f"{PREFIX}/global/peer_v4/{REFLECTOR}"]
        derived = reflector_sees(items)
        assert names(derived) == ["Node_172_17_42_31"]
        assert derived.sessions[0].rr_client

    def test_one_session_for_a_neighbor_global_before_node(self) -> None:
        derived = reflector_sees(CLUSTER | node_peer("kube-node1", REFLECTOR))
        assert names(derived).count("Global_172_17_42_31") == 1
        assert "Node_172_17_42_31" not in names(derived)
        reason = rejected(derived)[f"{PREFIX}/host/kube-node1/peer_v4/{REFLECTOR}"]
        assert reason.startswith("172.17.42.31 already has session Global_172_17_42_31")

    def test_two_nodes_with_one_address(self) -> None:
        derived = reflector_sees(CLUSTER | host("zebra", NODES["kube-node1"]))
        assert names(derived).count("Global_172_17_42_31") == 1
        reason = rejected(derived)[f"{PREFIX}/host/zebra/ip_addr_v4"]
        assert reason == "172.17.42.31 is the address of node kube-node1 too, which has session Global_172_17_42_31"

    def test_not_with_itself(self) -> None:
        derived = reflector_sees(CLUSTER | host("rr-host", REFLECTOR))
        assert len(derived.sessions) == len(NODES)
        assert not derived.rejected

    def test_spelling_of_addresses_does_not_matter(self) -> None:
        items = {
            f"{PREFIX}/rr_v6/FD00:0::28": '{"ip": "fd00:0:0::28"}',
            f"{PREFIX}/rr_v6/fd00::29": '{"ip": "FD00::29"}',
            f"{PREFIX}/global/as_num": "65100",
            f"{PREFIX}/global/peer_v6/x": '{"ip": "FD00:0000::0028", "as_num": 65100}',
            f"{PREFIX}/host/n1/ip_addr_v6": "FD00::31",
        }
        assert names(reflector_sees(items, "fd00::28")) == ["Mesh_fd00__29", "Global_fd00__31"]

    def test_both_families(self) -> None:
        items = CLUSTER | global_peer("fd00::28") | {f"{PREFIX}/host/kube-node1/ip_addr_v6": "fd00::31"}
        derived = reflector_sees(items, REFLECTOR, "fd00::28")
        assert len(derived.of([Family.IPV4])) == 3
        assert names(derived)[3:] == ["Global_fd00__31"]
        assert not derived.rejected

    @pytest.mark.parametrize(
        ("missing", "state"), [({f"{PREFIX}/host/n/as_num": "1"}, "missing"), (host("n", ""), "empty")]
    )
    def test_a_node_without_address(self, missing: dict[str, str], state: str) -> None:
        derived = reflector_sees(CLUSTER | missing)
        assert len(derived.sessions) == len(NODES)
        assert rejected(derived) == {f"{PREFIX}/host/n/ip_addr_v4": f"is {state}: node n has no address to peer with"}

    def test_a_node_with_ipv6_alone_is_no_fault_where_ipv6_is_on(self) -> None:
        items = CLUSTER | {f"{PREFIX}/host/n/ip_addr_v4": "", f"{PREFIX}/host/n/ip_addr_v6": "fd00::9"}
        assert not reflector_sees(items, REFLECTOR, "fd00::28").rejected
        assert f"{PREFIX}/host/n/ip_addr_v4" in rejected(reflector_sees(items))

    def test_as_mismatch_is_told_and_the_entry_counts(self) -> None:
        derived = reflector_sees(CLUSTER | {f"{PREFIX}/host/kube-node1/as_num": "65200"})
        assert {session.remote_as for session in derived.sessions} == {65100}
        (warning,) = derived.warnings
        assert warning.key == f"{PREFIX}/host/kube-node1/as_num"
        assert "into AS 65200" in warning.reason

    def test_an_unreadable_record_of_its_own_costs_no_other_session(self) -> None:
        items = CLUSTER | reflector("172.17.42.41")
        whole = names(reflector_sees(items))
        items[f"{PREFIX}/rr_v4/{REFLECTOR}"] = "{"
        derived = reflector_sees(items)
        assert names(derived) == whole
        assert {session.cluster_id for session in derived.sessions} == {None}

    def test_order_is_that_of_the_keys_in_bytes(self) -> None:
        nodes = {name: f"10.0.0.{number}" for number, name in enumerate(["n2", "B", "n10", "a.example", "n1"], start=1)}
        items = global_peer(REFLECTOR)
        for name, address in nodes.items():
            items |= host(name, address)
        derived = reflector_sees(items)
        assert [session.node for session in derived.sessions] == ["B", "a.example", "n1", "n10", "n2"]


class TestNode:
    MESH = CLUSTER | {f"{PREFIX}/global/node_mesh": '{"enabled": true}'}

    def test_mesh(self) -> None:
        derived = node_sees(self.MESH | {f"{PREFIX}/host/kube-node2/as_num": "65200"}, "kube-node1")
        assert names(derived) == ["Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"]
        assert [session.node for session in derived.sessions] == ["kube-master", "kube-node2", None]
        assert [session.remote_as for session in derived.sessions] == [65100, 65200, 65100]
        assert not any(session.rr_client for session in derived.sessions)

    def test_own_as(self) -> None:
        derived = node_sees(self.MESH | {f"{PREFIX}/host/kube-node1/as_num": "65200"}, "kube-node1")
        assert {session.local_as for session in derived.sessions} == {65200}

    def test_mesh_off(self) -> None:
        assert names(node_sees(CLUSTER, "kube-node1")) == ["Global_172_17_42_40"]

    def test_mesh_is_on_where_nothing_is_said(self) -> None:
        items = {key: value for key, value in CLUSTER.items() if not key.endswith("node_mesh")}
        assert "Mesh_172_17_42_30" in names(node_sees(items, "kube-node1"))

    def test_its_own_peers_and_not_those_of_others(self) -> None:
        items = CLUSTER | node_peer("kube-node1", "172.17.42.60") | node_peer("kube-node2", "172.17.42.61")
        assert names(node_sees(items, "kube-node1")) == ["Global_172_17_42_40", "Node_172_17_42_60"]

    def test_not_with_itself(self) -> None:
        items = CLUSTER | global_peer(NODES["kube-node1"])
        assert names(node_sees(items, "kube-node1")) == ["Global_172_17_42_40"]

    def test_another_node_with_its_address(self) -> None:
        derived = node_sees(self.MESH | host("twin", NODES["kube-node1"]), "kube-node1")
        assert "Mesh_172_17_42_31" not in names(derived)
        assert "is the address of this node, kube-node1, too" in rejected(derived)[f"{PREFIX}/host/twin/ip_addr_v4"]

    def test_unknown_node(self) -> None:
        derived = node_sees(CLUSTER, "nobody")
        assert not derived.sessions
        assert "this node, nobody, has no record" in rejected(derived)[f"{PREFIX}/host/nobody/ip_addr_v4"]

    def test_without_any_as(self) -> None:
        items = {key: value for key, value in CLUSTER.items() if not key.endswith("global/as_num")}
        derived = node_sees(items, "kube-node1")
        assert not derived.sessions
        assert "has no AS number of its own either" in rejected(derived)[f"{PREFIX}/global/as_num"]


_addresses = st.ip_addresses(v=4, network="10.0.0.0/29").map(str) | st.just(REFLECTOR) | st.sampled_from(["", "junk"])
_hosts = st.dictionaries(st.sampled_from("abcdef"), _addresses)


@given(_hosts, st.lists(_addresses), st.lists(st.tuples(st.sampled_from("abcdef"), _addresses)), st.booleans())
def test_one_session_for_a_neighbor_whatever_the_keys(
    hosts: dict[str, str], reflectors: list[str], peers: list[tuple[str, str]], everywhere: bool
) -> None:
    items = {f"{PREFIX}/global/as_num": "65100"}
    for name, address in hosts.items():
        items |= host(name, address)
    for address in [*reflectors, REFLECTOR]:
        items |= reflector(address)
    for name, address in peers:
        items |= node_peer(name, address)
    items |= global_peer(REFLECTOR) if everywhere else {}

    derived = reflector_sees(items)

    neighbors = [session.neighbor for session in derived.sessions]
    assert len(set(neighbors)) == len(neighbors)
    assert len(set(names(derived))) == len(neighbors)
    assert ip_address(REFLECTOR) not in neighbors
    assert names(derived) == [session_name(session.kind, session.neighbor) for session in derived.sessions]
    shuffled = dict(reversed(items.items()))
    assert reflector_sees(shuffled) == derived


@given(_hosts.filter(lambda hosts: len(hosts) > 1))
def test_one_bad_record_costs_one_session_at_most(hosts: dict[str, str]) -> None:
    items = CLUSTER.copy()
    for name, address in hosts.items():
        items |= host(name, address)
    before = {session.neighbor for session in reflector_sees(items).sessions}
    for key in [key for key in items if "/host/" in key and key.endswith("v4")]:
        after = {session.neighbor for session in reflector_sees(items | {key: "\x00{;}"}).sessions}
        assert after <= before
        assert len(before - after) <= 1

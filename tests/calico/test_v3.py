"""Calico's v3 resources: a key and its value give records."""

import copy
import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwatch.bgp import topology as bgp
from rrwatch.calico import selector
from rrwatch.calico.model import ClusterState
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v3 import RESOURCES, V3, parse
from tests.fuzz import EXAMPLES
from tests.resources import PLURALS, Fields, resource, resource_key

Record = bgp.Record | bgp.Rejected

NODE = resource_key("Node", "n1")
PEER = resource_key("BGPPeer", "p")
DEFAULT = resource_key("BGPConfiguration", "default")
OF_NODE = resource_key("BGPConfiguration", "node.n1")
CLUSTER = resource_key("ClusterInformation", "default")

NODE_SPEC: Fields = {
    "bgp": {
        "asNumber": 65101,
        "ipv4Address": "10.0.0.1/24",
        "ipv6Address": "fd00::1/64",
        "ipv4IPIPTunnelAddr": "192.168.9.64",
        "routeReflectorClusterID": "1.0.0.1",
    },
    "orchRefs": [{"nodeName": "n1", "orchestrator": "k8s"}],
}
PEER_SPEC: Fields = {
    "node": "n1",
    "nodeSelector": "rack == '1'",
    "peerIP": "10.0.0.40:1790",
    "asNumber": 65100,
    "localASNumber": 65001,
    "reversePeering": "Manual",
    "sourceAddress": "None",
    "password": {"secretKeyRef": {"name": "bgp-secrets", "key": "rr1"}},
    "ttlSecurity": 2,
    "maxRestartTime": "2m0s",
    "keepaliveTime": "20s",
    "filters": ["f", "g"],
    "keepOriginalNextHop": True,
}
DEFAULT_SPEC: Fields = {
    "asNumber": 65100,
    "listenPort": 1790,
    "logSeverityScreen": "Debug",
    "nodeToNodeMeshEnabled": False,
    "nodeMeshPassword": {"secretKeyRef": {"name": "bgp-secrets", "key": "mesh"}},
    "nodeMeshMaxRestartTime": "10s",
    "serviceClusterIPs": [{"cidr": "10.101.0.0/16"}],
}
CLUSTER_SPEC: Fields = {"clusterGUID": "8e5e0d1c", "clusterType": "k8s,bgp", "datastoreReady": True}


def parsed(kind: str, spec: object, name: str = "n1", **metadata: Any) -> tuple[Record, ...]:
    """Parses a resource, without those of its records that say nothing."""
    ((key, value),) = resource(kind, name, spec, **metadata).items()  # type: ignore[arg-type]  # wrong types as well
    return tuple(record for record in parse(key, value) if record != bgp.HostLabels(key, name, {}))


def node(**spec: object) -> tuple[Record, ...]:
    return parsed("Node", {"bgp": spec})


def peer(**spec: object) -> tuple[Record, ...]:
    return parsed("BGPPeer", {"peerIP": "10.0.0.40", "asNumber": 65100} | spec, "p")


def default(**spec: object) -> tuple[Record, ...]:
    return parsed("BGPConfiguration", spec, "default")


def a_peer(**members: Any) -> tuple[Record, ...]:
    known: Fields = {"address": IPv4Address("10.0.0.40"), "as_number": bgp.AsNumber(65100)}
    return (bgp.BgpPeer(PEER, "p", **known | members),)


def reason(records: tuple[Record, ...]) -> str:
    """Returns why a resource is rejected."""
    (rejected,) = (record for record in records if isinstance(record, bgp.Rejected))
    assert rejected.reason.isascii()
    assert rejected.reason.isprintable()
    assert len(rejected.reason) < 2000
    return rejected.reason


class TestNode:
    def test_all_members(self) -> None:
        assert parsed("Node", NODE_SPEC, labels={"rack": "1", "": ""}) == (
            bgp.HostLabels(NODE, "n1", {"rack": "1", "": ""}),
            bgp.HostAs(NODE, "n1", bgp.AsNumber(65101)),
            bgp.HostClusterId(NODE, "n1", IPv4Address("1.0.0.1")),
            bgp.HostAddress(NODE, "n1", bgp.Family.IPV4, IPv4Address("10.0.0.1")),
            bgp.HostAddress(NODE, "n1", bgp.Family.IPV6, IPv6Address("fd00::1")),
        )

    @pytest.mark.parametrize("spec", [{}, {"bgp": None}, {"bgp": {}}, None])
    def test_without_bgp_it_only_exists(self, spec: object) -> None:
        assert parse(*next(iter(resource("Node", "n1", spec).items()))) == (bgp.HostLabels(NODE, "n1", {}),)  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", ["{}", '{"metadata": null, "spec": null, "kind": "Node", "new": {"in": [4]}}'])
    def test_it_needs_no_member(self, value: str) -> None:
        assert parse(NODE, value) == (bgp.HostLabels(NODE, "n1", {}),)

    def test_empty_members_are_absent_ones(self) -> None:
        bgp_spec = {"asNumber": 0, "ipv4Address": "", "ipv6Address": None, "routeReflectorClusterID": ""}
        assert node(**bgp_spec) == ()

    @pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1/32", "10.0.0.1/0"])
    def test_the_host_part_of_an_address(self, text: str) -> None:
        assert node(ipv4Address=text) == (bgp.HostAddress(NODE, "n1", bgp.Family.IPV4, IPv4Address("10.0.0.1")),)

    def test_an_address_in_another_spelling(self) -> None:
        for text in ("FD00:0::A", "fd00::a/128"):
            assert node(ipv6Address=text) == (bgp.HostAddress(NODE, "n1", bgp.Family.IPV6, IPv6Address("fd00::a")),)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("10.0.0.256", "spec.bgp.ipv4Address: '10.0.0.256' is not an IPv4 address"),
            ("10.0.0.1/33", "'10.0.0.1/33' has no prefix length of an IPv4 address"),
            ("10.0.0.1/255.255.255.0", "has no prefix length"),
            ("10.0.0.1/", "has no prefix length"),
            ("10.0.0.1/+8", "has no prefix length"),
            ("10.0.0.1/8/8", "has no prefix length"),
            ("fd00::1", "'fd00::1' is not an IPv4 address"),
            ("127.0.0.1/8", "'127.0.0.1' is a loopback address"),
            (10, "10 is not a string"),
            (["10.0.0.1"], "is not a string"),
            (0, "0 is not a string"),
            (False, "False is not a string"),
        ],
    )
    def test_a_wrong_address_leaves_the_other_one(self, text: object, words: str) -> None:
        *records, rejected = node(ipv4Address=text, ipv6Address="fd00::1")
        assert records == [bgp.HostAddress(NODE, "n1", bgp.Family.IPV6, IPv6Address("fd00::1"))]
        assert words in reason((rejected,))

    def test_two_wrong_addresses_are_one_reason(self) -> None:
        assert reason(node(ipv4Address="x", ipv6Address="fd00::1/129")) == (
            "spec.bgp.ipv4Address: 'x' is not an IPv4 address; "
            "spec.bgp.ipv6Address: 'fd00::1/129' has no prefix length of an IPv6 address"
        )

    @pytest.mark.parametrize(
        ("spec", "metadata", "words"),
        [
            ({"asNumber": "x"}, {}, "spec.bgp.asNumber: 'x' is not an AS number"),
            ({"asNumber": ""}, {}, "spec.bgp.asNumber: '' is not an AS number"),
            ({"asNumber": 0.0}, {}, "spec.bgp.asNumber: 0.0 is not an AS number"),
            ({"asNumber": False}, {}, "spec.bgp.asNumber: False is not an AS number"),
            ({"routeReflectorClusterID": "one"}, {}, "spec.bgp.routeReflectorClusterID: cluster_id 'one' is neither"),
            ({"routeReflectorClusterID": 16777217}, {}, "spec.bgp.routeReflectorClusterID: 16777217 is not a string"),
            ({}, {"labels": ["rack"]}, "metadata.labels: ['rack'] is not an object of strings"),
            ({}, {"labels": {"rack": 1}}, "metadata.labels: {'rack': 1} is not an object of strings"),
        ],
    )
    def test_it_has_no_sessions_if_a_term_of_them_cannot_be_read(
        self, spec: Fields, metadata: Fields, words: str
    ) -> None:
        *records, rejected = parsed("Node", {"bgp": spec | {"ipv4Address": "10.0.0.1"}}, **metadata)
        assert not [record for record in records if isinstance(record, bgp.HostAddress)]
        assert words in reason((rejected,))

    @pytest.mark.parametrize("value", ['{"spec": []}', '{"spec": {"bgp": "x"}}', '{"metadata": 1}'])
    def test_parts_of_a_wrong_type(self, value: str) -> None:
        assert "not an object" in reason(parse(NODE, value))


class TestPeer:
    def test_all_members(self) -> None:
        assert parsed("BGPPeer", PEER_SPEC, "p") == a_peer(
            node="n1",
            nodes=selector.parse("rack == '1'"),
            port=1790,
            local_as=bgp.AsNumber(65001),
            reverse=False,
            from_own_address=False,
            password=bgp.Password("bgp-secrets", "rr1"),
            ttl_security=2,
            graceful_restart_time=120,
            keepalive_time=20,
            filters=("f", "g"),
        )

    @pytest.mark.parametrize("missing", ["", None])
    def test_empty_members_are_absent_ones(self, missing: object) -> None:
        texts = ("node", "nodeSelector", "peerSelector", "reversePeering", "sourceAddress", "maxRestartTime",
                 "keepaliveTime", "localWorkloadSelector")  # fmt: skip
        objects: Fields = {"password": None, "filters": None}
        numbers = {"localASNumber": 0, "ttlSecurity": 0}
        assert peer(**dict.fromkeys(texts, missing), **objects, **numbers) == a_peer()
        assert peer(password={}, filters=[]) == a_peer()
        assert peer(password={"secretKeyRef": {"name": "", "key": ""}}) == a_peer()

    @pytest.mark.parametrize(
        ("text", "address", "port"),
        [
            ("10.0.0.40", "10.0.0.40", None),
            ("10.0.0.40:179", "10.0.0.40", 179),
            ("10.0.0.40:65535", "10.0.0.40", 65535),
            ("10.0.0.40:0", "10.0.0.40", None),
            ("[10.0.0.40]:179", "10.0.0.40", 179),
            ("fd00::28", "fd00::28", None),
            ("FD00:0::28", "fd00::28", None),
            ("[fd00::28]:1790", "fd00::28", 1790),
            ("ff02::1", "ff02::1", None),
            ("224.0.0.1", "224.0.0.1", None),
        ],
    )
    def test_peer_ip(self, text: str, address: str, port: int | None) -> None:
        expected = IPv6Address(address) if ":" in address else IPv4Address(address)
        assert peer(peerIP=text) == a_peer(address=expected, port=port)

    @pytest.mark.parametrize(
        "text",
        ["10.0.0.40:", "10.0.0.40:65536", "10.0.0.40:100000", "10.0.0.40:x", "10.0.0.40/32", "[fd00::28]",
         "fd00::28]:1", "[fd00::28]:1 ", "[fd00::28%eth0]:1", "fe80::1", "::1", "rr.example", " 10.0.0.40",
         "10.0.0.40\n", ":179", "[]:179", "10.0.0.40:\uff11"],
    )  # fmt: skip
    def test_not_a_peer_ip(self, text: str) -> None:
        assert reason(peer(peerIP=text)).startswith("spec.peerIP: ")

    def test_with_a_peer_selector_only_its_nodes_count(self) -> None:
        # Calico looks at no peerIP then, whatever it says.
        for ignored in ("10.0.0.40", "x"):
            assert peer(peerIP=ignored, peerSelector="has(rr)") == a_peer(address=None, peers=selector.parse("has(rr)"))
        assert parsed("BGPPeer", {"peerSelector": "has(rr)"}, "p") == a_peer(
            address=None, as_number=None, peers=selector.parse("has(rr)")
        )

    def test_a_blank_selector_selects_all_nodes(self) -> None:
        assert peer(nodeSelector=" ") == a_peer(nodes=selector.parse("all()"))

    def test_peers_of_local_workloads_are_left_out(self) -> None:
        assert peer(localWorkloadSelector="has(x)", peerIP="") == ()
        assert "spec.localWorkloadSelector: 1 is not a string" in reason(peer(localWorkloadSelector=1))

    @pytest.mark.parametrize("value", [65546, "65546", "1.10"])
    @pytest.mark.parametrize(("name", "member"), [("asNumber", "as_number"), ("localASNumber", "local_as")])
    def test_as_numbers(self, value: object, name: str, member: str) -> None:
        assert peer(**{name: value}) == a_peer(**{member: 65546})

    @pytest.mark.parametrize("name", ["asNumber", "localASNumber"])
    @pytest.mark.parametrize("value", [-1, 2**32, 1.5, "1.65536", "x", "", True, [], {}])
    def test_not_as_numbers(self, value: object, name: str) -> None:
        assert reason(peer(**{name: value})).startswith(f"spec.{name}: {value!a} is not an AS number")

    @pytest.mark.parametrize("spec", [{"peerIP": "10.0.0.40"}, {"peerIP": "10.0.0.40", "asNumber": 0}])
    def test_an_address_needs_an_as_number(self, spec: Fields) -> None:
        assert parsed("BGPPeer", spec, "p") == (bgp.Rejected(PEER, "asNumber is missing: BIRD needs the AS of peerIP"),)

    @pytest.mark.parametrize("spec", [{}, {"asNumber": 65100}, {"node": "n1", "peerIP": "", "peerSelector": ""}, None])
    def test_it_needs_a_far_end(self, spec: object) -> None:
        assert parsed("BGPPeer", spec, "p") == (
            bgp.Rejected(PEER, "names nobody to peer with: neither peerIP nor peerSelector is set"),
        )

    @pytest.mark.parametrize("number", [1, 255])
    def test_ttl_security(self, number: int) -> None:
        assert peer(ttlSecurity=number) == a_peer(ttl_security=number)

    @pytest.mark.parametrize("value", [256, -1, 1.0, "1", True])
    def test_not_ttl_security(self, value: object) -> None:
        assert reason(peer(ttlSecurity=value)) == f"spec.ttlSecurity: {value!r} is not a whole number, 1 to 255"

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("0", 0), ("0s", 0), ("120s", 120), ("2m0s", 120), ("1h8m15s", 4095), ("1.5s", 2), ("0.499s", 0),
            (".5s", 1), ("1.s", 1), ("1500ms", 2), ("2500000us", 3), ("1\u00b5s", 0), ("500000\u03bcs", 1),
            ("499999999ns", 0), ("500000000ns", 1), ("0.4s99.999999ms", 0), ("0.4s100ms", 1), ("0.05m", 3),
        ],
    )  # fmt: skip
    def test_restart_times(self, text: str, seconds: int) -> None:
        assert peer(maxRestartTime=text) == a_peer(graceful_restart_time=seconds)

    @pytest.mark.parametrize("text", ["4095.5s", "1h8m16s", "999999999h"])
    def test_longer_times_than_bird_has(self, text: str) -> None:
        assert peer(maxRestartTime=text) == a_peer(graceful_restart_time=4095)
        assert default(nodeMeshMaxRestartTime=text) == (bgp.MeshOptions(DEFAULT, None, 4095),)
        assert peer(keepaliveTime="999999999h") == a_peer(keepalive_time=65535)

    @pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("500ms", 1), ("4096s", 4096)])
    def test_keepalive_times(self, text: str, seconds: int) -> None:
        assert peer(keepaliveTime=text) == a_peer(keepalive_time=seconds)

    @pytest.mark.parametrize("name", ["maxRestartTime", "keepaliveTime"])
    @pytest.mark.parametrize(
        "text",
        ["1", "s", "-1s", "1 s", "1s ", "1.2.3s", ".s", "1d", "1e3s", "1s,", "9" * 10 + "s", "1s\n", "\uff11s"],
    )
    def test_not_durations(self, text: str, name: str) -> None:
        assert reason(peer(**{name: text})) == f"spec.{name}: {text!a} is not a duration like 2m0s"

    @pytest.mark.parametrize("value", [120, 0, True, ["1s"]])
    def test_durations_are_strings(self, value: object) -> None:
        assert reason(peer(maxRestartTime=value)) == f"spec.maxRestartTime: {value!r} is not a string"

    @pytest.mark.parametrize(("reverse", "expected"), [("Auto", True), ("Manual", False)])
    @pytest.mark.parametrize(("source", "own"), [("UseNodeIP", True), ("None", False)])
    def test_enumerations(self, reverse: str, expected: bool, source: str, own: bool) -> None:
        assert peer(reversePeering=reverse, sourceAddress=source) == a_peer(reverse=expected, from_own_address=own)

    def test_words_of_a_newer_calico(self) -> None:
        assert reason(peer(reversePeering="Sometimes", sourceAddress="Newest")) == (
            "spec.reversePeering: 'Sometimes' is not Auto or Manual; "
            "spec.sourceAddress: 'Newest' is not UseNodeIP or None"
        )

    def test_members_of_a_newer_calico(self) -> None:
        assert peer(nextHopMode="Newest", future={"a": [1]}) == a_peer()

    @pytest.mark.parametrize("name", ["nodeSelector", "peerSelector"])
    def test_selectors_that_are_none(self, name: str) -> None:
        assert reason(peer(**{name: "rack = '1'"})).startswith(f"spec.{name}: ")
        assert "is not a selector" in reason(peer(**{name: "rack = '1'"}))
        # It must not become a peer of all nodes.
        assert reason(peer(**{name: 0})) == f"spec.{name}: 0 is not a string"

    @pytest.mark.parametrize("name", ["n 1", "n\n1", "a/b", "x" * 254])
    def test_names_of_nodes_that_are_none(self, name: str) -> None:
        assert "is not a name" in reason(peer(node=name))

    @pytest.mark.parametrize("value", ["f", {"f": 1}, [1], [None], [["f"]]])
    def test_filters_that_are_no_texts(self, value: object) -> None:
        assert reason(peer(filters=value)).startswith("spec.filters: ")

    def test_a_filter_may_have_any_name(self) -> None:
        assert peer(filters=["a\ud800\n"]) == a_peer(filters=("a\ud800\n",))

    @pytest.mark.parametrize(
        ("reference", "words"),
        [
            ({"name": "s"}, "a secretKeyRef needs a name and a key"),
            ({"key": "k", "name": ""}, "a secretKeyRef needs a name and a key"),
            ({"name": 1, "key": "k"}, "spec.password.secretKeyRef.name: 1 is not a string"),
            ({"name": "s", "key": "a/b"}, "secretKeyRef.key: 'a/b' is not the name of a Secret or of a key in one"),
            ({"name": "..", "key": "k"}, "'..' is not the name"),
            ({"name": "s", "key": "..data"}, "'..data' is not the name"),
            ({"name": "s", "key": "x" * 254}, "is not the name"),
            ({"name": "s\n", "key": "k"}, "is not the name"),
            ("s/k", "spec.password.secretKeyRef is 's/k', not an object"),
        ],
    )
    def test_passwords_that_are_nowhere(self, reference: object, words: str) -> None:
        assert words in reason(peer(password={"secretKeyRef": reference}))

    def test_names_of_secrets(self) -> None:
        reference = {"name": "a-b.c", "key": ".k_1", "optional": True}
        assert peer(password={"secretKeyRef": reference}) == a_peer(password=bgp.Password("a-b.c", ".k_1"))

    def test_all_faults_are_told(self) -> None:
        assert reason(peer(peerIP="x", asNumber="x", password=1)) == (
            "spec.peerIP: 'x' is not an IPv4 address; spec.asNumber: 'x' is not an AS number, 1 to 4294967295; "
            "spec.password is 1, not an object"
        )


class TestConfiguration:
    def test_all_members(self) -> None:
        assert default(**DEFAULT_SPEC) == (
            bgp.ListenPort(DEFAULT, None, 1790),
            bgp.LogLevel(DEFAULT, None, bgp.Debug.ALL),
            bgp.GlobalAs(DEFAULT, bgp.AsNumber(65100)),
            bgp.NodeMesh(DEFAULT, False),
            bgp.MeshOptions(DEFAULT, bgp.Password("bgp-secrets", "mesh"), 10),
        )

    def test_of_a_node_only_port_and_log_level_count(self) -> None:
        assert parsed("BGPConfiguration", DEFAULT_SPEC, "node.n1") == (
            bgp.ListenPort(OF_NODE, "n1", 1790),
            bgp.LogLevel(OF_NODE, "n1", bgp.Debug.ALL),
        )
        assert parsed("BGPConfiguration", {"asNumber": "x", "nodeToNodeMeshEnabled": 1}, "node.n1") == ()

    def test_a_node_may_have_dots_in_its_name(self) -> None:
        key = resource_key("BGPConfiguration", "node.node.a.b")
        assert parsed("BGPConfiguration", {"listenPort": 1}, "node.node.a.b") == (bgp.ListenPort(key, "node.a.b", 1),)

    def test_empty_members_are_absent_ones(self) -> None:
        assert default(asNumber=0, listenPort=0, logSeverityScreen="", nodeMeshMaxRestartTime="") == ()
        assert default(nodeToNodeMeshEnabled=None, nodeMeshPassword=None) == ()

    @pytest.mark.parametrize("enabled", [True, False])
    def test_the_mesh(self, enabled: bool) -> None:
        assert default(nodeToNodeMeshEnabled=enabled) == (bgp.NodeMesh(DEFAULT, enabled),)

    def test_options_of_the_mesh(self) -> None:
        assert default(nodeMeshMaxRestartTime="0s") == (bgp.MeshOptions(DEFAULT, None, 0),)
        secret = {"secretKeyRef": {"name": "s", "key": "k"}}
        assert default(nodeMeshPassword=secret) == (bgp.MeshOptions(DEFAULT, bgp.Password("s", "k")),)

    @pytest.mark.parametrize(
        ("word", "debug"),
        [("Debug", bgp.Debug.ALL), ("INFO", bgp.Debug.STATES), ("Warning", bgp.Debug.OFF), ("Newest", bgp.Debug.OFF)],
    )
    def test_log_levels(self, word: str, debug: bgp.Debug) -> None:
        assert default(logSeverityScreen=word) == (bgp.LogLevel(DEFAULT, None, debug),)

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ({"listenPort": 65536}, "spec.listenPort: 65536 is not a whole number, 1 to 65535"),
            ({"listenPort": -1}, "spec.listenPort: -1 is not a whole number"),
            ({"listenPort": "179"}, "spec.listenPort: '179' is not a whole number"),
            ({"listenPort": 179.0}, "spec.listenPort: 179.0 is not a whole number"),
            ({"listenPort": False}, "spec.listenPort: False is not a whole number"),
            ({"nodeToNodeMeshEnabled": "false"}, "spec.nodeToNodeMeshEnabled: 'false' is not true or false"),
            ({"nodeToNodeMeshEnabled": 0}, "spec.nodeToNodeMeshEnabled: 0 is not true or false"),
            ({"nodeToNodeMeshEnabled": ""}, "spec.nodeToNodeMeshEnabled: '' is not true or false"),
            ({"asNumber": [1]}, "spec.asNumber: [1] is not an AS number"),
            ({"logSeverityScreen": 1}, "spec.logSeverityScreen: 1 is not a string"),
            ({"nodeMeshMaxRestartTime": 10}, "spec.nodeMeshMaxRestartTime: 10 is not a string"),
            ({"nodeMeshPassword": {"secretKeyRef": {"name": "s"}}}, "a secretKeyRef needs a name and a key"),
        ],
    )
    def test_a_wrong_member_leaves_the_others(self, spec: Fields, words: str) -> None:
        other: Fields = {"asNumber": 65100} if "asNumber" not in spec else {"listenPort": 1}
        records = default(**spec, **other)
        assert len(records) == 2
        assert words in reason(records)

    @pytest.mark.parametrize("name", ["other", "node", "Default", "node.", "node.a b"])
    def test_other_names(self, name: str) -> None:
        told = reason(parsed("BGPConfiguration", {"listenPort": 1}, name))
        assert "has no effect" in told or "is not a name" in told


class TestOtherResources:
    def test_of_a_filter_the_name_counts(self) -> None:
        key = resource_key("BGPFilter", "f")
        for spec in ({}, {"importV4": [{"action": "Newest"}]}, None, 1):
            assert parsed("BGPFilter", spec, "f") == (bgp.BgpFilter(key, "f"),)

    def test_cluster_information_is_no_record(self) -> None:
        assert parsed("ClusterInformation", CLUSTER_SPEC, "default") == ()
        assert parsed("ClusterInformation", {"clusterGUID": 1}, "other") == ()
        assert reason(parsed("ClusterInformation", {"clusterGUID": 1, "datastoreReady": "no"}, "default")) == (
            "spec.clusterGUID: 1 is not a string; spec.datastoreReady: 'no' is not true or false"
        )

    def test_reflectors_are_those_of_v1(self) -> None:
        key = "/calico/bgp/v1/rr_v4/10.0.0.1"
        assert parse(key, '{"ip": "10.0.0.1", "cluster_id": "1.0.0.1"}') == (
            bgp.Reflector(key, IPv4Address("10.0.0.1"), IPv4Address("1.0.0.1")),
        )
        assert "is not JSON" in reason(parse(key, "{"))

    @pytest.mark.parametrize(
        "key",
        [
            "/calico/bgp/v1/global/as_num",
            "/calico/bgp/v1/host/n1/ip_addr_v4",
            "/calico/bgp/v1/rr",
            f"{RESOURCES}/workloadendpoints/default/x",
            f"{RESOURCES}/ippools/default-ipv4-ippool",
            f"{RESOURCES}/",
            RESOURCES,
            "/calico/resources/v3/projectcalico.organic/nodes/n1",
            "/calico/ipam/v2/host/n1/ipv4/block/10.0.0.0-26",
            "",
        ],
    )
    def test_other_keys_say_nothing(self, key: str) -> None:
        assert parse(key, '{"ip": "10.0.0.1"}') == ()

    @pytest.mark.parametrize("plural", PLURALS.values())
    @pytest.mark.parametrize("name", ["", "a/b", "a/", "a b", "a\nb", 'a"b', "n\u00f6de", "\ud800", "x" * 254])
    def test_names_that_no_resource_has(self, plural: str, name: str) -> None:
        assert "is not a name" in reason(parse(f"{RESOURCES}/{plural}/{name}", "{}"))

    @pytest.mark.parametrize("kind", PLURALS)
    @pytest.mark.parametrize("other", ['"Node "', '"IPPool"', "null", "1", "[]"])
    def test_another_kind(self, kind: str, other: str) -> None:
        told = reason(parse(resource_key(kind, "default"), f'{{"kind": {other}, "spec": {{}}}}'))
        assert told == f"the value is of kind {json.loads(other)!a}, not {kind}"

    @pytest.mark.parametrize("kind", PLURALS)
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("", "'' is not JSON"),
            ("{", "is not JSON"),
            ("\x00", "'\\x00' is not JSON"),
            ("[]", "'[]' is not a JSON object"),
            ("null", "is not a JSON object"),
            ('"\\ud800"', "is not a JSON object"),
            ("\ud800", "'\\ud800' is not JSON"),
            ("[" * 100_000, "is not JSON"),
            ('{"a":' * 100_000, "is not JSON"),
            (f'{{"a": {"9" * 5000}}}', "is not JSON"),
            (f'{{"a": "{"x" * 1_400_000}"}}', "the value has 1400009 characters, more than 524288"),
        ],
    )
    def test_values_that_no_resource_has(self, kind: str, value: str, words: str) -> None:
        assert words in reason(parse(resource_key(kind, "default"), value))

    def test_a_large_resource(self) -> None:
        annotations = {"projectcalico.org/kube-labels": "x" * 500_000}
        assert len(parsed("Node", NODE_SPEC, annotations=annotations)) == 4


def paths(value: object, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path to each value within a value."""
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield (*above, name)
        yield from paths(inner, (*above, name))


def replaced(value: Any, path: tuple[Any, ...], other: object) -> Any:
    """Returns a value with another one at a path."""
    if not path:
        return other
    result = copy.copy(value)
    result[path[0]] = replaced(value[path[0]], path[1:], other)
    return result


VALID = {
    NODE: {"kind": "Node", "metadata": {"name": "n1", "labels": {"rack": "1"}}, "spec": NODE_SPEC},
    PEER: {"kind": "BGPPeer", "metadata": {"name": "p"}, "spec": PEER_SPEC | {"peerSelector": "has(rr)"}},
    resource_key("BGPPeer", "q"): {"kind": "BGPPeer", "metadata": {"name": "q"}, "spec": PEER_SPEC},
    DEFAULT: {"kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": DEFAULT_SPEC},
    OF_NODE: {"kind": "BGPConfiguration", "metadata": {"name": "node.n1"}, "spec": DEFAULT_SPEC},
    CLUSTER: {"kind": "ClusterInformation", "metadata": {"name": "default"}, "spec": CLUSTER_SPEC},
    resource_key("BGPFilter", "f"): {"kind": "BGPFilter", "metadata": {"name": "f"}, "spec": {}},
}
PLACES = [(key, path) for key, value in VALID.items() for path in paths(value)]
TEXTS = ["", "0", "all()", "10.0.0.1", "fd00::1", "1.10", "1s", "node.n1", "\ud800", "\n", "Manual", "has("]

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def assert_sound(key: str, value: str) -> None:
    records = parse(key, value)
    assert sum(isinstance(record, bgp.Rejected) for record in records) <= 1
    for record in records:
        assert record.key == key
        if isinstance(record, bgp.Rejected):
            reason(records)
        elif not isinstance(record, bgp.HostLabels):
            hash(record)
    # The store tells by comparing records whether a key changed.
    assert records == parse(key, value)
    store = RecordStore.of({key: value}, V3)
    assert not store.update([key], {key: value})
    store.topology()


class TestWhateverAnybodyWrites:
    @given(st.text() | st.sampled_from([*VALID, *(f"{RESOURCES}/{plural}/" for plural in PLURALS.values())]), st.text())
    @settings(max_examples=EXAMPLES)
    def test_any_text(self, key: str, value: str) -> None:
        assert_sound(key, value)

    @given(st.sampled_from(list(VALID)), _json)
    @settings(max_examples=EXAMPLES)
    def test_any_json(self, key: str, value: object) -> None:
        assert_sound(key, json.dumps(value))

    @given(st.sampled_from(PLACES), _json)
    @settings(max_examples=10 * EXAMPLES)
    def test_any_json_in_any_place(self, place: tuple[str, tuple[Any, ...]], other: object) -> None:
        key, path = place
        assert_sound(key, json.dumps(replaced(VALID[key], path, other)))

    @pytest.mark.parametrize("key", [PEER, NODE, DEFAULT])
    def test_nested_just_as_deep_as_can_be_read(self, key: str) -> None:
        # Python's limit for reading is one for showing, too, which happens further down its stack.
        for depth in range(700, 1000):
            inner = "[" * depth + "]" * depth
            for name in ("peerIP", "bgp", "asNumber"):
                for record in parse(key, f'{{"spec": {{"{name}": {inner}}}}}'):
                    if isinstance(record, bgp.Rejected):
                        reason((record,))

    @pytest.mark.parametrize(
        ("key", "path"), PLACES, ids=lambda part: part if isinstance(part, str) else ".".join(map(str, part))
    )
    def test_a_wrong_type_in_a_place_that_matters_is_told(self, key: str, path: tuple[Any, ...]) -> None:
        records = parse(key, json.dumps(VALID[key]))
        assert not any(isinstance(record, bgp.Rejected) for record in records)
        known: Any = VALID[key]
        for part in path:
            known = known[part]
        for other in (["x"], {"x": ["x"]}, 1.5):
            changed = parse(key, json.dumps(replaced(VALID[key], path, other)))
            if changed != records and not isinstance(other, type(known)):
                assert reason(changed)


class TestEndsByEffect:
    """Whether a write may end sessions of nodes that whoever wrote it need not have thought of."""

    @staticmethod
    def ends(key: str, before: object, after: object) -> bool:
        return V3.ends_by_effect(key, json.dumps(before), json.dumps(after))

    @pytest.mark.parametrize("labels", [{}, {"rack": "2"}, {"rack": "1", "x": ""}])
    def test_labels_of_a_node(self, labels: Fields) -> None:
        before = VALID[NODE]
        assert self.ends(NODE, before, before | {"metadata": {"labels": labels}})

    @pytest.mark.parametrize(("name", "value"), [("node", "n2"), ("nodeSelector", "rack == '2'"), ("nodeSelector", "")])
    def test_the_nodes_of_a_peer(self, name: str, value: str) -> None:
        before = VALID[PEER]
        assert self.ends(PEER, before, before | {"spec": PEER_SPEC | {name: value}})

    def test_the_far_ends_of_a_peer(self) -> None:
        assert self.ends(PEER, VALID[PEER], {"spec": PEER_SPEC | {"peerSelector": "has(x)"}})
        assert self.ends(PEER, VALID[PEER], {"spec": PEER_SPEC})

    @pytest.mark.parametrize(
        ("key", "after"),
        [
            (NODE, {"metadata": {"labels": {"rack": "1"}, "annotations": {"x": "y"}}, "spec": {}, "status": {}}),
            (PEER, {"spec": PEER_SPEC | {"peerSelector": "has( rr )", "asNumber": 1, "peerIP": "10.0.0.1"}}),
            (DEFAULT, {"spec": {"nodeToNodeMeshEnabled": False}}),
            (OF_NODE, {}),
            (CLUSTER, {}),
        ],
    )
    def test_what_says_itself_what_it_ends(self, key: str, after: object) -> None:
        assert not self.ends(key, VALID[key], after)


class TestClusterState:
    @staticmethod
    def state(**spec: object) -> ClusterState:
        return V3.cluster_state(resource("ClusterInformation", "default", spec))

    def test_identity(self) -> None:
        assert self.state(**CLUSTER_SPEC) == ClusterState("'8e5e0d1c'")
        assert self.state(clusterGUID="a\n").identity == r"'a\n'"
        assert self.state(clusterGUID="other") != self.state(**CLUSTER_SPEC)

    @pytest.mark.parametrize("spec", [{}, {"clusterGUID": ""}, {"clusterGUID": 1}, {"datastoreReady": "false"}])
    def test_without_an_identity(self, spec: Fields) -> None:
        assert self.state(**spec) == ClusterState()

    def test_locked(self) -> None:
        state = self.state(clusterGUID="8e5e0d1c", datastoreReady=False)
        assert state.identity == "'8e5e0d1c'"
        assert "datastoreReady is false" in state.locked

    @pytest.mark.parametrize("value", ["", "[]", '{"spec": 1}', "[" * 100_000, "x" * 1_400_000])
    def test_unreadable(self, value: str) -> None:
        assert V3.cluster_state({CLUSTER: value}) == ClusterState()

    def test_missing(self) -> None:
        other = resource("ClusterInformation", "other", {"clusterGUID": "x", "datastoreReady": False})
        assert V3.cluster_state(other) == V3.cluster_state({}) == ClusterState()


class TestNames:
    def test_of_keys(self) -> None:
        names = V3.names
        assert names.host_address("n1", bgp.Family.IPV4) == names.host_address("n1", bgp.Family.IPV6) == NODE
        assert names.host_as("n1") == NODE
        assert names.global_as() == DEFAULT
        assert names.reflector(IPv4Address("10.0.0.1")) == "/calico/bgp/v1/rr_v4/10.0.0.1"

    @pytest.mark.parametrize(
        ("key", "host"),
        [
            (NODE, "n1"),
            (OF_NODE, "n1"),
            (DEFAULT, None),
            (PEER, None),
            (f"{RESOURCES}/nodes", None),
            (f"{RESOURCES}/nodes/", None),
            (f"{RESOURCES}/bgpconfigurations/node.", None),
        ],
    )
    def test_the_node_of_a_key(self, key: str, host: str | None) -> None:
        assert V3.names.host_of(key) == host

    def test_an_example_for_people(self) -> None:
        assert V3.peer_of_all(IPv4Address("10.0.0.1")) == f"{RESOURCES}/bgppeers/NAME, with peerIP 10.0.0.1,"

    def test_folders(self) -> None:
        shared = {f"{RESOURCES}/{plural}" for plural in PLURALS.values()}
        assert set(V3.reflector_folders()) == shared - {f"{RESOURCES}/bgpfilters"} | {"/calico/bgp/v1"}
        assert set(V3.all_node_folders("n1")) == shared
        for mesh in (True, False):
            assert V3.node_folders("n1", mesh=mesh) == V3.all_node_folders("n1")
        assert V3.root == RESOURCES

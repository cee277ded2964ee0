"""Deriving step by step gives the same as deriving everything at once."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rrwatch.bgp.increment import Deriver
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Family, Topology
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.calico.v3 import V3
from rrwatch.roles import NodeRole, ReflectorRole, Role
from tests.fuzz import EXAMPLES
from tests.keys import CLUSTER, PREFIX, REFLECTOR, global_peer, host, node_peer, reflector
from tests.resources import (
    REFLECTORS,
    a_configuration,
    a_node,
    a_peer,
    a_reflector_record,
    clusters,
    configuration,
    mesh_off,
    node,
    peer,
)

ROLES: list[Role] = [
    ReflectorRole(
        IPv4Address(REFLECTOR), Speaker({Family.IPV4: IPv4Address(REFLECTOR), Family.IPV6: IPv6Address("fd00::28")}), V1
    ),
    NodeRole("n1", V1),
]

_node = st.sampled_from(["n1", "n2", "n3", "n4", "n5", "n6"])
_address = st.sampled_from([*(f"172.17.42.{last}" for last in range(31, 70)), REFLECTOR, "", "nonsense", "127.0.0.1"])
_as = st.sampled_from(["65100", "65200", "", "x"])
_change = st.one_of(
    st.tuples(_node.map(lambda name: f"{PREFIX}/host/{name}/ip_addr_v4"), _address),
    st.tuples(_node.map(lambda name: f"{PREFIX}/host/{name}/ip_addr_v6"), st.sampled_from(["fd00::1", "fd00::2", ""])),
    st.tuples(_node.map(lambda name: f"{PREFIX}/host/{name}/as_num"), _as),
    st.tuples(_node.map(lambda name: f"{PREFIX}/host/{name}/peer_v4/x"), _address.map(
        lambda address: f'{{"ip": "{address}", "as_num": 65100}}')),
    st.tuples(st.just(f"{PREFIX}/global/node_mesh"), st.sampled_from(['{"enabled": true}', '{"enabled": false}'])),
    st.tuples(st.just(f"{PREFIX}/global/as_num"), _as),
    st.sampled_from([*reflector("172.17.42.36").items(), *reflector(REFLECTOR, "9.9.9.9").items(),
                     *global_peer(REFLECTOR, 65200).items(), *global_peer("fd00::28").items()]),
)  # fmt: skip
_steps = st.lists(st.lists(st.tuples(_change, st.booleans()), min_size=1, max_size=3), max_size=12)

START = {key: value for key, value in CLUSTER.items() if f"{PREFIX}/host/" not in key}
START[f"{PREFIX}/global/node_mesh"] = '{"enabled": true}'
for number in range(1, 7):
    START |= host(f"n{number}", f"172.17.42.{30 + number}")


OTHER_AS = next(iter(global_peer(REFLECTOR, 65200).items()))
SHARED_REMARK = [
    [(OTHER_AS, True)],
    [((f"{PREFIX}/host/n2/ip_addr_v6", ""), False), ((f"{PREFIX}/host/n3/as_num", "65100"), True)],
]


Steps = list[list[tuple[tuple[str, str], bool]]]


def assert_as_if_all_at_once(role: Role, items: dict[str, str], steps: Steps) -> None:
    store, deriver = RecordStore.of(items, role.model), Deriver(role.sessions, role.own_hosts)
    deriver.derive(store.topology())
    for step in steps:
        for (key, value), stays in step:
            if stays:
                items[key] = value
            else:
                items.pop(key, None)
        store.update([key for (key, _), _ in step], items)
        topology = store.topology()
        assert topology == RecordStore.of(items, role.model).topology()
        assert list(topology.hosts) == sorted(topology.hosts)
        assert deriver.derive(topology) == role.sessions(topology)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: type(role).__name__)
@given(_steps)
@example(SHARED_REMARK)
@settings(deadline=None, max_examples=500)
def test_as_if_all_at_once(role: Role, steps: Steps) -> None:
    assert_as_if_all_at_once(role, dict(START), steps)


def a_reflector(*addresses: str) -> ReflectorRole:
    own = [ip_address(address) for address in addresses]
    speaker = Speaker({Family(address.version): address for address in own}, reflectors=(IPv4Address("10.0.0.42"),))
    return ReflectorRole(IPv4Address(addresses[0]), speaker, V3)


V3_ROLES: dict[str, Role] = {
    "reflector outside": a_reflector("10.0.0.77"),
    "reflector registered": a_reflector(*REFLECTORS),
    "node": NodeRole("n1", V3),
}


# Of few hosts, more than half would have changed at each step.
BYSTANDERS = {
    key: value
    for number in range(4)
    for key, value in node(f"bystander{number}", f"10.0.1.{number}", {"rack": "1"}).items()
}


@st.composite
def v3_steps(draw: st.DrawFn) -> Steps:
    # Mostly nodes: any other change makes everything be derived again.
    one = st.one_of(a_node(), a_node(), a_node(), a_node(), a_node(), a_peer(), a_configuration(), a_reflector_record())
    change = st.tuples(one.map(lambda resource: next(iter(resource.items()))), st.sampled_from([True, True, False]))
    return draw(st.lists(st.lists(change, min_size=1, max_size=2), max_size=8))


@pytest.mark.parametrize("role", V3_ROLES.values(), ids=V3_ROLES)
@given(clusters(), v3_steps())
@settings(deadline=None, max_examples=EXAMPLES)
def test_as_if_all_at_once_with_calico_v3(role: Role, items: dict[str, str], steps: Steps) -> None:
    assert_as_if_all_at_once(role, items | BYSTANDERS, steps)


TO_B = peer("b", peerIP="10.0.0.9", asNumber=64512)
PORT_OF_B, PORT_OF_C = configuration("node.b", listenPort=1790), configuration("node.c", listenPort=1791)
B, C = node("b", "10.0.0.9"), node("c", "10.0.0.9")
A = node("n1", "10.0.0.1")
TO_REFLECTOR = peer("a", peerIP="10.0.0.40", asNumber=64512)


@pytest.mark.parametrize("role", V3_ROLES.values(), ids=V3_ROLES)
@pytest.mark.parametrize(
    ("start", "changes"),
    [
        pytest.param(A | TO_B | B | C | PORT_OF_B | PORT_OF_C,
                     [(C, False), (C, True), (B, False), (B, True)], id="twins"),
        pytest.param(A | TO_B | C | PORT_OF_C, [(B, True), (C, False), (C, True), (B, False)], id="a twin before"),
        pytest.param(A | TO_B | B | PORT_OF_C, [(C, True), (node("c", "10.0.0.8"), True), (B, False)], id="moves away"),
        pytest.param(
            A | TO_REFLECTOR | peer("b", nodeSelector="has(x)", peerIP="10.0.0.40", asNumber=65101),
            [
                (node("n2", "10.0.0.2", {"x": ""}), True),
                (node("n3", "10.0.0.3", {"x": ""}), True),
                (node("n2", "10.0.0.2"), True),
                (node("n3", "10.0.0.3"), True),
            ],
            id="a BGPPeer that gives way on some nodes",
        ),
        pytest.param(
            peer("a", nodeSelector="has(x)", peerIP="10.0.0.40", asNumber=64512)
            | peer("b", nodeSelector="has(y)", peerIP="10.0.0.40", asNumber=64512)
            | peer("z", nodeSelector="all()", peerIP="10.0.0.40", asNumber=64512)
            | node("n3", "10.0.0.3", {"x": ""}),
            [(node("n4", "10.0.0.4", {"y": ""}), True), (node("n2", "10.0.0.2", {"y": ""}), True)],
            id="a BGPPeer that gives way to several",
        ),
        pytest.param(
            A | TO_REFLECTOR | configuration("node.rr", listenPort=1790),
            [
                (node("rr", "10.0.0.40"), True),
                (node("rr", "10.0.0.40", routeReflectorClusterID="1.0.0.1"), True),
                (node("aa", "10.0.0.40"), True),
                (node("rr6", "fd00::40"), True),
                (node("rr", "10.0.0.40"), False),
                (node("aa", "10.0.0.40"), False),
            ],
            id="the reflector is registered and not",
        ),
        pytest.param(
            A | peer("a", peerIP="10.0.0.40:1790", asNumber=64512),
            [(node("n2", "10.0.0.2"), True), (A, False), (node("n2", "10.0.0.2"), False), (A, True)],
            id="a port where it does not listen",
        ),
    ],
)  # fmt: skip
def test_nodes_that_depend_on_each_other(
    role: Role, start: dict[str, str], changes: list[tuple[dict[str, str], bool]]
) -> None:
    for mesh in ({}, mesh_off()):
        steps = [[(next(iter(resource.items())), stays)] for resource, stays in changes]
        assert_as_if_all_at_once(role, BYSTANDERS | start | mesh, steps)


def test_a_label_is_evaluated_for_one_node() -> None:
    items = mesh_off()
    for number in range(1000):
        items |= node(f"n{number}", f"10.1.{number // 256}.{number % 256}", {"rack": str(number % 10)})
    for rack in range(10):
        items |= peer(f"rack{rack}", nodeSelector=f"rack == '{rack}'", peerIP="10.0.0.40", asNumber=64512)
        items |= peer(f"tor{rack}", nodeSelector=f"rack == '{rack}'", peerIP=f"10.0.0.5{rack}", asNumber=65001)
    reflector_node = node("rr", "10.0.0.40", {"rr": ""}, routeReflectorClusterID="1.0.0.1")
    for role, known, most in (
        (V3_ROLES["reflector registered"], items, 1),
        (V3_ROLES["reflector registered"], items | reflector_node, 2),
        (V3_ROLES["node"], items, 2),
    ):
        asked: list[int] = []

        def rules(topology: Topology, role: Role = role, asked: list[int] = asked) -> Derived:
            asked.append(len(topology.hosts))
            return role.sessions(topology)

        store, deriver = RecordStore.of(known, V3), Deriver(rules, role.own_hosts)
        deriver.derive(store.topology())
        changed = node("n77", "10.1.0.77", {"rack": "8"})
        store.update(changed, known | changed)
        assert deriver.derive(store.topology()) == role.sessions(store.topology())
        assert asked == [len(store.topology().hosts), most, most]


def test_hosts_without_a_change_are_the_same_and_are_not_asked_about() -> None:
    asked: list[int] = []
    role = ROLES[0]

    def rules(topology: Topology) -> object:
        asked.append(len(topology.hosts))
        return role.sessions(topology)

    items = dict(START)
    store, deriver = RecordStore.of(items, V1), Deriver(rules)  # type: ignore[arg-type]  # the same, counted
    first = store.topology()
    deriver.derive(first)
    items |= host("n3", "172.17.42.99")
    store.update(host("n3", ""), items)
    second = store.topology()
    deriver.derive(second)
    assert asked == [len(first.hosts), 1, 1]
    assert [name for name in second.hosts if second.hosts[name] is not first.hosts[name]] == ["n3"]
    assert first.hosts["n3"].address(Family.IPV4) == IPv4Address("172.17.42.33")

    items |= node_peer("n3", REFLECTOR)  # beside the global one: it gives way, and no other host is concerned
    store.update(node_peer("n3", REFLECTOR), items)
    deriver.derive(store.topology())
    assert asked == [len(first.hosts), 1, 1, 1, 1]

    items |= host("n4", "172.17.42.99")  # that of n3: everything is derived again
    store.update(host("n4", ""), items)
    deriver.derive(store.topology())
    assert asked[-1] == len(first.hosts)

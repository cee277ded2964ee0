"""Deriving step by step gives the same as deriving everything at once."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rrwatch.bgp.increment import Deriver
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Family, Topology
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.calico.v3 import V3
from rrwatch.roles import NodeRole, ReflectorRole, Role
from tests.fuzz import EXAMPLES
from tests.keys import CLUSTER, PREFIX, REFLECTOR, global_peer, host, node_peer, reflector
from tests.resources import REFLECTORS, a_configuration, a_node, a_peer, a_reflector_record, clusters, node

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
    # Of few hosts, more than half would have changed at each step.
    bystanders = [node(f"bystander{number}", f"10.0.1.{number}", {"rack": "1"}) for number in range(4)]
    for bystander in bystanders:
        items |= bystander
    assert_as_if_all_at_once(role, items, steps)


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

"""What a change does to sessions: the same numbers as deriving every session of every host before and after it."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwatch.bgp.sessions import Session
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Address, Family, Topology
from rrwatch.calico.model import DataModel
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.calico.v3 import V3
from rrwatch.roles import NodeRole
from rrwatch.roles import effect as module
from rrwatch.roles.effect import NOTHING, Effect, HostEffect, HostKind, effect
from tests.fuzz import EXAMPLES
from tests.keys import CLUSTER, PREFIX, REFLECTOR, global_peer, host, node_peer, reflector
from tests.resources import clusters

Keys = dict[str, str | None]

MESH = f"{PREFIX}/global/node_mesh"
OFF, ON = {MESH: '{"enabled": false}'}, {MESH: '{"enabled": true}'}


def topologies(
    items: Mapping[str, str], change: Mapping[str, str | None], model: DataModel = V1
) -> tuple[Topology, Topology]:
    """Returns the topology before a change and after it; a value of None deletes its key."""
    store = RecordStore.of(items, model)
    before = store.topology()
    later = {key: value for key, value in {**items, **change}.items() if value is not None}
    store.update(change, later)
    return before, store.topology()


def of(items: Mapping[str, str], change: Mapping[str, str | None]) -> Effect:
    """Returns what a change does to a cluster of Calico v1."""
    return effect(*topologies(items, change), V1)


def sessions_of(topology: Topology, name: str | Address) -> dict[Address, Session]:
    """Returns all sessions of a node, or of a reflector."""
    if isinstance(name, str):
        found = NodeRole(name, V1).sessions(topology)
    else:
        found = V1.reflector_sessions(topology, Speaker({Family(name.version): name}))
    return {session.neighbor: session for session in found.sessions}


def terms(session: Session | None) -> object:
    """Returns what BIRD sees of a session."""
    return session and (
        session.name, session.local_as, session.remote_as, session.rr_client, session.cluster_id, session.source_address
    )  # fmt: skip


def counted(before: Topology, after: Topology) -> tuple[dict[str, tuple[int, ...]], tuple[int, int, int]]:
    """Derives every session of every host; returns the counts of each host and those of the cluster."""
    reflectors = {reflector.address for topology in (before, after) for reflector in topology.reflectors}
    hosts: dict[str, tuple[int, ...]] = {}
    kinds: tuple[set[frozenset[Address | None]], ...] = set(), set(), set()
    for name in [*sorted({*before.hosts, *after.hosts}), *reflectors]:
        old, new = sessions_of(before, name), sessions_of(after, name)
        changed: tuple[list[frozenset[Address | None]], ...] = [], [], []
        for neighbor in old.keys() | new.keys():
            one, other = old.get(neighbor), new.get(neighbor)
            if terms(one) != terms(other):
                some = one or new[neighbor]
                changed[0 if one is None else 1 if other is None else 2].append(
                    frozenset({neighbor, some.source_address})
                )
        for pairs, found in zip(kinds, changed, strict=True):
            pairs.update(found)
        if any(changed):
            hosts[str(name)] = (len(old), len(new), *map(len, changed))
    gained, lost, reset = kinds
    return hosts, (len(gained - lost - reset), len(lost), len(reset - lost))


def row(found: HostEffect) -> tuple[int, ...]:
    return found.before, found.after, found.gained.count, found.lost.count, found.reset.count


NODES = [f"n{number}" for number in range(7)]
REFLECTORS = ["10.0.0.40", "10.0.0.41", "fd00::40"]


@st.composite
def _clusters(draw: st.DrawFn) -> dict[str, str]:
    """Draws a cluster in which addresses, AS numbers and peers meet."""
    addresses = [f"10.0.0.{number}" for number in range(1, 9)] + ["10.0.0.40"]
    sixes = ["", "", "fd00::1", "fd00::2", "fd00::3"]
    keys: dict[str, str] = {}
    if draw(st.integers(0, 9)):
        keys[f"{PREFIX}/global/as_num"] = "65100"
    for name in draw(st.sets(st.sampled_from(NODES), min_size=2)):
        keys[f"{PREFIX}/host/{name}/ip_addr_v4"] = draw(st.sampled_from(addresses))
        keys[f"{PREFIX}/host/{name}/ip_addr_v6"] = draw(st.sampled_from(sixes))
        if not draw(st.integers(0, 3)):
            keys[f"{PREFIX}/host/{name}/as_num"] = draw(st.sampled_from(["65101", "65100"]))
    keys |= draw(st.sampled_from([{}, OFF, ON, {MESH: "nonsense"}]))
    for change in draw(st.lists(_changes(), max_size=5)):
        keys |= {key: value for key, value in change.items() if value}
    return keys


@st.composite
def _changes(draw: st.DrawFn) -> Keys:
    """Draws what one of the commands writes."""
    address = draw(st.sampled_from([*REFLECTORS, "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"]))
    made = draw(
        st.sampled_from(
            [
                OFF,
                ON,
                reflector(address),
                reflector(address, "2.0.0.2"),
                global_peer(address),
                global_peer(address, "65200"),
                node_peer(draw(st.sampled_from([*NODES, "unknown"])), address),
            ]
        )
    )
    return dict(made) if draw(st.booleans()) else dict.fromkeys(made)


def _both(changes: list[Keys]) -> Keys:
    return {key: value for change in changes for key, value in change.items()}


@pytest.fixture(params=[1, 10], autouse=True)
def _names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES", request.param)


@settings(max_examples=EXAMPLES, deadline=None)
@given(items=_clusters(), change=st.lists(_changes(), min_size=1, max_size=2).map(_both))
def test_counts_are_those_of_all_sessions(items: dict[str, str], change: Keys) -> None:
    before, after = topologies(items, change)
    found = effect(before, after, V1)
    hosts, totals = counted(before, after)
    assert {one.name: row(one) for one in found.hosts} == hosts
    assert (found.gained, found.lost, found.reset) == totals
    for one in found.hosts:
        name = one.name if one.kind is HostKind.NODE else ip_address(one.name)
        old, new = ({s.name for s in sessions_of(some, name).values()} for some in (before, after))
        for some, known in (one.gained, new), (one.lost, old), (one.reset, new):
            assert len(some.names) == len(set(some.names)) <= min(some.count, module.NAMES)
            assert set(some.names) <= known


def families(sessions: Iterable[Session]) -> set[Family]:
    return {session.family for session in sessions}


@settings(max_examples=EXAMPLES, deadline=None)
@given(items=_clusters(), change=_changes())
def test_a_node_is_cut_off_in_families_in_which_it_loses_its_last_session(items: dict[str, str], change: Keys) -> None:
    before, after = topologies(items, change)
    reflectors = {reflector.address for reflector in after.reflectors}
    for one in effect(before, after, V1).hosts:
        if one.kind is HostKind.NODE:
            old, new = (families(sessions_of(some, one.name).values()) for some in (before, after))
            own = {family: before.hosts[one.name].address(family) for family in old}
            assert set(one.cut_off) == {family for family in old - new if own[family] not in reflectors}
        else:
            assert not one.cut_off


def test_the_walkthrough() -> None:
    mesh = {key: value for key, value in CLUSTER.items() if "peer" not in key and "rr_" not in key and key != MESH}
    off = of(mesh, OFF)
    assert (off.gained, off.lost, off.reset) == (0, 3, 0)
    assert [(one.name, one.before, one.after, one.cut_off) for one in off.hosts] == [
        (name, 2, 0, (Family.IPV4,)) for name in ("kube-master", "kube-node1", "kube-node2")
    ]
    assert of(mesh, reflector(REFLECTOR)) == NOTHING
    peered = of(mesh | reflector(REFLECTOR), global_peer(REFLECTOR))
    assert (peered.gained, peered.lost, peered.reset) == (3, 0, 0)
    assert [(one.kind, one.name, one.gained.count) for one in peered.hosts] == [
        (HostKind.REFLECTOR, REFLECTOR, 3),
        *((HostKind.NODE, name, 1) for name in ("kube-master", "kube-node1", "kube-node2")),
    ]
    off = of(mesh | reflector(REFLECTOR) | global_peer(REFLECTOR), OFF)
    assert {(one.before, one.after, one.cut_off, one.leaves_reflectors) for one in off.hosts} == {(3, 1, (), False)}


def test_an_end_of_the_mesh_that_leaves_only_other_peers() -> None:
    mesh = {key: value for key, value in CLUSTER.items() if key != MESH}
    off = of(mesh | node_peer("kube-node1", "10.9.9.9"), OFF | dict.fromkeys(reflector(REFLECTOR)))
    assert {one.name for one in off.hosts if one.leaves_reflectors} == {"kube-master", "kube-node1", "kube-node2"}


def test_another_cluster_id_resets_the_sessions_of_a_reflector() -> None:
    found = of(CLUSTER, reflector(REFLECTOR, "2.0.0.2"))
    assert (found.gained, found.lost, found.reset) == (0, 0, 3)
    (one,) = found.hosts
    assert (one.kind, one.reset.count, one.cut_off) == (HostKind.REFLECTOR, 3, ())


def test_another_record_for_the_same_session_changes_nothing() -> None:
    node = host("n1", "10.0.0.1")
    double = CLUSTER | node | {f"{PREFIX}/global/peer_v4/same": global_peer(REFLECTOR).popitem()[1]}
    assert of(double, dict.fromkeys(global_peer(REFLECTOR))) == NOTHING


def test_a_mesh_of_thousands_is_counted() -> None:
    keys = {f"{PREFIX}/global/as_num": "65100"}
    for number in range(3000):
        keys[f"{PREFIX}/host/n{number}/ip_addr_v4"] = f"10.0.{number // 250}.{number % 250 + 1}"
    found = of(keys, OFF)
    assert found.lost == 3000 * 2999 // 2
    assert {row(one) for one in found.hosts} == {(2999, 0, 0, 2999, 0)}


@settings(max_examples=EXAMPLES, deadline=None)
@given(items=clusters(), address=st.sampled_from(REFLECTORS), add=st.booleans())
def test_reflectors_of_calico_v3(items: dict[str, str], address: str, add: bool) -> None:
    record = reflector(address)
    before, after = topologies(items, record if add else dict.fromkeys(record), V3)
    found = effect(before, after, V3)
    for one in found.hosts:
        assert one.kind is HostKind.REFLECTOR
        own = ip_address(one.name)
        old, new = (
            V3.reflector_sessions(some, Speaker({Family(own.version): own})).sessions for some in (before, after)
        )
        assert (one.before, one.after) == (len(old), len(new))
    nodes = (V3.node_sessions(some, name, tuple(Family)) for some in (before, after) for name in ("n1", "n2"))
    sessions = [derived.sessions for derived in nodes]
    assert sessions[:2] == sessions[2:]


def test_every_other_node_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES", 1)
    nodes = {key: value for number in range(1, 6) for key, value in host(f"n{number}", f"10.0.0.{number}").items()}
    keys = {f"{PREFIX}/global/as_num": "65100"} | nodes | node_peer("n1", "10.0.0.5") | node_peer("n5", "10.0.0.1")
    found = of(keys, OFF)
    # Both n1 and n5 name each other: that session goes on under another name.
    assert (found.gained, found.lost, found.reset) == (0, 9, 1)
    assert (found.hosts[0].lost.count, found.hosts[0].reset) == (3, module.Some(1, ("Node_10_0_0_5",)))

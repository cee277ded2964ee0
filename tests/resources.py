"""Calico's v3 resources in tests: keys and values, and clusters at random."""

import json
from typing import Any

from hypothesis import strategies as st

from lab.resources import (
    RESOURCES,
    configuration,
    mesh_off,
    node,
    peer,
    reflector_record,
    resource,
    resource_key,
    secret,
)

__all__ = [
    "NODES",
    "PLURALS",
    "REFLECTORS",
    "RESOURCES",
    "SECRETS",
    "Fields",
    "a_configuration",
    "a_node",
    "a_peer",
    "a_reflector_record",
    "clusters",
    "configuration",
    "mesh_off",
    "node",
    "patched",
    "peer",
    "reflector_record",
    "resource",
    "resource_key",
    "secret",
]

Fields = dict[str, Any]

PLURALS = {
    "Node": "nodes",
    "BGPPeer": "bgppeers",
    "BGPConfiguration": "bgpconfigurations",
    "BGPFilter": "bgpfilters",
    "ClusterInformation": "clusterinformations",
}
"""The kinds of resources that rrwatch reads, and their folders."""


def patched(case: Fields) -> dict[str, str]:
    """Returns the keys of a golden case, with the changes to them that the case names."""
    keys: dict[str, str] = dict(case["keys"])
    for patch in case["patches"]:
        key = resource_key(patch["kind"], patch["name"])
        value = json.loads(keys[key])
        value["spec"] |= patch["spec"]
        keys[key] = json.dumps(value)
    return keys


REFLECTORS = ("10.0.0.40", "fd00::40")
"""The addresses of the route reflector in clusters at random."""

NODES = ("n1", "n2", "n3", "n4")
"""The names of all nodes in clusters at random."""

SECRETS = {"s": {"x": "s/x", "y": "s/y"}}
"""All passwords of clusters at random: each is its own name."""


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


def _of(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Fields]:
    """Draws an object without those members that are None."""
    return st.fixed_dictionaries(members).map(
        lambda drawn: {name: value for name, value in drawn.items() if value is not None}
    )


# Few values, so that many of them meet.
_ipv4 = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.0.10", "10.0.0.40"])
_ipv6 = st.sampled_from(["fd00::1", "fd00::9", "fd00::a", "FD00:0::A", "fd00::40"])
_as = st.sampled_from([64512, 64512, 64512, 65101, "65101", "1.1"])
_ports = st.sampled_from([179, 1790, 1791])
_selectors = st.sampled_from(["all()", "has(rr)", "!has(rr)", "rack == '1'", "rack != '1'", "rack in {'1', '2'}", " "])
_names = st.sampled_from([*NODES, "unknown"])
_secrets = st.sampled_from([secret("s", key) for key in "xy"])

_node_addresses = {
    4: st.one_of(_ipv4, _ipv4.map(lambda text: f"{text}/24"), st.sampled_from(["", "10.0.0.256", "fd00::1"])),
    6: st.one_of(_ipv6, _ipv6.map(lambda text: f"{text}/64"), st.sampled_from(["", "10.0.0.1/24"])),
}
_peer_addresses = st.one_of(
    _ipv4,
    _ipv6,
    st.tuples(_ipv4, _ports).map(lambda pair: f"{pair[0]}:{pair[1]}"),
    st.tuples(_ipv6, _ports).map(lambda pair: f"[{pair[0]}]:{pair[1]}"),
    st.sampled_from(["10.0.0.77", "10.0.0.40:0"]),
)
_labels = _of(rack=_maybe(st.sampled_from("12")), rr=_maybe(st.just("")))
_bgp = _of(
    ipv4Address=_maybe(_node_addresses[4]),
    ipv6Address=_maybe(_node_addresses[6]),
    asNumber=st.sampled_from([None, None, None, 65101, "1.1"]),
    routeReflectorClusterID=st.sampled_from([None, None, "1.0.0.1", "1.0.0.2"]),
)


@st.composite
def a_node(draw: st.DrawFn) -> dict[str, str]:
    """Draws a Node."""
    return node(draw(st.sampled_from(NODES)), "", draw(_labels), **draw(_bgp))


@st.composite
def a_peer(draw: st.DrawFn) -> dict[str, str]:
    """Draws a BGPPeer."""
    near: st.SearchStrategy[Fields] = st.one_of(
        st.just({}), _of(node=_names), _of(nodeSelector=_selectors), _of(node=_names, nodeSelector=_selectors)
    )
    far = st.one_of(
        _of(peerIP=_peer_addresses, asNumber=_maybe(_as)),
        _of(peerIP=_peer_addresses, asNumber=_as),
        _of(peerSelector=_selectors),
        _of(peerSelector=_selectors, peerIP=_peer_addresses, asNumber=_maybe(_as)),
    )
    options = _of(
        localASNumber=_maybe(_as),
        reversePeering=_maybe(st.sampled_from(["Auto", "Manual"])),
        sourceAddress=_maybe(st.sampled_from(["UseNodeIP", "None"])),
        password=_maybe(_secrets),
        ttlSecurity=_maybe(st.sampled_from([0, 1, 255])),
        maxRestartTime=_maybe(st.sampled_from(["0s", "2m0s", "1.5s"])),
        keepaliveTime=_maybe(st.sampled_from(["500ms", "1m"])),
        localWorkloadSelector=st.sampled_from([None, None, None, "", "has(x)"]),
        filters=_maybe(st.just(["f"])),
    )
    return peer(draw(st.sampled_from("abcd")), **draw(near), **draw(far), **draw(st.one_of(st.just({}), options)))


@st.composite
def a_configuration(draw: st.DrawFn) -> dict[str, str]:
    """Draws a BGPConfiguration."""
    if draw(st.booleans()):
        return configuration(f"node.{draw(_names)}", **draw(_of(listenPort=_maybe(_ports))))
    spec = _of(
        asNumber=st.sampled_from([None, None, None, 65101]),
        nodeToNodeMeshEnabled=st.sampled_from([None, True, False, False, False]),
        listenPort=_maybe(_ports),
        nodeMeshPassword=_maybe(_secrets),
        nodeMeshMaxRestartTime=_maybe(st.just("10s")),
    )
    return configuration(**draw(spec))


@st.composite
def a_reflector_record(draw: st.DrawFn) -> dict[str, str]:
    """Draws the record of a route reflector."""
    addresses = st.sampled_from([*REFLECTORS, "10.0.0.9", "10.0.0.41", "fd00::41"])
    return reflector_record(draw(addresses), draw(st.sampled_from(["1.0.0.1", "2.0.0.2", ""])))


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, str]:
    """Draws the keys of a cluster."""
    keys: dict[str, str] = draw(st.sampled_from([{}, mesh_off(), mesh_off()])).copy()  # a mesh hides other sessions
    for one in (
        *draw(st.lists(a_node(), max_size=5)),
        *draw(st.lists(a_peer(), max_size=4)),
        *draw(st.lists(a_configuration(), max_size=3)),
        *draw(st.lists(a_reflector_record(), max_size=2)),
    ):
        keys |= one
    return keys

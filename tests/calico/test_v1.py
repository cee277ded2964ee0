"""Calico v1: a key and its value give a record."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrwatch.bgp import topology as bgp
from rrwatch.calico.v1 import parse
from rrwatch.calico.values import address, as_number

P = "/calico/bgp/v1"


def reason(key: str, value: str) -> str:
    record = parse(f"{P}/{key}", value)
    assert isinstance(record, bgp.Rejected)
    assert record.key == f"{P}/{key}"
    return record.reason


@pytest.mark.parametrize(
    ("key", "value", "record"),
    [
        ("global/as_num", "65100", bgp.GlobalAs(f"{P}/global/as_num", bgp.AsNumber(65100))),
        ("global/node_mesh", '{"enabled": true}', bgp.NodeMesh(f"{P}/global/node_mesh", True)),
        ("global/node_mesh", '{"enabled":false}', bgp.NodeMesh(f"{P}/global/node_mesh", False)),
        ("global/node_mesh", "{}", bgp.NodeMesh(f"{P}/global/node_mesh", False)),
        ("global/loglevel", "none", bgp.LogLevel(f"{P}/global/loglevel", None, bgp.Debug.OFF)),
        ("global/loglevel", "debug", bgp.LogLevel(f"{P}/global/loglevel", None, bgp.Debug.ALL)),
        ("global/loglevel", "info", bgp.LogLevel(f"{P}/global/loglevel", None, bgp.Debug.STATES)),
        ("global/loglevel", "", bgp.LogLevel(f"{P}/global/loglevel", None, bgp.Debug.STATES)),
        ("host/n1/loglevel", "DEBUG", bgp.LogLevel(f"{P}/host/n1/loglevel", "n1", bgp.Debug.STATES)),
        (
            "global/peer_v4/10.0.0.1",
            '{"ip": "10.0.0.1", "as_num": "65100"}',
            bgp.Peer(f"{P}/global/peer_v4/10.0.0.1", None, IPv4Address("10.0.0.1"), bgp.AsNumber(65100)),
        ),
        (
            "global/peer_v6/fd00::a",
            '{"as_num": 4200000000, "ip": "FD00:0::A", "of": "no interest"}',
            bgp.Peer(f"{P}/global/peer_v6/fd00::a", None, IPv6Address("fd00::a"), bgp.AsNumber(4200000000)),
        ),
        (
            "host/n1/peer_v4/10.0.0.1",
            '{"ip": "10.0.0.2", "as_num": "1.10"}',
            bgp.Peer(f"{P}/host/n1/peer_v4/10.0.0.1", "n1", IPv4Address("10.0.0.2"), bgp.AsNumber(65546)),
        ),
        (
            "rr_v4/10.0.0.1",
            '{"ip":"10.0.0.1","cluster_id":"1.0.0.1"}',
            bgp.Reflector(f"{P}/rr_v4/10.0.0.1", IPv4Address("10.0.0.1"), IPv4Address("1.0.0.1")),
        ),
        (
            "rr_v4/10.0.0.1",
            '{"ip":"10.0.0.1","cluster_id":16777217}',
            bgp.Reflector(f"{P}/rr_v4/10.0.0.1", IPv4Address("10.0.0.1"), IPv4Address("1.0.0.1")),
        ),
        (
            "rr_v4/10.0.0.1",
            '{"ip":"10.0.0.1","cluster_id":"16777217"}',
            bgp.Reflector(f"{P}/rr_v4/10.0.0.1", IPv4Address("10.0.0.1"), IPv4Address("1.0.0.1")),
        ),
        (
            "rr_v6/FD00::A",
            '{"ip":"fd00:0::a","cluster_id":""}',
            bgp.Reflector(f"{P}/rr_v6/FD00::A", IPv6Address("fd00::a"), None),
        ),
        (
            "host/n1/ip_addr_v4",
            "10.0.0.1",
            bgp.HostAddress(f"{P}/host/n1/ip_addr_v4", "n1", bgp.Family.IPV4, IPv4Address("10.0.0.1")),
        ),
        ("host/n1/ip_addr_v6", "", bgp.HostAddress(f"{P}/host/n1/ip_addr_v6", "n1", bgp.Family.IPV6, None)),
        ("host/n1/as_num", "65100", bgp.HostAs(f"{P}/host/n1/as_num", "n1", bgp.AsNumber(65100))),
        ("host/n1/as_num", "", bgp.HostAs(f"{P}/host/n1/as_num", "n1", None)),
        (
            "host/n1/network_v4",
            "10.0.0.0/8",
            bgp.HostNetwork(f"{P}/host/n1/network_v4", "n1", IPv4Network("10.0.0.0/8")),
        ),
        ("host/n1/network_v4", "", bgp.HostNetwork(f"{P}/host/n1/network_v4", "n1", None)),
        ("host/n1/network_v6", "fd00::/64", bgp.HostLeaf(f"{P}/host/n1/network_v6", "n1")),
        ("host/a[b*?/deeper/still", "", bgp.HostLeaf(f"{P}/host/a[b*?/deeper/still", "a[b*?")),
        (
            "global/custom_filters/v4/x",
            "accept;",
            bgp.CustomFilter(f"{P}/global/custom_filters/v4/x", bgp.Family.IPV4, "x", "accept;"),
        ),
        ("global/peer_v4/10.0.0.1/deeper", "{}", None),
        ("unknown", "", None),
        ("host/n1", "a value where a folder should be", None),
    ],
)
def test_understood(key: str, value: str, record: bgp.Record | None) -> None:
    assert parse(f"{P}/{key}", value) == record


def test_other_trees_say_nothing() -> None:
    assert parse("/calico/bgp/v10/global/as_num", "65100") is None
    assert parse("/calico/bgp/v1", "65100") is None


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("global/as_num", "", "is not an AS number"),
        ("global/as_num", "0", "is not an AS number"),
        ("global/as_num", "4294967296", "is not an AS number"),
        ("global/as_num", "65536.1", "is not an AS number"),
        ("global/as_num", "1.65536", "is not an AS number"),
        ("global/as_num", "65100\n", "is not an AS number"),
        ("global/as_num", "\uff16\uff15\uff11\uff10\uff10", "is not an AS number"),
        ("global/node_mesh", "true", "is not a JSON object"),
        ("global/node_mesh", '{"enabled": "false"}', "enabled is 'false', not true or false"),
        ("global/loglevel", "debug; }", "is not a log level"),
        ("global/peer_v4/10.0.0.1", "{", "is not JSON"),
        ("global/peer_v4/10.0.0.1", "[" * 100_000, "more than 65536"),
        ("global/peer_v4/10.0.0.1", "[" * 60_000, "is not JSON"),
        ("global/peer_v4/10.0.0.1", '{"as_num": 1}', "ip is missing"),
        ("global/peer_v4/10.0.0.1", '{"ip": "10.0.0.1"}', "as_num is missing"),
        ("global/peer_v4/10.0.0.1", '{"ip": 10, "as_num": 1}', "ip is 10, not a string"),
        ("global/peer_v4/10.0.0.1", '{"ip": "10.0.0.1", "as_num": true}', "True is not an AS number"),
        ("global/peer_v4/10.0.0.1", '{"ip": "10.0.0.1", "as_num": 1.5}', "1.5 is not an AS number"),
        ("global/peer_v4/10.0.0.1", '{"ip": "fd00::1", "as_num": 1}', "'fd00::1' is not an IPv4 address"),
        ("global/peer_v4/ten zero", '{"ip": "10.0.0.1", "as_num": 1}', "is not a name"),
        ("rr_v4/10.0.0.1", '{"ip": "10.0.0.2"}', "they must agree"),
        ("rr_v4/10.0.0.1", '{"ip": "10.0.0.1", "cluster_id": "1.0.0.1; passive"}', "cluster_id '1.0.0.1; passive' is"),
        ("rr_v4/10.0.0.1", '{"ip": "10.0.0.1", "cluster_id": 0}', "cluster_id 0 is"),
        ("rr_v4/10.0.0.1", '{"ip": "10.0.0.1", "cluster_id": 4294967296}', "cluster_id 4294967296 is"),
        ("rr_v4/10.0.0.1", '{"ip": "10.0.0.1", "cluster_id": true}', "cluster_id True is"),
        ("rr_v4/10.0.0.1", '{"ip": "10.0.0.1", "cluster_id": [1]}', "cluster_id [1] is"),
        ("host/n1/ip_addr_v4", "010.0.0.2", "is not an IPv4 address"),
        ("host/n1/ip_addr_v4", "10.0.0.1/24", "is not an IPv4 address"),
        ("host/n1/ip_addr_v4", '10.0.0.1"; }\n', "is not an IPv4 address"),
        ("host/n\n1/ip_addr_v4", "10.0.0.1", "'n\\n1' is not a name"),
        ('host/n"1/ip_addr_v4', "10.0.0.1", "is not a name"),
        ("host/n{1}/ip_addr_v4", "10.0.0.1", "is not a name"),
        ("host/n;1/ip_addr_v4", "10.0.0.1", "is not a name"),
        ("host/nöde/ip_addr_v4", "10.0.0.1", "is not a name"),
        ("host//ip_addr_v4", "10.0.0.1", "is not a name"),
        (f"host/{'n' * 254}/ip_addr_v4", "10.0.0.1", "is not a name"),
    ],
)
def test_rejected_with_its_reason(key: str, value: str, words: str) -> None:
    assert words in reason(key, value)


POOL = "/calico/v1/ipam/v4/pool/192.168.0.0-16"
BLOCK = "/calico/ipam/v2/host/n1/ipv4/block/192.168.0.0-26"


@pytest.mark.parametrize(
    ("key", "value", "record"),
    [
        (POOL, '{"cidr": "192.168.0.0/16"}', bgp.Pool(POOL, ip_network("192.168.0.0/16"), None, bgp.TunnelUse.ALWAYS)),
        (
            POOL,
            '{"cidr":"10.0.0.0/8","ipip":"","ipip_mode":"","masquerade":true,"ipam":true,"disabled":true}',
            bgp.Pool(POOL, ip_network("10.0.0.0/8"), None, bgp.TunnelUse.ALWAYS),
        ),
        (
            POOL,
            '{"cidr":"10.0.0.0/8","ipip":"tunl0","ipip_mode":"cross-subnet"}',
            bgp.Pool(POOL, ip_network("10.0.0.0/8"), "tunl0", bgp.TunnelUse.CROSS_SUBNET),
        ),
        (BLOCK, "", bgp.Block(BLOCK, "n1", ip_network("192.168.0.0/26"))),
        (BLOCK, '{"state":"confirmed"}', bgp.Block(BLOCK, "n1", ip_network("192.168.0.0/26"))),
        (
            "/calico/ipam/v2/host/n1/ipv6/block/fd80:24e2:f998:72d6::40-122",
            "{}",
            bgp.Block(
                "/calico/ipam/v2/host/n1/ipv6/block/fd80:24e2:f998:72d6::40-122",
                "n1",
                ip_network("fd80:24e2:f998:72d6::40/122"),
            ),
        ),
        ("/calico/ipam/v2/assignment/ipv4/block/192.168.0.0-26", "{}", None),
        ("/calico/v1/Ready", "true", None),
    ],
)
def test_ipam_understood(key: str, value: str, record: bgp.Record | None) -> None:
    assert parse(key, value) == record


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            POOL,
            '{"cidr": "192.168.0.1/16"}',
            "'192.168.0.1/16' is not an IPv4 network: bits are set after the prefix length",
        ),
        (POOL, '{"cidr": "192.168.0.0"}', "is not an IPv4 network"),
        (POOL, '{"cidr": "fd00::/64"}', "is not an IPv4 network"),
        (POOL, '{"cidr": "192.168.0.0/33"}', "is not an IPv4 network"),
        (POOL, "{}", "cidr is missing"),
        (POOL, '{"cidr": "10.0.0.0/8", "ipip": "tunl0\\"; accept; }"}', "not the name of an interface"),
        (POOL, '{"cidr": "10.0.0.0/8", "ipip": true}', "ipip is True, not the name of an interface"),
        (POOL, '{"cidr": "10.0.0.0/8", "ipip_mode": "sometimes"}', "ipip_mode is 'sometimes': want always or"),
        ("/calico/ipam/v2/host/n1/ipv4/block/192.168.0.1-26", "", "bits are set after the prefix length"),
        ("/calico/ipam/v2/host/n1/ipv4/block/nonsense", "", "is not an IPv4 network"),
        ("/calico/ipam/v2/host/n 1/ipv4/block/192.168.0.0-26", "", "is not a name"),
    ],
)
def test_ipam_rejected(key: str, value: str, words: str) -> None:
    record = parse(key, value)
    assert isinstance(record, bgp.Rejected)
    assert words in record.reason


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "a reserved address"),
        ("127.0.0.1", "a loopback address"),
        ("169.254.1.1", "a link-local address"),
        ("224.0.0.5", "a multicast address"),
        ("240.0.0.1", "a reserved address"),
        ("255.255.255.255", "a reserved address"),
        ("::", "unspecified"),
        ("::1", "a loopback address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("fd00::1%eth0", "a scoped address"),
        ("ff02::5", "a multicast address"),
        ("::ffff:10.0.0.1", "an IPv4-mapped address"),
    ],
)
def test_addresses_that_no_neighbor_has(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"is {why}: no BGP neighbor"):
        address(text, bgp.Family.IPV6 if ":" in text else bgp.Family.IPV4)


def test_a_reason_is_one_printable_line_of_bounded_length() -> None:
    told = reason("global/peer_v4/10.0.0.1", '{"ip": "\x1b[2J\\n' + "x" * 5000 + '", "as_num": 1}')

    assert told.isascii()
    assert told.isprintable()
    assert len(told) < 200


@given(st.integers(min_value=1, max_value=2**32 - 1))
def test_every_as_number_in_every_form(number: int) -> None:
    asdot = f"{number >> 16}.{number & 0xFFFF}"
    assert as_number(number) == as_number(str(number)) == as_number(asdot) == number


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_an_address_reads_the_same_in_every_spelling(value: IPv4Address | IPv6Address) -> None:
    family = bgp.Family(value.version)
    try:
        parsed = address(str(value), family)
    except ValueError:
        return
    assert parsed == value == address(value.exploded.upper(), family) == ip_address(str(parsed))


_leaves = ["ip_addr_v4", "ip_addr_v6", "as_num", "loglevel", "peer_v4/10.0.0.1", "peer_v6/fd00::1", "x"]
_paths = [
    "global/as_num", "global/node_mesh", "global/loglevel", "global/peer_v4/10.0.0.1", "rr_v4/10.0.0.1",
    "rr_v6/fd00::1", *(f"host/n1/{leaf}" for leaf in _leaves),
]  # fmt: skip
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["ip", "as_num", "cluster_id", "enabled"]), inner),
    max_leaves=5,
)


@given(st.sampled_from(_paths) | st.text(), st.text() | _json.map(repr) | _json.map(__import__("json").dumps))
def test_no_value_raises(path: str, value: str) -> None:
    record = parse(f"{P}/{path}", value)

    if isinstance(record, bgp.Rejected):
        assert record.reason.isprintable()
        assert len(record.reason) < 300

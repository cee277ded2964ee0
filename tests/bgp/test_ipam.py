"""Blocks and pools of one node."""

from ipaddress import IPv4Network

from rrwatch.bgp.ipam import Announced, announced
from rrwatch.bgp.topology import Family
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from tests.keys import block, host, pool


def of(items: dict[str, str], family: Family = Family.IPV4) -> tuple[Announced, dict[str, str]]:
    known, rejected = announced(RecordStore.of(items, V1).topology(), "n1", family)
    return known, {remark.key: remark.reason for remark in rejected}


def networks(items: tuple[object, ...]) -> list[str]:
    return [str(item.network) for item in items if hasattr(item, "network")]


def test_its_own_blocks_and_all_pools_of_the_family() -> None:
    items = block("n1", "192.168.0.64/26") | block("n1", "192.168.0.0/26") | block("n2", "192.168.1.0/26")
    items |= block("n1", "fd00::40/122") | pool("192.168.0.0/16") | pool("fd00::/64")
    known, rejected = of(items)
    assert networks(known.blocks) == ["192.168.0.0/26", "192.168.0.64/26"]
    assert networks(known.pools) == ["192.168.0.0/16"]
    assert networks(of(items, Family.IPV6)[0].blocks) == ["fd00::40/122"]
    assert rejected == {}


def test_where_two_overlap_the_wider_one_stays() -> None:
    items = pool("10.0.0.0/16") | pool("10.0.0.0/8") | pool("10.255.0.0/16") | pool("11.0.0.0/8")
    known, rejected = of(items)
    assert networks(known.pools) == ["10.0.0.0/8", "11.0.0.0/8"]
    reason = "overlaps 10.0.0.0/8 of /calico/v1/ipam/v4/pool/10.0.0.0-8"
    assert rejected == {
        "/calico/v1/ipam/v4/pool/10.0.0.0-16": f"10.0.0.0/16 {reason}",
        "/calico/v1/ipam/v4/pool/10.255.0.0-16": f"10.255.0.0/16 {reason}",
    }


def test_one_network_under_two_keys() -> None:
    twice = {"/calico/v1/ipam/v4/pool/a": pool("10.0.0.0/8").popitem()[1], **pool("10.0.0.0/8")}
    known, rejected = of(twice)
    assert networks(known.pools) == ["10.0.0.0/8"]
    assert list(rejected) == ["/calico/v1/ipam/v4/pool/a"]


def test_subnet_is_of_ipv4_alone() -> None:
    items = host("n1", "10.0.0.1") | {"/calico/bgp/v1/host/n1/network_v4": "10.0.0.0/24"}
    assert of(items)[0].subnet == IPv4Network("10.0.0.0/24")
    assert of(items, Family.IPV6)[0].subnet is None

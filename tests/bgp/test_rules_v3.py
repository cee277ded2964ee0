"""The sessions that follow from Calico's v3 resources."""

from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lab import confd
from rrwatch.bgp.sessions import Derived, Session, sort_key
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Family, Topology
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v3 import V3
from tests.fuzz import EXAMPLES
from tests.resources import (
    NODES,
    REFLECTORS,
    SECRETS,
    Fields,
    clusters,
)

CASES = Path(__file__).parent.parent / "cases"


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
    """Returns a session as the oracle describes it, except for what only a node does."""
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


def by_name(sessions: list[Fields]) -> dict[str, Fields]:
    return {session["name"]: session for session in sessions}


def assert_equal(derived: Derived, oracle: list[Fields]) -> None:
    got = [fields(session) for session in derived.sessions]
    for session in oracle:
        del session["next_hop"], session["allow_local_as"]
    for session in (session for session in got if session["name"] in by_name(oracle)):
        session["key"] = by_name(oracle)[session["name"]]["key"] and session["key"]  # a setting has no key
    assert by_name(got) == by_name(oracle)
    assert list(derived.sessions) == sorted(derived.sessions, key=sort_key)
    assert len({session.neighbor for session in derived.sessions}) == len(oracle)
    for remark in (*derived.rejected, *derived.warnings):
        assert remark.reason.isascii()
        assert remark.reason.isprintable()


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
        derived = reflector_sees(
            keys,
            *REFLECTORS,
            port=port,
            reflectors=tuple(map(ip_address, others)),
            cluster_id=cluster_id and IPv4Address(cluster_id),
        )
        oracle = [
            session
            for own in REFLECTORS
            for session in confd.reflector_sessions(keys, own, port, others, cluster_id, SECRETS)
        ]
        assert_equal(derived, oracle)

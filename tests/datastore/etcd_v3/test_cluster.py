"""Three members of a real etcd, some of which fail."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from lab.etcd_v3 import EtcdV3, encoded
from lab.process import wait_until
from rrwatch.datastore.follow import Alarm, Unreachable
from rrwatch.datastore.port import Snapshot
from rrwatch.errors import TransportError
from tests.datastore.etcd_v3.following import Follow, P, access_to, connect, until_watching


def leader_of(members: list[EtcdV3]) -> EtcdV3:
    """Waits for a leader that a majority knows."""

    def found() -> EtcdV3 | None:
        for member in members:
            with contextlib.suppress(OSError, ValueError):
                status = member.call("maintenance/status", {})
                if status.get("leader") == status["header"]["member_id"]:
                    return member
        return None

    leader = wait_until(found, "a leader", 30)
    assert leader
    return leader


def others(members: list[EtcdV3], *known: EtcdV3) -> list[EtcdV3]:
    return [member for member in members if member not in known]


def put(member: EtcdV3, key: str, value: str) -> None:
    """Writes when there is a leader."""

    def done() -> bool:
        with contextlib.suppress(OSError):
            member.put(key, value)
            return True
        return False

    wait_until(done, "a write", 30)


def test_the_leader_is_killed_and_a_followers_watch_goes_on(members: list[EtcdV3], follow: Follow) -> None:
    leader = leader_of(members)
    watched, other = others(members, leader)
    # A probe in the middle of the election would fail.
    mirrored = follow(access=access_to(watched.url, watch_timeout=60.0))
    until_watching(mirrored, partial(put, watched))
    leader.kill()
    put(other, f"{P}/a", "1")
    mirrored.equals(other)
    assert mirrored.count(Snapshot) == 1
    assert mirrored.count(Unreachable) == 0


def test_the_watched_member_is_killed(members: list[EtcdV3], follow: Follow) -> None:
    mirrored = follow(*(member.url for member in members))
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    endpoint = next(event.endpoint for event in mirrored.events if isinstance(event, Snapshot))
    watched = next(member for member in members if member.url == endpoint)
    watched.kill()
    survivor = others(members, watched)[0]
    put(survivor, f"{P}/a", "1")
    mirrored.equals(survivor)
    assert mirrored.count(Alarm) == 0


def test_the_watched_member_is_stopped(members: list[EtcdV3], follow: Follow) -> None:
    mirrored = follow(*(member.url for member in members))
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    endpoint = next(event.endpoint for event in mirrored.events if isinstance(event, Snapshot))
    watched = next(member for member in members if member.url == endpoint)
    watched.stop()
    survivor = others(members, watched)[0]
    put(survivor, f"{P}/a", "1")
    mirrored.equals(survivor)


def test_all_members_are_killed(members: list[EtcdV3], follow: Follow) -> None:
    mirrored = follow(*(member.url for member in members))
    put(members[0], f"{P}/a", "1")
    mirrored.equals(members[0])
    for member in members:
        member.kill()
    wait_until(lambda: mirrored.count(Unreachable), "the outage")
    assert mirrored.mirror.items == {f"{P}/a": "1"}
    for member in members:
        member.launch()
    for member in members:
        member.start_of_service()
    put(members[1], f"{P}/b", "2")
    mirrored.equals(members[1])
    assert mirrored.count(Alarm) == 0


@pytest.mark.parametrize("alone", ["leader", "follower"])
def test_without_a_majority(members: list[EtcdV3], follow: Follow, alone: str) -> None:
    """The member still answers; it must not be believed."""
    leader = leader_of(members)
    member = leader if alone == "leader" else others(members, leader)[0]
    put(member, f"{P}/a", "1")
    mirrored = follow(access=access_to(member.url, watch_timeout=60.0))
    until_watching(mirrored, partial(put, member))
    for other in others(members, member):
        other.kill()
    wait_until(lambda: mirrored.count(Unreachable), "the outage", 10)
    reasons = [event.reason for event in mirrored.events if isinstance(event, Unreachable)]
    assert "no leader" in reasons[0]
    with pytest.raises(TransportError):
        connect(member.url).list(P)
    assert mirrored.count(Snapshot) == 1
    for other in others(members, member):
        other.launch()
    put(member, f"{P}/b", "2")
    mirrored.equals(member)
    assert mirrored.count(Alarm) == 0


@pytest.mark.parametrize("compacted", [False, True])
def test_a_follower_that_catches_up_by_a_snapshot(members: list[EtcdV3], follow: Follow, compacted: bool) -> None:
    """The v2 API skips events then."""
    leader = leader_of(members)
    lagging, other = others(members, leader)
    put(leader, f"{P}/gone", "1")
    mirrored = follow(access=access_to(lagging.url, watch_timeout=120.0))
    until_watching(mirrored, partial(put, lagging))
    with lagging.process.frozen():
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(lambda number: leader.put(f"{P}/{number % 50}", str(number)), range(6500)):
                pass
        leader.delete(f"{P}/gone")
        leader.call("kv/put", {"key": encoded(f"{P}/last"), "value": encoded("1")})
        if compacted:
            leader.compact()
    mirrored.equals(other, 30)
    assert mirrored.mirror.items == lagging.items(P)
    if not compacted:
        assert mirrored.count(Snapshot) == 1
        assert mirrored.count(Unreachable) == 0
    assert mirrored.count(Alarm) == 0

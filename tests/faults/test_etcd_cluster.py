"""A real three-member etcd, each member a host of its own, under rrwatch and BIRD."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.bird import BIRD2, MINIMAL, Bird
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.etcd_cluster import EtcdCluster
from lab.process import wait_until
from tests.keys import CLUSTER, PREFIX, SESSIONS, host
from tests.waits import names, wait_for_sessions

Start = Callable[..., Rrwatch]

SECONDS = 60.0  # a watch that hears nothing is given up after 20 s, and an election takes its time


@pytest.fixture
def etcds(tmp_path: Path) -> Iterator[EtcdCluster]:
    """Three members, with the walkthrough's keys."""
    with contextlib.ExitStack() as stack:
        cluster = EtcdCluster(tmp_path / "etcds", stack).start()
        put(cluster.members[0], CLUSTER)
        yield cluster


@pytest.fixture
def bird_there(etcds: EtcdCluster, tmp_path: Path) -> Iterator[Bird]:
    """A BIRD where the members' client is."""
    bird = Bird(tmp_path / "bird", etcds.client, release=BIRD2)
    bird.config.write_text(MINIMAL)
    bird.start()
    yield bird
    bird.stop()


def put(member: Etcd, items: dict[str, str]) -> None:
    for key, value in items.items():
        member.put(key, value)


def follow(etcds: EtcdCluster, bird: Bird, start: Start, *members: Etcd) -> Rrwatch:
    urls = ",".join(member.url for member in members or etcds.members)
    rrwatch = start(urls, bird, namespace=etcds.client.name)
    rrwatch.wait_for("configured", seconds=30)
    wait_for_sessions(bird, SESSIONS)
    return rrwatch


def others(etcds: EtcdCluster, member: Etcd) -> list[Etcd]:
    return [other for other in etcds.members if other is not member]


def test_the_leader_is_killed(etcds: EtcdCluster, bird_there: Bird, start_rrwatch: Start) -> None:
    follow(etcds, bird_there, start_rrwatch)
    leader = etcds.leader()
    leader.kill()
    wait_until(others(etcds, leader)[0].answers, "another leader", 30)
    put(others(etcds, leader)[0], host("new", "172.17.42.50"))
    wait_for_sessions(bird_there, SESSIONS | names("172.17.42.50"), SECONDS)
    assert etcds.leader() is not leader


def test_the_member_that_it_watches_is_cut_off_from_the_others(
    etcds: EtcdCluster, bird_there: Bird, start_rrwatch: Start
) -> None:
    rrwatch = follow(etcds, bird_there, start_rrwatch)
    endpoint = rrwatch.wait_for("etcd_synced")["endpoint"]
    watched = next(member for member in etcds.members if member.url == endpoint)
    etcds.partition(watched)
    # It answers still, with what it knew.
    wait_until(others(etcds, watched)[0].answers, "the majority", 30)
    put(others(etcds, watched)[0], host("new", "172.17.42.50"))
    wait_for_sessions(bird_there, SESSIONS | names("172.17.42.50"), SECONDS)

    etcds.heal(watched)
    put(others(etcds, watched)[0], host("new", "172.17.42.51"))
    wait_for_sessions(bird_there, SESSIONS | names("172.17.42.51"), SECONDS)
    assert not rrwatch.all("etcd_alarm")


def test_two_of_three_down_and_back(etcds: EtcdCluster, bird_there: Bird, start_rrwatch: Start) -> None:
    rrwatch = follow(etcds, bird_there, start_rrwatch)
    for member in etcds.members[:2]:
        member.kill()
    rrwatch.wait_for("etcd_lost", seconds=SECONDS)
    assert bird_there.sessions() == SESSIONS

    for member in etcds.members[:2]:
        member.launch()
    wait_until(etcds.members[0].answers, "etcd", 30)
    put(etcds.members[2], host("new", "172.17.42.50"))
    wait_for_sessions(bird_there, SESSIONS | names("172.17.42.50"), SECONDS)


def test_all_down_and_back_and_then_another_one_down(
    etcds: EtcdCluster, bird_there: Bird, start_rrwatch: Start
) -> None:
    rrwatch = follow(etcds, bird_there, start_rrwatch)
    for member in etcds.members:
        member.kill()
    rrwatch.wait_for("etcd_lost", seconds=SECONDS)
    etcds.start()
    put(etcds.members[0], host("new", "172.17.42.50"))
    wait_for_sessions(bird_there, SESSIONS | names("172.17.42.50"), SECONDS)
    for member in etcds.members[:2]:
        member.kill()
        wait_until(etcds.members[2].answers, "the majority", 30)
        put(etcds.members[2], host("new", f"172.17.42.6{member.name[1]}"))
        wait_for_sessions(bird_there, SESSIONS | names(f"172.17.42.6{member.name[1]}"), SECONDS)
        member.launch()
        wait_until(member.answers, "the member", 30)


def test_a_follower_that_catches_up_by_a_snapshot_while_it_is_watched(
    etcds: EtcdCluster, bird_there: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    leader = etcds.leader()
    follower = others(etcds, leader)[0]
    rrwatch = follow(etcds, bird_there, start_rrwatch, follower)
    etcds.partition(follower)
    # More than the 5,000 entries that a leader keeps for followers: a snapshot is all that helps then.
    etcds.write(leader, "/elsewhere/{}", 3000)
    put(leader, host("new", "172.17.42.50"))
    leader.delete(f"{PREFIX}/host/kube-node2", recursive=True)
    etcds.write(leader, "/elsewhere/{}", 3500)
    etcds.heal(follower)

    wait_for_sessions(bird_there, names("172.17.42.30", "172.17.42.31", "172.17.42.50"), SECONDS)
    log = (tmp_path / "etcds" / follower.name / "etcd.log").read_text()
    assert "applied snapshot" in log
    assert not rrwatch.all("etcd_alarm")
    assert not rrwatch.all("held")
    assert follower.items(PREFIX)[f"{PREFIX}/host/new/ip_addr_v4"] == "172.17.42.50"

"""A real etcd that fails while it is followed."""

from pathlib import Path

from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.datastore.follow import Unreachable
from rrwatch.datastore.port import Snapshot
from tests.datastore.etcd_v2.following import Follow, P


def test_killed_and_back(own_etcd: Etcd, follow: Follow) -> None:
    own_etcd.put(f"{P}/a", "1")
    mirrored = follow(own_etcd.url)
    mirrored.equals(own_etcd)
    own_etcd.kill()
    wait_until(lambda: mirrored.count(Unreachable), "the outage")
    assert mirrored.mirror.items == {f"{P}/a": "1"}
    own_etcd.start()
    own_etcd.put(f"{P}/b", "2")
    mirrored.equals(own_etcd)


def test_wiped_with_the_same_token(own_etcd: Etcd, follow: Follow) -> None:
    for number in range(20):
        own_etcd.put(f"{P}/{number}", "1")
    mirrored = follow(own_etcd.url)
    mirrored.equals(own_etcd)
    own_etcd.kill()
    own_etcd.wipe()
    own_etcd.start()
    own_etcd.put(f"{P}/new", "1")
    mirrored.equals(own_etcd)


def test_wiped_with_a_new_token(own_etcd: Etcd, follow: Follow) -> None:
    own_etcd.put(f"{P}/a", "1")
    mirrored = follow(own_etcd.url)
    mirrored.equals(own_etcd)
    own_etcd.kill()
    own_etcd.wipe()
    own_etcd.token = "another"
    own_etcd.start()
    for number in range(20):
        own_etcd.put(f"{P}/{number}", "1")
    mirrored.equals(own_etcd)


def test_restored_from_an_older_backup(own_etcd: Etcd, follow: Follow) -> None:
    own_etcd.put(f"{P}/old", "1")
    own_etcd.stop()
    own_etcd.save()
    own_etcd.start()
    for number in range(20):
        own_etcd.put(f"{P}/{number}", "1")
    mirrored = follow(own_etcd.url)
    mirrored.equals(own_etcd)
    own_etcd.kill()
    own_etcd.restore()
    own_etcd.start()
    mirrored.equals(own_etcd)
    own_etcd.put(f"{P}/later", "1")
    mirrored.equals(own_etcd)


def test_frozen_during_a_watch(own_etcd: Etcd, follow: Follow) -> None:
    mirrored = follow(own_etcd.url)
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    with own_etcd.process.frozen():
        wait_until(lambda: mirrored.count(Unreachable), "the outage is noticed", 20)
    own_etcd.put(f"{P}/a", "1")
    mirrored.equals(own_etcd)


def test_all_down_and_then_the_other_is_up(tmp_path: Path, own_etcd: Etcd, follow: Follow) -> None:
    other = Etcd(tmp_path / "other")
    mirrored = follow(own_etcd.url, other.url)
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    own_etcd.stop()
    wait_until(lambda: mirrored.count(Unreachable) > 3, "the outage")
    other.start()
    try:
        other.put(f"{P}/a", "1")
        mirrored.equals(other)
    finally:
        other.stop()

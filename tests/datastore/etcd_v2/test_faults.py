"""A real etcd that fails while it is followed."""

import gc
import json
from pathlib import Path

import pytest

from lab.etcd import Etcd
from lab.process import free_port, wait_until
from rrwatch.datastore import follow as follow_module
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.follow import Alarm, DatastoreEvent, Follower, Unreachable
from rrwatch.datastore.port import Change, Changes, Snapshot
from tests.datastore.conftest import Serve
from tests.datastore.etcd_v2.following import Follow, Mirrored, P, access_to
from tests.datastore.relay import Relay
from tests.datastore.server import Request, answer


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


def test_what_happens_while_the_connection_is_cut_is_told_one_by_one(etcd: Etcd, relay: Relay, follow: Follow) -> None:
    keys = [f"{P}/host/n{number}/ip" for number in range(6)]
    etcd.put_all(dict.fromkeys(keys, "10.0.0.1"))
    mirrored = follow(relay.url)
    mirrored.equals(etcd)
    with relay.cut():
        wait_until(lambda: mirrored.count(Unreachable), "the outage")
        etcd.put("/elsewhere", "1")
        for key in keys:
            etcd.delete(key)
        etcd.delete(f"{P}/host", recursive=True)
        etcd.put(f"{P}/host/new/ip", "10.0.0.2")
        # Long enough for the next list to be due.
        wait_until(lambda: mirrored.count(Unreachable) > 8, "a longer outage")
    mirrored.equals(etcd)
    wait_until(lambda: mirrored.count(Snapshot) == 2, "the list that confirms it")
    assert [event.changes for event in mirrored.events if isinstance(event, Changes)] == [
        *((Change(key, None, subtree=True),) for key in keys),
        (Change(f"{P}/host", None, subtree=True),),
        (Change(f"{P}/host/new/ip", "10.0.0.2"),),
    ]
    assert isinstance(mirrored.events[-1], Snapshot)
    assert mirrored.count(Alarm) == 0


def test_wiped_with_the_same_token_and_grown_beyond_the_old_index(own_etcd: Etcd, follow: Follow) -> None:
    own_etcd.put_all({f"{P}/{number}": "1" for number in range(20)})
    mirrored = follow(own_etcd.url)
    mirrored.equals(own_etcd)
    own_etcd.kill()
    own_etcd.wipe()
    own_etcd.start()
    own_etcd.put(f"{P}/new", "1")
    own_etcd.put_all({f"/elsewhere/{number}": "1" for number in range(40)})
    mirrored.equals(own_etcd)


def test_lists_work_and_watches_fail(serve: Serve) -> None:
    """A proxy that answers each watch with 503, or closes the connection."""

    def reply(request: Request) -> bytes:
        if "wait=true" not in request.target:
            return answer("200 OK", json.dumps({"node": {"key": P, "dir": True}}).encode())
        return answer("503 Service Unavailable", b"") if len(server.requests) % 2 else b""

    server = serve(reply)
    mirrored = Mirrored(server.url)
    mirrored.follower.join(4)
    assert mirrored.follower.end(5)
    lists = [request for request in server.requests if "wait=true" not in request.target]
    assert 3 <= len(lists) <= 4
    assert len(server.requests) < 40


def test_nothing_is_left_for_the_garbage_collector_while_etcd_is_away() -> None:
    """The collector is off until a daemon's first pass, which may never come without etcd."""
    gone = [f"http://127.0.0.1:{free_port()}" for _ in range(3)]
    turns = 0

    def count(event: DatastoreEvent) -> None:
        nonlocal turns
        turns += isinstance(event, Unreachable)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow_module, "RETRY_MIN", 0.0)
        follower = Follower(open_datastore(access_to(*gone)), P, count, 300)
        gc.collect()
        gc.disable()
        try:
            follower.start()
            wait_until(lambda: turns >= 20, "the first failures")
            before, counted = len(gc.get_objects()), turns
            wait_until(lambda: turns >= counted + 200, "more failures")
            left = len(gc.get_objects()) - before
        finally:
            gc.enable()
            assert follower.end(5)
    assert left < 200, f"{left} objects after 200 failures"


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

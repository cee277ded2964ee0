"""A real etcd that fails while it is followed."""

import contextlib
import gc
import threading
import time
from pathlib import Path

from lab.etcd_v3 import EtcdV3
from lab.process import free_port, wait_until
from rrwatch.datastore.follow import Alarm, Unreachable
from rrwatch.datastore.port import Snapshot
from rrwatch.errors import TransportError
from tests.datastore.etcd_v3.following import Follow, P, access_to, batches, connect, until_watching
from tests.datastore.relay import Relay


def test_killed_and_back(own_etcd: EtcdV3, follow: Follow) -> None:
    own_etcd.put(f"{P}/a", "1")
    mirrored = follow(own_etcd.url)
    mirrored.equals(own_etcd)
    own_etcd.kill()
    wait_until(lambda: mirrored.count(Unreachable), "the outage")
    assert mirrored.mirror.items == {f"{P}/a": "1"}
    own_etcd.start()
    own_etcd.put(f"{P}/b", "2")
    mirrored.equals(own_etcd)
    assert mirrored.count(Alarm) == 0


def test_stopped_and_back(own_etcd: EtcdV3, follow: Follow) -> None:
    own_etcd.put(f"{P}/a", "1")
    mirrored = follow(own_etcd.url)
    mirrored.equals(own_etcd)
    own_etcd.stop()
    wait_until(lambda: mirrored.count(Unreachable), "the outage")
    own_etcd.start()
    own_etcd.put(f"{P}/b", "2")
    mirrored.equals(own_etcd)
    assert mirrored.count(Alarm) == 0


def test_what_happens_while_the_connection_is_cut_is_told_one_by_one(
    etcd: EtcdV3, relay: Relay, follow: Follow
) -> None:
    keys = [f"{P}/host/n{number}/ip" for number in range(6)]
    etcd.put_all(dict.fromkeys(keys, "10.0.0.1"))
    mirrored = follow(relay.url)
    mirrored.equals(etcd)
    with relay.cut():
        wait_until(lambda: mirrored.count(Unreachable), "the outage")
        for key in keys:
            etcd.delete(key)
        etcd.put(f"{P}/host/new/ip", "10.0.0.2")
        # Long enough for the next list to be due.
        wait_until(lambda: mirrored.count(Unreachable) > 8, "a longer outage")
    mirrored.equals(etcd)
    wait_until(lambda: mirrored.count(Snapshot) == 2, "the list that confirms it")
    assert [change.key for changes in batches(mirrored) for change in changes] == [*keys, f"{P}/host/new/ip"]
    assert isinstance(mirrored.events[-1], Snapshot)
    assert mirrored.count(Alarm) == 0


def test_a_list_during_the_watch_loses_nothing_of_it(etcd: EtcdV3, follow: Follow) -> None:
    """The stream outlives the list, which may be older or newer than what the stream has brought."""
    mirrored = follow(etcd.url)
    wait_until(lambda: mirrored.count(Snapshot), "the first list")

    def write() -> None:
        for number in range(1500):
            etcd.put(f"{P}/{number % 9}", str(number))

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        mirrored.follower.relist()
        writer.join(0.05)
    mirrored.equals(etcd)
    assert mirrored.count(Snapshot) > 2
    assert mirrored.count(Alarm) == 0


def test_wiped_with_the_same_token(own_etcd: EtcdV3, follow: Follow) -> None:
    for number in range(20):
        own_etcd.put(f"{P}/{number}", "1")
    mirrored = follow(own_etcd.url)
    mirrored.equals(own_etcd)
    own_etcd.kill()
    own_etcd.wipe()
    own_etcd.start()
    own_etcd.put(f"{P}/new", "1")
    mirrored.equals(own_etcd)
    (alarm,) = [event for event in mirrored.events if isinstance(event, Alarm)]
    assert "went back" in alarm.reason


def test_wiped_with_a_new_token(own_etcd: EtcdV3, follow: Follow) -> None:
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
    (alarm,) = [event for event in mirrored.events if isinstance(event, Alarm)]
    assert "another cluster" in alarm.reason


def test_restored_from_an_older_backup(own_etcd: EtcdV3, follow: Follow) -> None:
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
    assert mirrored.count(Alarm) == 1
    own_etcd.put(f"{P}/later", "1")
    mirrored.equals(own_etcd)


def test_frozen_during_a_watch(own_etcd: EtcdV3, follow: Follow) -> None:
    mirrored = follow(own_etcd.url)
    until_watching(mirrored, own_etcd.put)
    with own_etcd.process.frozen():
        # The watch's timeout, a proof that is 10 s old, and the probe's timeout.
        wait_until(lambda: mirrored.count(Unreachable), "the outage is noticed", 16)
    own_etcd.put(f"{P}/a", "1")
    mirrored.equals(own_etcd)


def test_frozen_before_a_list(own_etcd: EtcdV3, follow: Follow) -> None:
    with own_etcd.process.frozen():
        mirrored = follow(own_etcd.url)
        wait_until(lambda: mirrored.count(Unreachable), "the outage is noticed", 10)
        assert mirrored.count(Snapshot) == 0
    own_etcd.put(f"{P}/a", "1")
    mirrored.equals(own_etcd)


def test_frozen_for_a_moment_the_watch_goes_on(own_etcd: EtcdV3, follow: Follow) -> None:
    mirrored = follow(access=access_to(own_etcd.url, watch_timeout=60.0))
    until_watching(mirrored, own_etcd.put)
    with own_etcd.process.frozen():
        time.sleep(1)
    own_etcd.put(f"{P}/a", "1")
    mirrored.equals(own_etcd)
    assert mirrored.count(Snapshot) == 1
    assert mirrored.count(Unreachable) == 0


def test_a_path_that_goes_mute(etcd: EtcdV3, relay: Relay, follow: Follow) -> None:
    """Connections stay open, and nothing arrives any more; another endpoint answers."""
    mirrored = follow(relay.url, etcd.url)
    until_watching(mirrored, etcd.put)
    with relay.mute():
        etcd.put(f"{P}/a", "1")
        mirrored.equals(etcd, 20)


def test_a_client_that_was_stopped_while_the_history_was_compacted(etcd: EtcdV3, relay: Relay, follow: Follow) -> None:
    """The relay takes nothing from etcd, as a frozen process does."""
    mirrored = follow(access=access_to(relay.url, watch_timeout=60.0))
    etcd.put(f"{P}/gone", "1")
    mirrored.equals(etcd)
    with relay.mute():
        for number in range(1500):
            etcd.put(f"{P}/{number % 10}", "x" * 20_000 + str(number))
        etcd.delete(f"{P}/gone")
        etcd.put(f"{P}/last", "1")
        etcd.compact()
    mirrored.equals(etcd, 30)


def test_all_down_and_then_the_other_is_up(tmp_path: Path, own_etcd: EtcdV3, program: str, follow: Follow) -> None:
    other = EtcdV3(tmp_path / "other", program=program)
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


def test_nothing_is_left_for_the_garbage_collector_while_etcd_is_away() -> None:
    """The collector is off until a daemon's first pass, which may never come without etcd."""
    gone = [f"http://127.0.0.1:{free_port()}" for _ in range(3)]
    client = connect(*gone)

    def fail(times: int) -> None:
        for _ in range(times):
            for call in client.list, lambda prefix: client.watch(prefix, 7):
                with contextlib.suppress(TransportError):
                    call(P)
            client.rotate()

    fail(20)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        fail(200)
        left = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert left < 200, f"{left} objects after 400 failures"

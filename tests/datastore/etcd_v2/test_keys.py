"""What happens to keys in a real etcd, and how the adapter tells it."""

import threading
import time
from collections.abc import Callable

import pytest

from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.follow import Unreachable, UpToDate
from rrwatch.datastore.port import Change, Changes, Snapshot, WatchResponse
from rrwatch.errors import Resync, TransportError, UsageError
from tests.datastore.etcd_v2.following import Follow, P, access_to
from tests.datastore.swapping import TIMES, WRITERS, count_together


def test_prefix_absent_and_then_created(etcd: Etcd, follow: Follow) -> None:
    mirrored = follow(etcd.url)
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    assert mirrored.mirror.items == {}
    etcd.put(f"{P}/a", "1")
    mirrored.equals(etcd)


def test_everything_that_can_happen_to_keys(etcd: Etcd, follow: Follow) -> None:
    etcd.put_all({f"{P}/a": "1", f"{P}/host/n1/x": "2", f"{P}/host/n1/y": "3", f"{P}/host/n10/x": "4"})
    mirrored = follow(etcd.url)
    mirrored.equals(etcd)

    steps: list[Callable[[], object]] = [
        lambda: etcd.delete(f"{P}/host/n1", recursive=True),
        lambda: etcd.put("/calico/bgp/v10/x", "not ours"),
        lambda: etcd.put("/calico/bgp/v1x", "not ours"),
        lambda: etcd.put("/cal/x", "not ours"),
        lambda: etcd.delete("/cal", recursive=True),
        lambda: etcd.put(f"{P}/_hidden/x", "not shown"),
        lambda: etcd.put(f"{P}/deep/_hidden", "not shown"),
        lambda: etcd.put(f"{P}/odd keys/ä #?%41&+", "value ✓"),
        lambda: etcd.put(f"{P}/empty", ""),
        lambda: etcd.ask("PUT", f"{P}/cas", value="1"),
        lambda: etcd.ask("PUT", f"{P}/cas", "?prevValue=1", value="2"),
        lambda: etcd.ask("DELETE", f"{P}/cas", "?prevValue=2"),
        lambda: etcd.ask("POST", f"{P}/queue", value="in order"),
        lambda: etcd.ask("PUT", f"{P}/folder", dir="true"),
        lambda: etcd.put(f"{P}/folder/x", "1"),
        lambda: etcd.ask("PUT", f"{P}/folder", "?prevExist=true", dir="true", ttl="100"),
        lambda: etcd.ask("PUT", f"{P}/a", dir="true"),
        lambda: etcd.put(f"{P}/a/below", "1"),
        lambda: etcd.ask("PUT", f"{P}/brief", value="1", ttl="1"),
        lambda: etcd.ask("PUT", f"{P}/briefly", dir="true", ttl="1"),
        lambda: etcd.put(f"{P}/briefly/x", "1"),
    ]
    for step in steps:
        step()
        mirrored.equals(etcd)
    wait_until(lambda: f"{P}/briefly/x" not in etcd.items(P) and f"{P}/brief" not in etcd.items(P), "expiry")
    mirrored.equals(etcd)
    etcd.delete(P, recursive=True)
    mirrored.equals(etcd)
    etcd.put(f"{P}/again", "1")
    mirrored.equals(etcd)
    etcd.delete("/calico", recursive=True)
    mirrored.equals(etcd)
    etcd.put(f"{P}/again", "2")
    mirrored.equals(etcd)
    assert mirrored.count(Snapshot) == 1


def test_writes_between_list_and_watch(etcd: Etcd) -> None:
    client = open_datastore(access_to(etcd.url))
    snapshot = client.list(P)
    etcd.put(f"{P}/between", "1")
    response = client.watch(P, snapshot.index + 1)
    assert response == WatchResponse(snapshot.index + 1, snapshot.cluster_id, (Change(f"{P}/between", "1"),))


def test_a_quiet_prefix_on_a_busy_store(etcd: Etcd, follow: Follow) -> None:
    mirrored = follow(etcd.url)
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    for number in range(1500):
        etcd.put("/elsewhere", str(number))
    etcd.put(f"{P}/a", "1")
    mirrored.equals(etcd)


def test_an_etcd_whose_index_went_back_is_noticed_at_once(etcd: Etcd) -> None:
    """It would be silent about everything up to that index."""
    client = open_datastore(Access((etcd.url,), watch_timeout=30.0))
    index = client.list(P).index
    began = time.monotonic()
    with pytest.raises(Resync, match=f"etcd is at index {index}, it was at {index + 1}"):
        client.watch(P, index + 2)
    assert time.monotonic() - began < 5


def test_history_cleared(etcd: Etcd) -> None:
    client = open_datastore(access_to(etcd.url))
    index = client.list(P).index
    for number in range(1100):
        etcd.put("/elsewhere", str(number))
    with pytest.raises(Resync, match=f"no longer has index {index + 1}"):
        client.watch(P, index + 1)


def test_a_watch_without_events_tells_the_index(etcd: Etcd) -> None:
    client = open_datastore(access_to(etcd.url))
    snapshot = client.list(P)
    assert client.watch(P, snapshot.index + 1) == WatchResponse(snapshot.index, snapshot.cluster_id, timed_out=True)


def test_through_etcds_own_proxy_a_silence_is_no_loss(own_etcd: Etcd, follow: Follow) -> None:
    own_etcd.put(f"{P}/a", "1")
    with own_etcd.proxied() as url:
        client = open_datastore(access_to(url))
        assert client.watch(P, client.list(P).index + 1) is None

        mirrored = follow(url)
        wait_until(lambda: mirrored.count(UpToDate) >= 2, "two watches without events")
        own_etcd.put("/elsewhere", "1")
        own_etcd.put(f"{P}/b", "2")
        mirrored.equals(own_etcd)
        assert (mirrored.count(Snapshot), mirrored.count(Unreachable)) == (1, 0)
        with own_etcd.process.frozen():
            wait_until(lambda: mirrored.count(Unreachable), "the outage is noticed", 20)
        own_etcd.put(f"{P}/c", "3")
        mirrored.equals(own_etcd)


def test_swap(etcd: Etcd) -> None:
    client = open_datastore(access_to(etcd.url))
    key, value = f"{P}/rr_v6/fd00::1", '{"ip": "ä & = %41 +"}'
    for before, after, found in (
        (None, value, value),  # creates it
        ("", value, value),  # has it already
        (None, "1", value),
        ("1", "2", value),
        ("1", None, value),
        (value, "", ""),  # changes it
        ("", "1", "1"),
        ("1", "1", "1"),
        ("1", None, None),  # deletes it
        ("1", None, None),
        ("1", "2", None),
    ):
        assert client.swap(key, before, after) == (after == found), (before, after)
        assert etcd.items(P) == ({} if found is None else {key: found})


def test_nobody_overwrites_what_another_one_wrote(etcd: Etcd) -> None:
    assert count_together(lambda: open_datastore(access_to(etcd.url)), f"{P}/count") == WRITERS * TIMES


ODD = ["a?b", "a%2Fb", "50%", "a#b", "a b", "a+b&c=d", "ä✓", "a;b", '"', "...", "a\\b", "a\tb"]


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_the_same_in_every_request(etcd: Etcd, name: str) -> None:
    client = open_datastore(access_to(etcd.url))
    folder, key = f"{P}/host/{name}", f"{P}/host/{name}/ip"
    etcd.put(f"{P}/host/{name}x/ip", "another node's")
    before = client.list(folder)
    assert before.items == {}
    assert client.swap(key, None, "1")
    assert etcd.items(f"{P}/host/{name}") == {key: "1"}
    response = client.watch(folder, before.index + 1)
    assert response
    assert response.changes == (Change(key, "1"),)
    assert client.list(folder).items == {key: "1"}
    client.probe(folder)
    assert client.swap(key, "1", None)
    assert etcd.items(f"{P}/host/{name}") == {}


@pytest.mark.parametrize("key", ["a", "", f"{P}/", f"{P}//a", f"{P}/./a", f"{P}/host/../a", f"{P}/.."])
def test_what_cannot_be_a_key_is_refused(etcd: Etcd, key: str) -> None:
    client = open_datastore(access_to(etcd.url))
    calls: list[Callable[[], object]] = [
        lambda: client.swap(key, None, "1"),
        lambda: client.swap(key, "1", None),
        lambda: client.list(key),
        lambda: client.watch(key, 1),
        lambda: client.probe(key),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=r"cannot be a key of etcd: want names that are not empty, \. or \.\."):
            call()
    assert etcd.items(P) == {}


def test_a_key_that_etcd_would_hide_is_not_written(etcd: Etcd) -> None:
    with pytest.raises(UsageError, match="cannot be a key: etcd hides names that begin with _"):
        open_datastore(access_to(etcd.url)).swap(f"{P}/host/_a/ip", None, "1")


def test_what_expired_is_told_from_what_was_deleted(etcd: Etcd, follow: Follow) -> None:
    etcd.put_all({f"{P}/deleted": "1", f"{P}/folder/deleted": "1"})
    mirrored = follow(etcd.url)
    mirrored.equals(etcd)
    etcd.ask("PUT", f"{P}/expired", value="1", ttl="1")
    etcd.ask("PUT", f"{P}/folder-expired", dir="true", ttl="1")
    etcd.put(f"{P}/folder-expired/x", "1")
    etcd.delete(f"{P}/deleted")
    etcd.delete(f"{P}/folder", recursive=True)
    mirrored.equals(etcd)
    wait_until(lambda: not etcd.items(P), "expiry")
    mirrored.equals(etcd)
    changes = [change for event in mirrored.events if isinstance(event, Changes) for change in event.changes]
    assert {change.key.removeprefix(P): change.expired for change in changes if change.subtree} == {
        "/deleted": False,
        "/folder": False,
        "/expired": True,
        "/folder-expired": True,
    }


def test_interrupt_ends_a_watch(etcd: Etcd) -> None:
    client = open_datastore(Access((etcd.url,), watch_timeout=30.0))
    index = client.list(P).index
    threading.Timer(0.3, client.interrupt).start()
    began = time.monotonic()
    with pytest.raises(TransportError):
        client.watch(P, index + 1)
    assert time.monotonic() - began < 10

"""What happens to keys in a real etcd, and how the adapter tells it."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from lab.etcd_v3 import EtcdV3
from lab.process import wait_until
from rrwatch.datastore import etcd_v3 as adapter
from rrwatch.datastore.port import Change, Snapshot, WatchResponse
from rrwatch.errors import Resync, TransportError, UsageError
from tests.datastore.etcd_v3.following import Follow, P, batches, connect, until_watching
from tests.datastore.relay import Relay
from tests.datastore.swapping import TIMES, WRITERS, count_together


def test_prefix_absent_then_created_then_emptied_at_once(etcd: EtcdV3, follow: Follow) -> None:
    mirrored = follow(etcd.url)
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    assert mirrored.mirror.items == {}
    for name in "abc":
        etcd.put(f"{P}/{name}", "1")
    mirrored.equals(etcd)
    etcd.delete(P, recursive=True)
    mirrored.equals(etcd)
    assert batches(mirrored)[-1] == tuple(Change(f"{P}/{name}", None) for name in "abc")
    assert mirrored.count(Snapshot) == 1


def test_a_write_and_a_deletion_between_list_and_watch(etcd: EtcdV3) -> None:
    client = connect(etcd.url)
    etcd.put(f"{P}/old", "1")
    at = client.list(P)
    etcd.put(f"{P}/new", "2")
    etcd.delete(f"{P}/old")
    assert client.watch(P, at.index + 1) == WatchResponse(at.index + 1, at.cluster_id, (Change(f"{P}/new", "2"),))
    assert client.watch(P, at.index + 2) == WatchResponse(at.index + 2, at.cluster_id, (Change(f"{P}/old", None),))


def test_a_revision_is_handed_over_until_the_next_one_is_asked_for(etcd: EtcdV3) -> None:
    """A follower may drop a revision that is newer than its list, and asks for it again."""
    client = connect(etcd.url)
    at = client.list(P).index
    for number in range(3):
        etcd.put(f"{P}/a", str(number))
    first = client.watch(P, at + 1)
    assert first == client.watch(P, at + 1)
    third = client.watch(P, at + 3)
    assert third
    assert (third.index, third.changes) == (at + 3, (Change(f"{P}/a", "2"),))
    assert first == client.watch(P, at + 1)  # on another watch


def test_a_deletion_whose_revision_was_compacted_before_the_watch_opens(etcd: EtcdV3) -> None:
    """A watch from that revision would miss the deletion in etcd 3.4.23."""
    etcd.put(f"{P}/gone", "1")
    client = connect(etcd.url)
    index = client.list(P).index
    etcd.delete(f"{P}/gone")
    etcd.compact(index + 1)
    with pytest.raises(Resync, match="no longer has revision"):
        client.watch(P, index + 1, 5)
    assert client.list(P).items == {}


def test_what_a_revision_deletes_below_other_prefixes(etcd: EtcdV3) -> None:
    client = connect(etcd.url)
    beside = [f"{P}/first", f"{P}/second"]
    for folder in "first", "first0", "second", "third":
        etcd.put(f"{P}/{folder}/a", "1")
    etcd.delete(f"{P}/third/a")
    assert not client.deletes_below(beside, etcd.revision())
    etcd.apply({f"{P}/first/b": "1"}, (f"{P}/third/a", f"{P}/first0/a"))
    assert not client.deletes_below(beside, etcd.revision())
    etcd.delete(P, recursive=True)
    deletion = etcd.revision()
    etcd.put(f"{P}/second/a", "1")
    assert client.deletes_below(beside, deletion)
    assert client.deletes_below(beside[1:], deletion)
    assert not client.deletes_below([f"{P}/third"], deletion)
    etcd.compact(etcd.revision())
    assert client.deletes_below([f"{P}/third"], deletion)  # no longer known


def test_compacted_during_an_outage(etcd: EtcdV3, relay: Relay, follow: Follow) -> None:
    etcd.put(f"{P}/gone", "1")
    mirrored = follow(relay.url)
    mirrored.equals(etcd)
    with relay.cut():
        etcd.delete(f"{P}/gone")
        etcd.put(f"{P}/new", "1")
        etcd.put("/elsewhere", "1")
        etcd.compact()
    mirrored.equals(etcd)


def test_compacted_while_the_watch_is_open(etcd: EtcdV3, follow: Follow) -> None:
    mirrored = follow(etcd.url)
    until_watching(mirrored, etcd.put)
    for number in range(5):
        etcd.put(f"{P}/a", str(number))
        etcd.compact()
    mirrored.equals(etcd)
    assert mirrored.count(Snapshot) == 1


def test_a_quiet_prefix_on_a_busy_store(etcd: EtcdV3, relay: Relay, follow: Follow) -> None:
    mirrored = follow(relay.url)
    until_watching(mirrored, etcd.put)
    connections = relay.connections
    for number in range(2000):
        etcd.put("/elsewhere", str(number))
    etcd.put(f"{P}/a", "1")
    mirrored.equals(etcd)
    assert mirrored.count(Snapshot) == 1
    assert relay.connections == connections


def test_a_replay_of_thousands_of_revisions(etcd: EtcdV3) -> None:
    client = connect(etcd.url)
    at = client.list(P).index
    for number in range(3000):
        etcd.put(f"{P}/{number % 7}", str(number))
    for number in range(3000):
        response = client.watch(P, at + 1, 5)
        assert response
        assert (response.index, response.changes) == (at + 1, (Change(f"{P}/{number % 7}", str(number)),))
        at = response.index


def test_writes_without_a_pause(etcd: EtcdV3, follow: Follow) -> None:
    mirrored = follow(etcd.url)
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    for number in range(1000):
        etcd.put(f"{P}/a", str(number))
    mirrored.equals(etcd)
    assert batches(mirrored) == [(Change(f"{P}/a", str(number)),) for number in range(1000)]
    assert mirrored.count(Snapshot) == 1


def test_a_transaction_is_one_revision(etcd: EtcdV3, follow: Follow) -> None:
    old = {f"{P}/old{number}": "1" for number in range(28)}
    etcd.apply(old)
    mirrored = follow(etcd.url)
    mirrored.equals(etcd)
    etcd.apply({f"{P}/new{number}": "2" for number in range(100)}, tuple(old))
    mirrored.equals(etcd)
    (changes,) = batches(mirrored)
    assert changes == (
        *(Change(f"{P}/new{number}", "2") for number in range(100)),
        *(Change(key, None) for key in old),
    )


def test_a_lease_that_runs_out_deletes_its_keys(etcd: EtcdV3, follow: Follow) -> None:
    lease = str(etcd.call("lease/grant", {"TTL": "1"})["ID"])
    keys = [f"{P}/leased{number}" for number in range(5)]
    for key in keys:
        etcd.put(key, "1", lease)
    mirrored = follow(etcd.url)
    wait_until(lambda: len(mirrored.mirror.items) == 5, "the first list")
    wait_until(lambda: not etcd.items(P), "the end of the lease", 20)
    mirrored.equals(etcd)
    (changes,) = batches(mirrored)
    assert sorted(changes, key=lambda change: change.key) == [Change(key, None) for key in keys]


def test_odd_keys(etcd: EtcdV3, follow: Follow) -> None:
    mirrored = follow(etcd.url)
    wait_until(lambda: mirrored.count(Snapshot), "the first list")
    odd = {
        f"{P}/odd keys/ä #?%41&+": "value ✓",
        f"{P}/empty": "",
        f"{P}/../a//b/": "names are only text",
        f"{P}/_hidden": "1",
        f"{P}/large": "x" * 1_400_000,
    }
    for key, value in odd.items():
        etcd.put(key, value)
    etcd.put(f"{P}/binary", b"\xff1")
    for elsewhere in "/calico/bgp/v10/x", "/calico/bgp/v1", "/calico/bgp/v1x", "/calico/bgp/v0/x":
        etcd.put(elsewhere, "not ours")
    etcd.put(f"{P}/".encode() + b"\xff", "not text")
    etcd.put(f"{P}/last", "1")
    wanted = odd | {f"{P}/binary": "\\xff1", f"{P}/last": "1"}
    wait_until(lambda: mirrored.mirror.items == wanted, "the events")
    assert connect(etcd.url).list(P).items == wanted
    etcd.delete(f"{P}/".encode() + b"\xff")
    etcd.delete(f"{P}/binary")
    mirrored.equals(etcd)
    assert mirrored.count(Snapshot) == 1


def test_swap(etcd: EtcdV3) -> None:
    client = connect(etcd.url)
    key, value = f"{P}/a ✓", "ä"
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


def test_nobody_overwrites_what_another_one_wrote(etcd: EtcdV3) -> None:
    assert count_together(lambda: connect(etcd.url), f"{P}/count") == WRITERS * TIMES


def test_a_value_that_is_not_text_can_be_swapped(etcd: EtcdV3) -> None:
    client = connect(etcd.url)
    etcd.put(f"{P}/a", b"\xff1")
    assert client.swap(f"{P}/a", client.list(P).items[f"{P}/a"], "1")
    assert etcd.items(P) == {f"{P}/a": "1"}


def test_what_cannot_be_a_key_is_refused(etcd: EtcdV3) -> None:
    client = connect(etcd.url)
    for key in "a", "", "/\ud800":
        for call in (client.list, client.probe, lambda key: client.swap(key, None, "1")):
            with pytest.raises(UsageError):
                call(key)


def test_a_watch_without_events_stays_open(etcd: EtcdV3, relay: Relay) -> None:
    client = connect(relay.url)
    at = client.list(P)
    for _ in range(3):
        response = client.watch(P, at.index + 1, 0.2)
        assert response == WatchResponse(at.index, at.cluster_id, timed_out=True)
        assert client.probe(P) == at.cluster_id
    assert relay.connections == 2
    etcd.put(f"{P}/a", "1")
    response = client.watch(P, at.index + 1)
    assert response
    assert response.changes == (Change(f"{P}/a", "1"),)


def test_a_watch_that_is_silent_for_long_is_opened_again(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the connection of the watch may be dead."""
    monkeypatch.setattr(adapter, "SILENCE_MAX", 0.5)
    client = connect(relay.url)
    at = client.list(P).index
    client.watch(P, at + 1, 0.6)
    client.watch(P, at + 1, 0.1)
    assert relay.connections == 3


def test_an_etcd_whose_revision_went_back_is_noticed_at_once(etcd: EtcdV3) -> None:
    """It would be silent about everything up to that revision."""
    client = connect(etcd.url)
    index = client.list(P).index
    began = time.monotonic()
    with pytest.raises(Resync, match=f"etcd is at revision {index}, it was at {index + 1}"):
        client.watch(P, index + 2, 30)
    assert time.monotonic() - began < 5


def test_interrupt_ends_a_watch(etcd: EtcdV3) -> None:
    client = connect(etcd.url)
    index = client.list(P).index
    client.watch(P, index + 1, 0.1)
    timer = threading.Timer(0.3, client.interrupt)
    timer.start()
    began = time.monotonic()
    with pytest.raises(TransportError):
        client.watch(P, index + 1, 30)
    assert time.monotonic() - began < 5
    timer.join(5)


def test_threads_end_with_their_watches(etcd: EtcdV3) -> None:
    client = connect(etcd.url)
    index = client.list(P).index
    for _ in range(5):
        client.watch(P, index + 1, 0.1)
        client.rotate()
    client.watch(P, index + 1, 0.1)
    del client
    wait_until(lambda: all(thread.name != "stream" for thread in threading.enumerate()), "the end of all threads")


class TestPages:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(adapter, "PAGE", 10)

    def test_a_list_of_several_pages(self, etcd: EtcdV3) -> None:
        for count in 9, 10, 11, 25:
            etcd.delete(P, recursive=True)
            wanted = {f"{P}/{number}": str(number) for number in range(count)}
            etcd.apply(wanted)
            assert connect(etcd.url).list(P).items == wanted

    def test_a_page_that_ends_with_a_key_that_is_no_text(self, etcd: EtcdV3) -> None:
        for number in range(15):
            etcd.put(f"{P}/".encode() + bytes([0x80 + number]), "1")
        etcd.put(f"{P}/a", "1")
        assert connect(etcd.url).list(P).items == {f"{P}/a": "1"}

    @pytest.mark.parametrize("compacted", [False, True])
    def test_writes_between_two_pages(self, etcd: EtcdV3, monkeypatch: pytest.MonkeyPatch, compacted: bool) -> None:
        wanted = {f"{P}/{number}": str(number) for number in range(25)}
        etcd.apply(wanted)
        read = adapter._read_page
        pages = 0

        def read_page(answer: Mapping[str, Any], start: bytes, end: bytes, items: dict[str, str]) -> bytes | None:
            nonlocal pages
            pages += 1
            if pages == 1:
                etcd.apply({f"{P}/new": "1"}, (f"{P}/9",))
                if compacted:
                    etcd.compact()
            return read(answer, start, end, items)

        monkeypatch.setattr(adapter, "_read_page", read_page)
        client = connect(etcd.url)
        if compacted:
            with pytest.raises(TransportError, match="compacted"):
                client.list(P)
            assert client.list(P).items == etcd.items(P)
        else:
            at = client.list(P)
            assert at.items == wanted
            response = client.watch(P, at.index + 1)
            assert response
            assert set(response.changes) == {Change(f"{P}/new", "1"), Change(f"{P}/9", None)}

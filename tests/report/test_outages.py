"""How often an outage of etcd or BIRD is logged, and many records at once."""

import pytest
from structlog.testing import capture_logs

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Rejected
from rrwatch.bird.apply import State
from rrwatch.datastore.follow import Unreachable
from rrwatch.datastore.port import Snapshot
from rrwatch.report.events import EventLog
from rrwatch.report.outcome import Outcome
from tests.report.values import outcome

LOST = Unreachable("/p", "http://e", "503")
LISTED = Snapshot("/p", {}, 1, "c", "http://e")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the log sees, in one item."""
    now = [1000.0]
    monkeypatch.setattr("rrwatch.report.events.time.monotonic", lambda: now[0])
    return now


def levels(entries: list[object]) -> list[tuple[str, str]]:
    return [(entry["event"], entry["log_level"]) for entry in entries if isinstance(entry, dict)]


def test_an_outage_is_logged_once_a_minute_and_its_end_once(clock: list[float]) -> None:
    with capture_logs() as entries:
        log = EventLog()
        log.synced(LISTED, 0)
        for _ in range(90):
            clock[0] += 1
            log.lost(LOST)
        log.synced(LISTED, 0)
        log.synced(LISTED, 0)
        clock[0] += 11
        log.lost(LOST)
    assert levels(list(entries)) == [
        ("etcd_synced", "info"),
        ("etcd_lost", "warning"),
        ("etcd_lost", "warning"),
        ("etcd_synced", "info"),
        ("etcd_synced", "debug"),
        ("etcd_lost", "warning"),
    ]


def test_lists_between_failed_watches_do_not_end_an_outage(clock: list[float]) -> None:
    with capture_logs() as entries:
        log = EventLog()
        for _ in range(120):
            clock[0] += 1
            log.lost(LOST)
            log.synced(LISTED, 0)
    assert levels(list(entries)).count(("etcd_lost", "warning")) == 2
    assert levels(list(entries)).count(("etcd_synced", "info")) == 1


def test_the_end_of_an_outage_says_how_long_it_was(clock: list[float]) -> None:
    with capture_logs() as entries:
        log = EventLog()
        log.synced(LISTED, 0)
        for _ in range(90):
            clock[0] += 1
            log.lost(LOST)
        clock[0] += 1.5
        log.synced(LISTED, 0)
    assert [entry.get("outage_s") for entry in entries] == [None, 0.0, 60.0, 90.5]


def test_a_bird_that_does_not_run_is_a_warning_every_minute(clock: list[float]) -> None:
    with capture_logs() as entries:
        log = EventLog()
        for _ in range(25):
            log.passed(outcome(State.WAITING, "no BIRD"))
            clock[0] += 5
        log.passed(outcome(State.CONFIRMED))
        log.passed(outcome(State.WAITING, "no BIRD"))
    assert levels(list(entries)) == [
        ("bird_unknown", "warning"),
        ("record_rejected", "warning"),
        *[("waiting_for_bird", "warning")] * 3,
        ("confirmed", "info"),
        ("waiting_for_bird", "warning"),
    ]
    assert [entry["outage_s"] for entry in entries[2:]] == [0.0, 60.0, 120.0, 125.0, 0.0]


def test_many_records_make_one_event() -> None:
    def passed(*rejected: Rejected) -> Outcome:
        return Outcome(derived=Derived((), rejected, ()))

    few = [Rejected(f"/k{number}", "not an address") for number in range(5)]
    many = [Rejected(f"/k{number:02}", f"reason {number % 7}") for number in range(10, 70)]
    with capture_logs() as all_entries:
        log = EventLog()
        log.passed(passed(*few))
        log.passed(passed(*few, *many))
        log.passed(passed(*few, *many))
        log.passed(passed(*few[1:]))
        log.passed(passed())
    assert levels(list(all_entries)).count(("record_rejected", "debug")) == len(many)
    entries = [entry for entry in all_entries if entry["log_level"] != "debug"]
    assert levels(list(entries))[1:] == [
        *[("record_rejected", "warning")] * 5,
        ("records_rejected", "warning"),
        ("records_no_longer_rejected", "info"),
        *[("record_no_longer_rejected", "info")] * 4,
    ]
    told = entries[6]
    assert (told["count"], len(told["keys"]), told["keys_count"], len(told["reasons"])) == (60, 21, 60, 5)
    assert entries[7]["count"] == 61

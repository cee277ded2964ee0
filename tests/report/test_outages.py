"""How often an outage of etcd is logged."""

import pytest
from structlog.testing import capture_logs

from rrwatch.datastore.follow import Unreachable
from rrwatch.datastore.port import Snapshot
from rrwatch.report.events import EventLog

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

"""Sessions that were lost or came up: log lines, the page `/sessions`, and metrics."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from lab.process import wait_until
from rrwatch.report import metrics
from rrwatch.report.events import EventLog
from rrwatch.report.http import StatusServer
from rrwatch.report.sessions import Lost
from rrwatch.report.status import Status
from rrwatch.settings.values import Listen
from tests.report.test_sessions import NAMES, NOW, SEEN, SESSIONS, observed, outcome
from tests.report.values import status

SHUTDOWN = "Received: Administrative shutdown"


def logged(lost: list[Lost], up: list[str]) -> list[Any]:
    with capture_logs() as entries:
        EventLog().sessions_moved("bird", lost, up, SESSIONS)
    return list(entries)


def test_a_few_are_logged_one_by_one() -> None:
    assert logged([Lost(NAMES[1], "Active", SHUTDOWN, 12.34), Lost("old", None, "", 0)], [NAMES[0]]) == [
        {"event": "session_lost", "log_level": "warning", "daemon": "bird", "session": NAMES[1], "node": "node-2",
         "state": "Active", "last_error": SHUTDOWN, "up_for_s": 12.3},
        {"event": "session_lost", "log_level": "warning", "daemon": "bird", "session": "old", "node": None,
         "state": None, "last_error": None, "up_for_s": 0},
        {"event": "session_up", "log_level": "info", "daemon": "bird", "session": NAMES[0], "node": "node-1"},
    ]  # fmt: skip
    assert logged([], []) == []


@pytest.mark.parametrize(("number", "lines"), [(10, 20), (11, 2), (5000, 2)])
def test_many_at_once_make_one_line(number: int, lines: int) -> None:
    names = [f"s{one}" for one in range(number)]
    lost = [Lost(name, "Active", "BIRD stopped" if name != "s0" else SHUTDOWN, 1.0) for name in names]
    entries = logged(lost, names)
    assert len(entries) == lines
    if lines == 2:
        assert entries[0] == {
            "event": "session_lost", "log_level": "warning", "daemon": "bird", "count": number, "sessions": names[:10],
            "last_error": "BIRD stopped",
        }  # fmt: skip
        assert entries[1] == {
            "event": "session_up", "log_level": "info", "daemon": "bird", "count": number, "sessions": names[:10],
        }  # fmt: skip


def now() -> Status:
    return replace(status(outcome()), observed={"bird": replace(observed(SEEN)["bird"], epoch=1_700_000_000.0)})


@pytest.fixture(scope="module")
def server() -> Iterator[StatusServer]:
    """A server with the table of the other tests."""
    server = StatusServer(Listen("127.0.0.1", 0))
    server.start()
    wait_until(lambda: server.address, "an address", 5)
    server.publish(now())
    yield server
    server.stop()


def get(server: StatusServer, page: str) -> tuple[int, str]:
    assert server.address
    connection = http.client.HTTPConnection(server.address, timeout=5)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_the_page(server: StatusServer) -> None:
    code, text = get(server, "/sessions")
    document = json.loads(text)
    assert (code, document["total"], document["page"], document["pages"], document["limit"]) == (200, 4, 1, 1, 100)
    assert [row["name"] for row in document["sessions"]] == list(NAMES)
    _, text = get(server, "/sessions?state=down&sort=since&limit=1&page=2")
    document = json.loads(text)
    assert (document["total"], document["pages"], [row["name"] for row in document["sessions"]]) == (3, 3, [NAMES[1]])
    assert json.loads(get(server, "/sessions?page=7")[1])["sessions"] == []


@pytest.mark.parametrize("query", ["state=upp", "limit=999999", "page=x", "x=1", "text=%ff", "state=%1b%5b2J"])
def test_a_wild_query(server: StatusServer, query: str) -> None:
    code, text = get(server, f"/sessions?{query}")
    assert code == 400
    assert text.endswith("\n")
    assert text[:-1].isprintable()


def test_the_status_has_numbers_and_the_longest_downs() -> None:
    document = now().document()
    daemon = document["daemons"]["bird"]
    expected = {"sessions": 4, "up": 1, "down": 3, "losses_total": 0, "losses_last_hour": 0, "poll_ms": 10.0}
    assert expected.items() <= daemon.items()
    assert (daemon["polled_at"], daemon["poll_error"]) == ("2023-11-15T00:59:59Z", None)
    assert [row["name"] for row in document["down_longest"]] == [NAMES[2], NAMES[1], NAMES[3]]
    assert "sessions" not in document
    json.dumps(document)


def test_metrics() -> None:
    text = metrics.exposition(replace(now(), not_ready_since=NOW.unix))
    for line in (
        'rrwatch_bgp_sessions{daemon="bird",state="Established"} 1.0',
        'rrwatch_bgp_sessions{daemon="bird",state="Active"} 1.0',
        'rrwatch_bgp_session_losses_total{daemon="bird"} 0.0',
        'rrwatch_bird_poll_seconds{daemon="bird"} 0.01',
        'rrwatch_bird_poll_timestamp_seconds{daemon="bird"} 1.700009999e+09',
        "rrwatch_not_ready_since_timestamp_seconds 1.8e+09",
    ):
        assert line in text.splitlines()
    assert "session_up" not in text
    text = metrics.exposition(replace(now(), session_metrics=True))
    assert f'rrwatch_bgp_session_up{{daemon="bird",node="node-1",session="{NAMES[0]}"}} 1.0' in text
    assert f'rrwatch_bgp_session_up{{daemon="bird",node="node-2",session="{NAMES[1]}"}} 0.0' in text


def test_a_bird_that_never_answered_has_no_poll_and_no_session_up() -> None:
    text = metrics.exposition(replace(now(), observed={}))
    assert 'rrwatch_bgp_sessions{daemon="bird",state="Established"} 0.0' in text
    assert 'rrwatch_bird_poll_seconds{daemon="bird"}' not in text

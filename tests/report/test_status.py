"""The status, as a value and over HTTP."""

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from rrwatch.bird.apply import State
from rrwatch.errors import UsageError
from rrwatch.report.http import StatusServer
from rrwatch.report.status import STALLED_AFTER, EtcdStatus, Status
from rrwatch.settings.values import Listen
from tests.report.values import outcome, status


def test_ready() -> None:
    now = status(outcome(State.CONFIRMED))
    assert now.unready() == ""
    document = now.document()
    assert document["ready"] is True
    assert document["reason"] is None
    assert document["daemons"]["bird"]["wanted_generation"] == 7
    assert document["rejected"] == [{"key": "/k", "reason": "why"}]
    json.dumps(document)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (status(None), "etcd has not answered yet"),
        (status(None, "/t:1: broken"), "templates: /t:1: broken"),
        (status(outcome(State.WAITING, "not there")), "bird waiting: not there"),
        (status(outcome(State.REFUSED, "no")), "bird refused: no"),
        (status(outcome(State.CONFIRMED), "/t:1: broken"), "templates: /t:1: broken"),
    ],
)
def test_unready(now: Status, reason: str) -> None:
    assert reason in now.unready()
    assert now.document()["ready"] is False


def test_an_outage_of_etcd_is_told_and_is_no_reason_to_restart_anything() -> None:
    now = replace(status(outcome(State.CONFIRMED)), etcd=EtcdStatus().heard("http://e", 9, 3).lost("http://f", "gone"))
    assert now.stalled() == ""
    assert now.unready() == ""
    assert now.document()["etcd"]["trouble"] == "gone"
    assert now.document()["etcd"]["index"] == 9


def test_stalled() -> None:
    now = status(outcome(State.CONFIRMED))
    assert now.stalled() == ""
    assert "has not turned" in replace(now, beat=now.beat - STALLED_AFTER - 1).stalled()


@pytest.fixture
def server() -> Iterator[StatusServer]:
    made = StatusServer(Listen("127.0.0.1", 0))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def ask(server: StatusServer) -> Callable[..., tuple[int, str]]:
    def ask(page: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection(server.address, timeout=5)
        connection.request(method, page)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, body

    return ask


def test_pages(server: StatusServer, ask: Callable[..., tuple[int, str]]) -> None:
    assert ask("/healthz") == (503, "starting\n")
    server.publish(status(outcome(State.CONFIRMED)))
    assert ask("/healthz") == (200, "alive\n")
    assert ask("/readyz") == (200, "ready\n")
    assert json.loads(ask("/status")[1])["ready"] is True
    assert ask("/healthz", "HEAD") == (200, "")
    server.publish(status(outcome(State.REFUSED, "\ud800 no")))
    assert ask("/readyz") == (503, "bird refused: \\ud800 no\n")
    assert ask("/healthz")[0] == 200


def test_read_only(server: StatusServer, ask: Callable[..., tuple[int, str]]) -> None:
    server.publish(status(outcome(State.CONFIRMED)))
    assert ask("/nonsense")[0] == 404
    assert ask("/status", "POST")[0] == 501
    assert ask("/status", "DELETE")[0] == 501


def test_an_address_that_is_taken(server: StatusServer) -> None:
    host, port = server.address.rsplit(":", 1)
    with pytest.raises(UsageError, match=r"status_listen is 127\.0\.0\.1:.*Address already in use"):
        StatusServer(Listen(host, int(port)))

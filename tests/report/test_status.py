"""The status, as a value and over HTTP."""

import json
from dataclasses import replace

import pytest

from rrwatch.bird.apply import State
from rrwatch.report.status import STALLED_AFTER, EtcdStatus, Status
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

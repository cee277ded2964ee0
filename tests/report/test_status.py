"""The status, as a value and over HTTP."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rrwatch.bird.apply import State
from rrwatch.report.status import ETCD_STALE_AFTER, STALLED_AFTER, EtcdStatus, Status
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


def answered(seconds: float, **more: float | None) -> EtcdStatus:
    etcd = EtcdStatus().heard("http://e", 9, 3)
    assert etcd.heard_at is not None
    return replace(etcd, heard_at=etcd.heard_at - seconds, **more)  # type: ignore[arg-type]  # times


@pytest.mark.parametrize(
    ("etcd", "stale"),
    [
        (EtcdStatus(), False),
        (EtcdStatus(asked_at=time.monotonic()), False),
        (EtcdStatus(asked_at=time.monotonic() - ETCD_STALE_AFTER - 1), True),
        (answered(0), False),
        (answered(ETCD_STALE_AFTER - 20), False),
        (answered(ETCD_STALE_AFTER + 1), True),
        (answered(0, asked_at=time.monotonic() - 1000), False),
    ],
)
def test_an_etcd_that_has_not_answered_for_long_is_stale(etcd: EtcdStatus, stale: bool) -> None:
    now = replace(status(outcome(State.CONFIRMED)), etcd=etcd)
    assert etcd.is_stale is stale
    assert now.document()["etcd"]["stale"] is stale
    assert now.document()["ready"] is True


def test_when_etcd_answered_last_is_a_time() -> None:
    document = replace(status(outcome(State.CONFIRMED)), etcd=answered(60)).document()["etcd"]
    age = datetime.now(UTC) - datetime.fromisoformat(document["last_answer_at"])
    assert 59 <= age.total_seconds() < 90
    assert replace(status(None), etcd=EtcdStatus()).document()["etcd"]["last_answer_at"] is None

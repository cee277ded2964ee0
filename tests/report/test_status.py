"""The status, as a value and over HTTP."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rrwatch.archive.freeze import Frozen
from rrwatch.bird.apply import State
from rrwatch.guard.baseline import Hold
from rrwatch.guard.rule import Loss
from rrwatch.report.headline import headline
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
        (status(None), "waiting for etcd"),
        (status(None, "/t:1: broken"), "templates: /t:1: broken"),
        (status(outcome(State.WAITING, "not there")), "bird waiting: not there"),
        (status(outcome(State.REFUSED, "no")), "bird refused: no"),
        (status(outcome(State.CONFIRMED), "/t:1: broken"), "templates: /t:1: broken"),
    ],
)
def test_unready(now: Status, reason: str) -> None:
    assert reason in now.unready()
    assert now.document()["ready"] is False


def test_a_hold_does_not_hide_what_else_there_is() -> None:
    hold = Hold(Loss("2 of 3 sessions would end", ("n",), ("s",)), "1", 0.0)
    now = replace(status(outcome(State.WAITING, "not there")), hold=hold)
    assert now.unready() == "held: 2 of 3 sessions would end; bird waiting: not there"
    assert now.summary() == f"{now.unready()}; `rrwatch release` lets the held change go ahead"
    first = replace(status(None), hold=hold)
    assert first.unready() == "held: 2 of 3 sessions would end"


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


@pytest.mark.parametrize(
    ("asked", "heard", "stale"),
    [
        (None, None, False),
        (0, None, False),
        (ETCD_STALE_AFTER + 1, None, True),
        (None, 0, False),
        (None, ETCD_STALE_AFTER - 60, False),
        (None, ETCD_STALE_AFTER + 1, True),
        (1000, 0, False),
    ],
)
def test_an_etcd_that_has_not_answered_for_long_is_stale(asked: float | None, heard: float | None, stale: bool) -> None:
    """The ages of the first question and of the last answer in seconds, None where there was none."""
    clock = time.monotonic()
    etcd = EtcdStatus(asked_at=None if asked is None else clock - asked)
    if heard is not None:
        etcd = replace(etcd.heard("http://e", 9, 3), heard_at=clock - heard)
    now = replace(status(outcome(State.CONFIRMED)), etcd=etcd)
    assert etcd.is_stale is stale
    assert now.document()["etcd"]["stale"] is stale
    assert now.document()["ready"] is (heard is not None)


def test_what_a_freeze_made_of_bird_is_not_what_etcd_asks_for() -> None:
    never = EtcdStatus().lost("http://e", "gone")
    thawed = replace(status(outcome(State.CONFIRMED)), etcd=never, started_at=1.0)
    assert thawed.unready() == "waiting for etcd: gone"
    frozen = replace(thawed, frozen=Frozen("t", 1.0, "why", {"bird": "x"}))
    assert frozen.unready() == ""
    away, standing = headline(frozen.document()).notes
    assert (away.what, away.since, away.reason) == ("etcd away", "1970-01-01T00:00:01Z", "gone")
    assert standing.what == "frozen"


def test_when_etcd_answered_last_is_a_time() -> None:
    etcd = EtcdStatus().heard("http://e", 9, 3)
    etcd = replace(etcd, heard_at=time.monotonic() - 60)
    document = replace(status(outcome(State.CONFIRMED)), etcd=etcd).document()["etcd"]
    age = datetime.now(UTC) - datetime.fromisoformat(document["last_answer_at"])
    assert 59 <= age.total_seconds() < 90
    assert replace(status(None), etcd=EtcdStatus()).document()["etcd"]["last_answer_at"] is None

"""Freezes and rollbacks, pass by pass, beside BIRDs in memory."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from rrwatch.archive.freeze import FreezeFiles
from rrwatch.archive.requests import Answer, Command, Request, RequestFiles, Result
from rrwatch.bird.apply import State
from rrwatch.errors import StateError
from tests.daemon.conftest import Passes
from tests.daemon.fake_bird import FakeBird
from tests.keys import CLUSTER, REFLECTOR, SESSIONS, host
from tests.waits import names

Make = Callable[..., Passes]

MORE = CLUSTER | host("n50", "172.17.42.50")
NEW = names("172.17.42.50")
_numbers = itertools.count()


class Operator:
    """Asks, and lets a pass answer."""

    def __init__(self, subject: Passes) -> None:
        self.subject = subject
        self.files = RequestFiles(subject.settings.state_dir)

    def ask(self, command: Command, **values: Any) -> Answer:
        name = f"r{next(_numbers)}"
        self.files.ask(Request(name, f"reflector {REFLECTOR}", command, time.time(), **values))
        self.subject.run()
        answer = self.files.answered(name)
        assert answer
        return answer


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as found:
        yield found


@pytest.fixture
def subject(passes: Make) -> Passes:
    found = passes()
    found.list(CLUSTER)
    return found


@pytest.fixture
def operator(subject: Passes) -> Operator:
    return Operator(subject)


def runs(subject: Passes) -> set[str]:
    return {line.split()[2] for line in subject.text.splitlines() if line.startswith("protocol bgp")}


def test_what_waits_is_counted_and_its_keys_are_the_cause_later(subject: Passes, operator: Operator) -> None:
    assert operator.ask(Command.FREEZE, reason="why").result is Result.DONE
    subject.list(MORE)
    assert runs(subject) == SESSIONS
    answer = operator.ask(Command.PLAN)
    assert answer.waiting == {"bird": {"added": list(NEW), "removed": [], "changed": []}}
    answer = operator.ask(Command.THAW)
    assert (answer.result, answer.text) == (Result.DONE, "thawed")
    assert runs(subject) == SESSIONS | NEW
    entry = subject.reconciler.history.recent[-1]
    assert entry["cause"] == ["thaw", *sorted(MORE.keys() - CLUSTER.keys())]
    assert subject.reconciler.waiting is None


def test_a_thaw_that_bird_refuses_says_so(subject: Passes, operator: Operator) -> None:
    operator.ask(Command.FREEZE, reason="why")
    subject.list(MORE)
    subject.bird.refuses = lambda text: "no" if "172.17.42.50" in text else ""
    assert operator.ask(Command.THAW).result is Result.REFUSED
    assert runs(subject) == SESSIONS


def test_a_rollback_is_checked_before_anything_is_done(subject: Passes, operator: Operator) -> None:
    subject.list(MORE)
    subject.bird.refuses = lambda text: "" if "172.17.42.50" in text else "not today"
    for seconds in None, 60.0:
        answer = operator.ask(Command.ROLLBACK, number=1, seconds=seconds)
        assert (answer.result, answer.text) == (Result.REFUSED, "BIRD refuses it: not today")
        assert subject.reconciler.freezer.frozen is None
    assert operator.ask(Command.ROLLBACK, number=9).result is Result.MISSING


def test_a_freeze_again_changes_the_reason_and_the_end_and_not_the_text(subject: Passes, operator: Operator) -> None:
    operator.ask(Command.FREEZE, reason="one")
    subject.list(MORE)
    operator.ask(Command.FREEZE, reason="two", seconds=60.0)
    frozen = subject.reconciler.freezer.frozen
    assert frozen
    assert (frozen.reason, frozen.until is not None) == ("two", True)
    assert 50 < (subject.reconciler.freezer.due_in or 0) <= 60
    assert runs(subject) == SESSIONS


def test_it_ends_by_itself_though_the_clock_was_set_back(
    subject: Passes, operator: Operator, passes: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.ask(Command.FREEZE, reason="why", seconds=60.0)
    subject.list(MORE)
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real - 86400)
    subject.reconciler.close()
    other = passes(subject.bird)
    assert 50 < (other.reconciler.freezer.due_in or 0) <= 60
    later = time.monotonic() + 61
    monkeypatch.setattr("rrwatch.daemon.freezer.time.monotonic", lambda: later)
    other.list(MORE)
    assert runs(other) == SESSIONS | NEW
    assert other.reconciler.freezer.frozen is None


def test_a_clock_that_was_set_forward_while_rrwatch_was_away(
    subject: Passes, operator: Operator, passes: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.list(MORE)
    operator.ask(Command.ROLLBACK, number=1, seconds=60.0)
    subject.reconciler.close()
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + 31_536_000)
    other = passes(subject.bird)
    other.list(MORE)
    # It counts as not confirmed: BIRD runs what it ran before, and that stays.
    assert runs(other) == SESSIONS | NEW
    assert (other.reconciler.freezer.frozen or pytest.fail("not frozen")).until is None
    # A freeze for a while is over.
    Operator(other).ask(Command.FREEZE, reason="why", seconds=60.0)
    other.list(CLUSTER)
    assert runs(other) == SESSIONS | NEW
    other.reconciler.close()
    monkeypatch.setattr(time, "time", lambda: real + 2 * 31_536_000)
    last = passes(subject.bird)
    last.list(CLUSTER)
    assert runs(last) == SESSIONS


def test_a_rollback_that_waits_does_not_last_longer_though_the_clock_was_set_back(
    subject: Passes, operator: Operator, passes: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.list(MORE)
    operator.ask(Command.ROLLBACK, number=1, seconds=60.0)
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real - 86400)
    subject.reconciler.close()
    other = passes(subject.bird)
    subject.bird.undo = {}  # BIRD forgets it
    later = time.monotonic() + 63
    monkeypatch.setattr("rrwatch.daemon.freezer.time.monotonic", lambda: later)
    other.list(MORE)
    assert runs(other) == SESSIONS | NEW


def test_nothing_to_freeze(passes: Make) -> None:
    subject = passes(FakeBird(hangs=True))
    subject.list(CLUSTER)
    answer = Operator(subject).ask(Command.FREEZE, reason="why")
    assert answer.result is Result.FAILED
    assert "no configuration" in answer.text


def test_a_folder_that_cannot_be_written_refuses_a_freeze(
    subject: Passes, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FreezeFiles.save
    monkeypatch.setattr(FreezeFiles, "save", _full)
    assert "no room" in operator.ask(Command.FREEZE, reason="why").text
    assert subject.reconciler.freezer.frozen is None
    monkeypatch.setattr(FreezeFiles, "save", real)
    operator.ask(Command.FREEZE, reason="why", seconds=60.0)
    # Its end is another matter: it comes in any case.
    monkeypatch.setattr(FreezeFiles, "save", _full)
    later = time.monotonic() + 61
    monkeypatch.setattr("rrwatch.daemon.freezer.time.monotonic", lambda: later)
    subject.list(MORE)
    assert runs(subject) == SESSIONS | NEW


def _full(*_: Any) -> None:
    raise StateError("no room")


def test_a_freeze_that_cannot_be_read_keeps_what_is_installed(
    subject: Passes, operator: Operator, passes: Make, tmp_path: Path, logs: list[Any]
) -> None:
    operator.ask(Command.FREEZE, reason="why")
    (tmp_path / "state" / "frozen.json").write_text("{")
    subject.reconciler.close()
    other = passes(subject.bird)
    other.list(MORE)
    assert runs(other) == SESSIONS
    assert "`rrwatch thaw` ends it" in (other.reconciler.freezer.frozen or pytest.fail("not frozen")).reason
    assert Operator(other).ask(Command.THAW).result is Result.DONE
    assert runs(other) == SESSIONS | NEW
    assert [event["event"] for event in logs if "state" in event["event"]] == ["state_lost"]


def test_frozen_counts_before_etcd_has_answered(subject: Passes, operator: Operator, passes: Make) -> None:
    operator.ask(Command.FREEZE, reason="why")
    (target,) = subject.bird.files
    subject.bird.files[target] = subject.bird.runs[target] = "# mine\n"
    subject.reconciler.close()
    other = passes(subject.bird)
    assert other.reconciler.run_pass(None)
    assert runs(other) == SESSIONS
    name = f"r{next(_numbers)}"
    operator.files.ask(Request(name, f"reflector {REFLECTOR}", Command.THAW, time.time()))
    assert other.reconciler.run_pass(None) is None
    assert "etcd has not answered" in (operator.files.answered(name) or pytest.fail("no answer")).text


def test_a_rollback_that_is_tried_out_is_not_disturbed(subject: Passes, operator: Operator, logs: list[Any]) -> None:
    subject.list(MORE)
    configures = subject.bird.configures
    assert operator.ask(Command.ROLLBACK, number=1, seconds=60.0).result is Result.DONE
    assert runs(subject) == SESSIONS
    (target,) = subject.bird.files
    assert "172.17.42.50" in subject.bird.files[target]
    for _ in range(3):
        subject.list(MORE | host("n51", "172.17.42.51"))
        assert subject.bird.configures == configures
    for command in Command.THAW, Command.PLAN, Command.FREEZE:
        assert "rrwatch confirm" in operator.ask(command, reason="why").text
    assert "rrwatch confirm" in operator.ask(Command.ROLLBACK, number=2, seconds=60.0).text
    assert operator.ask(Command.CONFIRM).result is Result.DONE
    assert subject.bird.undo == {}
    assert subject.bird.files[target] == subject.bird.runs[target]
    assert subject.bird.configures == configures
    assert operator.ask(Command.CONFIRM).result is Result.FAILED
    words = [event["event"] for event in logs if "roll" in event["event"] or event["event"] == "frozen"]
    assert words == ["rolled_back", "rollback_confirmed", "frozen"]


def test_a_rollback_supersedes_one_that_is_tried_out(subject: Passes, operator: Operator) -> None:
    subject.list(MORE)
    operator.ask(Command.ROLLBACK, number=1, seconds=60.0)
    assert operator.ask(Command.ROLLBACK, number=2).result is Result.DONE
    assert runs(subject) == SESSIONS | NEW
    assert subject.reconciler.freezer.standing.pending is None


def test_what_bird_undid_stays_and_is_no_drift(subject: Passes, operator: Operator, logs: list[Any]) -> None:
    subject.list(MORE)
    operator.ask(Command.FREEZE, reason="before")
    operator.ask(Command.ROLLBACK, number=1, seconds=60.0)
    subject.bird.time_is_up()
    subject.run()
    assert runs(subject) == SESSIONS | NEW
    frozen = subject.reconciler.freezer.frozen
    # The freeze that was there before goes on.
    assert frozen
    assert frozen.reason == "before"
    subject.run()
    assert runs(subject) == SESSIONS | NEW
    assert not [event for event in logs if event["event"] == "drift_found"]
    assert subject.reconciler.history.counters["bird"].drifts == 0


def test_a_bird_that_forgets_to_undo_is_told(
    subject: Passes, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.list(MORE)
    operator.ask(Command.ROLLBACK, number=1, seconds=60.0)
    subject.bird.undo = {}  # another `configure` ended its wait
    later = time.monotonic() + 63
    monkeypatch.setattr("rrwatch.daemon.freezer.time.monotonic", lambda: later)
    subject.run()
    assert runs(subject) == SESSIONS | NEW
    assert "was not confirmed" in (subject.reconciler.freezer.frozen or pytest.fail("not frozen")).reason


def test_no_trial_without_bird(subject: Passes, operator: Operator) -> None:
    subject.list(MORE)
    subject.bird.absent = True
    answer = operator.ask(Command.ROLLBACK, number=1, seconds=60.0)
    assert (answer.result, answer.text) == (Result.FAILED, "BIRD does not listen")
    assert subject.reconciler.freezer.frozen is None
    answer = operator.ask(Command.ROLLBACK, number=1)
    assert answer.result is Result.DONE
    assert "finds it when it starts" in answer.text


def test_a_bird_that_is_back_is_a_row_and_no_drift(subject: Passes) -> None:
    subject.bird.absent = True
    subject.run()
    subject.bird.absent = False
    subject.run()
    assert [entry["cause"] for entry in subject.reconciler.history.recent] == [
        ["start"], ["bird stopped"], ["bird started"],
    ]  # fmt: skip
    # One that was started again on something else between two passes.
    (target,) = subject.bird.files
    subject.bird.runs[target], subject.bird.life = "", 2
    subject.run()
    assert subject.reconciler.history.recent[-1]["cause"] == ["bird started"]
    assert subject.reconciler.history.counters["bird"].drifts == 0


def test_new_templates_are_a_cause(passes: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrwatch.daemon.template_trial.QUIET_TIME", 0.0)
    folder = tmp_path / "templates"
    folder.mkdir()
    subject = passes(templates=folder)
    subject.list(CLUSTER)
    shipped = Path(__file__).parents[2] / "templates" / "reflector.cfg.j2"
    (folder / "reflector.cfg.j2").write_text(shipped.read_text() + "\n# mine\n")
    subject.run()
    subject.run()
    assert subject.reconciler.history.recent[-1]["cause"] == ["templates"]


def test_a_history_that_cannot_be_written_stops_nothing(passes: Make, tmp_path: Path, logs: list[Any]) -> None:
    (tmp_path / "state").write_text("")  # no folder
    subject = passes()
    for items in CLUSTER, MORE, CLUSTER:
        subject.list(items)
        assert runs(subject) == SESSIONS | (NEW if items is MORE else set())
    assert [event["event"] for event in logs].count("state_lost") == 1
    (tmp_path / "state").unlink()
    subject.run()
    assert [row.number for row in subject.reconciler.archive.rows()] == [1, 2, 3]


def test_a_change_that_was_not_written_down_is_found_at_the_next_start(passes: Make, tmp_path: Path) -> None:
    subject = passes()
    subject.list(CLUSTER)
    subject.reconciler.close()
    for path in tmp_path / "state" / "history.jsonl", tmp_path / "state" / "configs" / "1.cfg.gz":
        path.unlink()
    other = passes(subject.bird)
    other.list(CLUSTER)
    other.run()
    (row,) = other.reconciler.archive.rows()
    assert (row.cause, row.added, row.configuration) == (("start",), 0, row.number)
    assert other.bird.configures == 1


def test_a_request_that_meets_a_defect_fails_one_pass(
    subject: Passes, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(subject.reconciler.freezer, "_freeze", fail)
    with pytest.raises(RuntimeError):
        operator.ask(Command.FREEZE, reason="why")
    assert operator.files.asked(f"reflector {REFLECTOR}") is None
    assert subject.list(MORE).states == {State.CONFIRMED}
    assert runs(subject) == SESSIONS | NEW

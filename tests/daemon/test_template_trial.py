"""When the operator's folder is read, on a clock that the test turns."""

from pathlib import Path

import pytest

from rrwatch.daemon.template_trial import QUIET_TIME, TemplateTrial


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trial(tmp_path: Path, clock: Clock) -> TemplateTrial:
    made = TemplateTrial(tmp_path, clock=clock)
    assert made.refresh()
    assert made.state.loaded is None  # nobody changed anything
    return made


def test_a_folder_is_read_when_it_has_not_changed_for_a_while(
    trial: TemplateTrial, tmp_path: Path, clock: Clock
) -> None:
    for text in "{% half", "{% half written", "whole":
        (tmp_path / "session.cfg.j2").write_text(text)
        assert trial.has_changed()
        assert not trial.refresh()
        assert trial.due == clock.now + QUIET_TIME
        clock.now += QUIET_TIME * 0.9
        assert not trial.refresh()
    clock.now += QUIET_TIME * 0.2
    assert trial.refresh()
    assert (trial.state.error, trial.state.loaded, trial.due) == ("", tmp_path, None)
    assert not trial.refresh()
    assert trial.state.loaded is None


def test_a_request_to_read_again_does_not_wait(trial: TemplateTrial, tmp_path: Path) -> None:
    (tmp_path / "session.cfg.j2").write_text("new")
    trial.reread()
    assert trial.refresh()


def test_a_folder_that_cannot_be_read_is_an_error_until_it_can(trial: TemplateTrial, tmp_path: Path) -> None:
    (tmp_path / "session.cfg.j2").write_text("{% broken")
    trial.reread()
    assert not trial.refresh()
    assert "session.cfg.j2" in trial.state.error
    (newest,) = trial.candidates(retry=True)
    trial.accept(newest, proven=True)
    assert trial.state.error  # what was accepted is older than what cannot be read
    (tmp_path / "session.cfg.j2").unlink()
    trial.reread()
    assert trial.refresh()
    assert trial.state.error == ""


def test_without_a_folder_there_is_nothing_to_watch() -> None:
    trial = TemplateTrial(None)
    assert trial.refresh()
    assert not trial.has_changed()
    assert trial.due is None


def test_what_failed_is_tried_again_when_something_has_changed(trial: TemplateTrial, tmp_path: Path) -> None:
    (old,) = trial.candidates(retry=True)
    assert not trial.has_fallback(old)
    trial.accept(old, proven=True)
    (tmp_path / "session.cfg.j2").write_text("new")
    trial.reread()
    trial.refresh()
    new, fallback = trial.candidates(retry=True)
    assert fallback is old
    assert trial.has_fallback(new)
    trial.reject(new, "no")
    assert list(trial.candidates(retry=False)) == [old]
    assert list(trial.candidates(retry=True)) == [new, old]

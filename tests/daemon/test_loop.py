"""The loop, run as it is beside a datastore and BIRDs in memory; a test follows what it publishes."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rrwatch.bird.apply import Applied, State
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target
from rrwatch.daemon.loop import Daemon
from rrwatch.daemon.template_trial import QUIET_TIME
from rrwatch.datastore.factory import ADAPTERS
from rrwatch.datastore.folders import Folders
from rrwatch.datastore.port import Change, Changes, Snapshot
from rrwatch.report.status import Status
from rrwatch.report.systemd import Notifier
from rrwatch.settings.model import Settings, settings_of
from tests.daemon.fake_bird import FakeBird
from tests.datastore.memory import MemoryDatastore
from tests.keys import CLUSTER, SESSIONS, host

Steps = Iterator[Callable[[Status], bool]]


class Run:
    """A daemon that runs until its test is over."""

    def __init__(self, settings: Settings, bird: FakeBird) -> None:
        self.bird, self.is_over = bird, False
        self._steps: Steps = iter(())
        self._waits_for: Callable[[Status], bool] | None = None
        self.daemon = Daemon(settings, Notifier(None), self._publish, lambda *_: bird)

    def through(self, steps: Steps) -> list[str]:
        """Runs the daemon until each condition that the steps yield was true of a status; returns its log events."""
        self._steps = steps
        self._step_on()
        # A condition that never comes true ends the test too.
        guard = threading.Timer(20, os.kill, (os.getpid(), signal.SIGTERM))
        guard.start()
        with capture_logs() as events:
            self.daemon.run()
        guard.cancel()
        assert self.is_over, "a condition did not come true in time"
        return [event["event"] for event in events]

    def _publish(self, status: Status) -> None:
        if self._waits_for and self._waits_for(status):
            self._step_on()

    def _step_on(self) -> None:
        self._waits_for = next(self._steps, None)
        if self._waits_for is None:
            self.is_over = True
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def datastore(monkeypatch: pytest.MonkeyPatch) -> MemoryDatastore:
    """A datastore with the walkthrough's keys, which the factory opens for everybody."""
    made = MemoryDatastore()
    monkeypatch.setitem(ADAPTERS, "etcdv2", lambda: lambda *_: made)
    made.commit(*(Change(key, value) for key, value in CLUSTER.items()))
    return made


@pytest.fixture
def run(tmp_path: Path, datastore: MemoryDatastore) -> Callable[..., Run]:  # noqa: ARG001  # it is opened by name
    """Makes a daemon beside BIRDs in memory."""

    def make(bird: FakeBird | None = None, **values: object) -> Run:
        paths = {"config": tmp_path / "bird.cfg", "bird_socket": tmp_path / "bird.ctl", "state_dir": tmp_path / "state"}
        given = {"ip": IPv4Address("172.17.42.40"), "min_interval": 0.0, **paths, **values}
        return Run(settings_of(given), bird or FakeBird())

    return make


def ready(status: Status) -> bool:
    return not status.unready()


def test_from_the_start_to_the_end(run: Callable[..., Run]) -> None:
    def steps() -> Steps:
        yield ready
        assert subject.bird.sessions() == SESSIONS

    subject = run()
    assert subject.through(steps()) == ["started", "etcd_synced", "bird_known", "configured", "stopped"]


def test_a_change_is_applied_and_a_reload_lists_again(run: Callable[..., Run], datastore: MemoryDatastore) -> None:
    def steps() -> Steps:
        yield ready
        datastore.commit(*(Change(key, value) for key, value in host("new", "172.17.42.33").items()))
        yield lambda _: subject.bird.sessions() == SESSIONS | {"Global_172_17_42_33"}
        os.kill(os.getpid(), signal.SIGHUP)
        yield lambda status: status.etcd.lists == 2

    subject = run()
    events = subject.through(steps())
    assert events.count("configured") == 2
    assert "reloading" in events


class Faulty(FakeBird):
    """BIRDs that make rrwatch fail, as a defect would."""

    faults = 2

    def apply(self, target: Target, wanted: Rendered) -> Applied:
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError
        return super().apply(target, wanted)


def test_a_defect_is_logged_and_retried(run: Callable[..., Run]) -> None:
    def steps() -> Steps:
        yield lambda _: subject.bird.faults == 1  # type: ignore[attr-defined]  # it is a Faulty
        yield ready

    subject = run(Faulty())
    events = subject.through(steps())
    assert (events.count("fault"), events.count("configured")) == (2, 1)


def test_an_event_that_meets_a_defect_is_not_lost(
    run: Callable[..., Run], datastore: MemoryDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter([True])

    def faulty(folders: Folders, event: Snapshot | Changes) -> set[str]:
        if next(faults, False):
            raise ZeroDivisionError
        return take(folders, event)

    def steps() -> Steps:
        yield ready
        monkeypatch.setattr(Folders, "take", faulty)
        datastore.commit(*(Change(key, value) for key, value in host("new", "172.17.42.33").items()))
        yield lambda _: subject.bird.sessions() == SESSIONS | {"Global_172_17_42_33"}

    take = Folders.take
    subject = run(resync_interval=300.0)
    assert "fault" in subject.through(steps())


def test_changes_gather_for_the_shortest_time_between_two_configures(
    run: Callable[..., Run], datastore: MemoryDatastore
) -> None:
    def steps() -> Steps:
        yield ready
        for number in range(10):
            datastore.commit(*(Change(*item) for item in host(f"n{number}", f"10.0.0.{number + 1}").items()))
        yield lambda _: len(subject.bird.sessions()) == len(SESSIONS) + 10

    subject = run(min_interval=0.5)
    assert subject.through(steps()).count("configured") <= 3


def test_templates_are_read_when_their_folder_is_at_rest(run: Callable[..., Run], tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()

    def steps() -> Steps:
        yield ready
        began = time.monotonic()
        (folder / "session.cfg.j2").write_text("{% broken")
        yield lambda status: "session.cfg.j2" in status.template_error
        assert time.monotonic() - began >= QUIET_TIME
        (folder / "session.cfg.j2").unlink()
        yield lambda status: status.template_error == ""

    assert "templates_loaded" in run(templates=folder).through(steps())


def test_what_is_not_there_is_looked_for_every_second(run: Callable[..., Run]) -> None:
    def steps() -> Steps:
        yield lambda status: bool(status.outcome and status.outcome.states == {State.WAITING})
        subject.bird.absent = False
        yield ready

    subject = run(FakeBird(absent=True))
    assert subject.through(steps())[-2:] == ["configured", "stopped"]

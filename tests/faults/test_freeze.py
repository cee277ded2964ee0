"""Sudden death at every step of a freeze, a thaw, a rollback and its confirmation, and no room for any of it."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, Bird, Release
from rrwatch.archive.archive import Archive
from rrwatch.archive.freeze import FreezeFiles, Standing
from rrwatch.archive.requests import Command, Request, RequestFiles
from rrwatch.bird.render import installed
from rrwatch.daemon.birds import LocalBird
from rrwatch.daemon.reconciler import Reconciler
from rrwatch.datastore.port import Snapshot
from rrwatch.report.events import EventLog
from rrwatch.settings.model import Settings, settings_of
from tests.faults import killpoint
from tests.keys import CLUSTER, PREFIX, REFLECTOR, SESSIONS, host
from tests.waits import names

OLD, NOW = SESSIONS, SESSIONS | names("172.17.42.50")
NEXT = NOW | names("172.17.42.51")
ITEMS = CLUSTER | host("n50", "172.17.42.50")
NEXT_ITEMS = ITEMS | host("n51", "172.17.42.51")
ROLE = f"reflector {REFLECTOR}"
KILLED = 9


@pytest.fixture(params=[BIRD2], ids=str)
def release(request: pytest.FixtureRequest) -> Release:
    """One is enough where a test does not say otherwise."""
    chosen: Release = request.param
    return chosen


class Host:
    """A BIRD, and processes of rrwatch that each run one pass."""

    def __init__(self, bird: Bird, folder: Path) -> None:
        self.bird, self.state, self._copy = bird, folder / "state", folder / "copy"
        self._text = ""

    @property
    def settings(self) -> Settings:
        paths = {
            "config": self.bird.config,
            "config6": self.bird.config.with_name("bird6.cfg"),
            "bird_socket": self.bird.socket,
            "bird6_socket": self.bird.socket.with_name("bird6.ctl"),
            "state_dir": self.state,
        }
        return settings_of({"ip": IPv4Address(REFLECTOR), **paths})

    def process(self, items: dict[str, str], step: int = 0) -> int:
        """Runs one pass in a process of its own; returns the signal that ended it, 0 if none did."""
        child = os.fork()
        if not child:
            status = 1
            try:
                if step:
                    killpoint.arm(step, killpoint.EFFECTS)
                self._pass(items)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0

    def _pass(self, items: dict[str, str]) -> None:
        settings = self.settings
        reconciler = Reconciler(settings, LocalBird(settings, threading.Event()), EventLog())
        reconciler.claim()
        reconciler.hear(Snapshot(PREFIX, items, 1, "c", "http://e"), items)
        reconciler.run_pass(reconciler.settle(items))
        reconciler.close()

    def ask(self, command: Command, **values: object) -> None:
        request = Request(f"{time.time_ns()}", ROLE, command, time.time(), **values)  # type: ignore[arg-type]
        RequestFiles(self.state).ask(request)

    @property
    def standing(self) -> Standing:
        return FreezeFiles(self.state, ROLE).load()

    def keep(self) -> None:
        """Remembers how all of it is."""
        shutil.copytree(self.state, self._copy)
        self._text = self.bird.config.read_text()

    def restore(self) -> None:
        shutil.rmtree(self.state)
        shutil.copytree(self._copy, self.state)
        self.bird.config.write_text(self._text)
        self.bird.command("configure")

    def litter(self) -> list[str]:
        folders = self.bird.folder, self.state, self.state / "configs"
        return [path.name for folder in folders for path in folder.iterdir() if path.name.startswith(".")]


@pytest.fixture
def site(bird: Bird, tmp_path: Path) -> Host:
    found = Host(bird, tmp_path)
    found.process(CLUSTER)
    found.process(ITEMS)
    assert bird.sessions() == NOW
    return found


def _freeze(site: Host) -> None:
    site.ask(Command.FREEZE, reason="maintenance")


def _thaw(site: Host) -> None:
    _freeze(site)
    site.process(ITEMS)
    site.ask(Command.THAW)


def _roll_back(site: Host) -> None:
    site.ask(Command.ROLLBACK, number=1)


def _try_out(site: Host) -> None:
    site.ask(Command.ROLLBACK, number=1, seconds=600.0)


def _confirm(site: Host) -> None:
    _try_out(site)
    site.process(ITEMS)
    site.ask(Command.CONFIRM)


CASES = [
    pytest.param(BIRD1, _freeze, [NOW], NOW, "maintenance", id="freeze"),
    pytest.param(BIRD2, _thaw, [NOW, NEXT], NEXT, "", id="thaw"),
    pytest.param(BIRD1, _roll_back, [NOW, OLD], OLD, "rollback to 1", id="rollback"),
    pytest.param(BIRD2, _try_out, [NOW, OLD], OLD, "rollback to 1", id="rollback that waits"),
]


def steps(site: Host) -> Iterator[int]:
    """Kills a pass at each step; yields the number of each, until a pass comes to its end."""
    for step in range(1, 200):
        killed = site.process(NEXT_ITEMS, step)
        if killed == 0:
            return
        assert killed == KILLED
        yield step


@pytest.mark.parametrize(("release", "prepare", "between", "after", "reason"), CASES)
def test_killed_at_every_step(
    site: Host,
    prepare: Callable[[Host], None],
    between: list[set[str]],
    after: set[str],
    reason: str,
) -> None:
    prepare(site)
    site.keep()
    last = 0
    for step in steps(site):
        last = step
        assert site.bird.sessions() in between
        rendered = installed(site.bird.config.read_text())
        assert rendered
        assert set(rendered.blocks) in between

        assert site.process(NEXT_ITEMS) == 0
        assert site.bird.sessions() == after
        in_effect = site.standing.in_effect
        assert (in_effect.reason if in_effect else "") == reason
        assert RequestFiles(site.state).asked(ROLE) is None
        history = Archive(site.state, ROLE)
        newest = history.newest()
        assert newest
        assert set(installed(newest.texts["bird"]).blocks) == after  # type: ignore[union-attr]
        rows = [row.number for row in history.rows()]
        assert rows == sorted(set(rows))
        assert rows[:2] == [1, 2]
        # What BIRD only checked is removed when it is told something the next time.
        assert site.standing.pending or site.litter() == []
        site.restore()
    assert last >= 15


@pytest.mark.parametrize("release", [BIRD1], ids=str)
def test_killed_at_every_step_of_a_confirmation(site: Host) -> None:
    site.keep()
    _confirm(site)
    for step in range(1, 200):
        killed = site.process(NEXT_ITEMS, step)
        assert site.bird.sessions() == OLD
        assert site.process(NEXT_ITEMS) == 0
        assert site.bird.sessions() == OLD
        assert site.standing.frozen == site.standing.in_effect
        assert site.bird.config.read_text() == (site.standing.frozen or pytest.fail("not frozen")).texts["bird"]
        assert "nothing to do" in site.bird.command("configure confirm").lower()
        if killed == 0:
            break
        site.restore()
        _confirm(site)
    assert step >= 15


def test_killed_at_every_step_after_bird_has_undone_it(site: Host) -> None:
    _try_out(site)
    site.process(ITEMS)
    assert site.bird.sessions() == OLD
    site.keep()
    site.bird.command("configure undo")
    last = 0
    for step in steps(site):
        last = step
        assert site.bird.sessions() == NOW
        assert site.process(NEXT_ITEMS) == 0
        assert site.bird.sessions() == NOW
        assert site.standing.pending is None
        assert "was not confirmed" in (site.standing.frozen or pytest.fail("not frozen")).reason
        site.restore()
    assert last >= 10

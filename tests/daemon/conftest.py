"""A reconciler beside BIRDs in memory."""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from rrwatch.daemon.reconciler import Reconciler
from rrwatch.daemon.retries import Retries
from rrwatch.datastore.port import Snapshot
from rrwatch.report.events import EventLog
from rrwatch.report.outcome import Outcome
from rrwatch.settings.model import settings_of
from tests.daemon.fake_bird import FakeBird
from tests.keys import PREFIX


class Passes:
    """A reconciler that a test feeds with lists of etcd, pass by pass."""

    def __init__(self, folder: Path, bird: FakeBird, **values: Any) -> None:
        paths = {
            "config": folder / "bird.cfg",
            "config6": folder / "bird6.cfg",
            "bird_socket": folder / "bird.ctl",
            "bird6_socket": folder / "bird6.ctl",
            "state_dir": folder / "state",
        }
        self.settings = settings_of({"ip": IPv4Address("172.17.42.40"), **paths, **values})
        self.bird = bird
        self.reconciler = Reconciler(self.settings, bird, EventLog(), Retries())
        self.index = 0
        self.items: dict[str, str] = {}

    def list(self, items: Mapping[str, str]) -> Outcome:
        """Lists etcd, which holds these items, and runs a pass."""
        self.index += 1
        changed = {key for key, _ in self.items.items() ^ items.items()}
        self.items = dict(items)
        self.reconciler.hear(Snapshot(PREFIX, items, self.index, "c", "http://e"), changed)
        return self.run()

    def run(self) -> Outcome:
        """Runs a pass."""
        outcome = self.reconciler.run_pass(self.reconciler.settle(self.items))
        assert outcome
        return outcome

    @property
    def text(self) -> str:
        """What the one BIRD runs."""
        (text,) = self.bird.runs.values()
        return text


@pytest.fixture
def passes(tmp_path: Path) -> Callable[..., Passes]:
    """Makes a reconciler beside a new BIRD in memory."""

    def make(bird: FakeBird | None = None, **values: Any) -> Passes:
        return Passes(tmp_path, bird or FakeBird(), **values)

    return make

"""Word to systemd."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.bird import Bird
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.notify import Notifier
from tests.keys import CLUSTER

Start = Callable[..., Rrwatch]


class Manager:
    """A service manager that only listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind(str(path))
        self._line.setblocking(False)
        self._heard: list[str] = []

    def heard(self) -> list[str]:
        while True:
            try:
                self._heard.append(self._line.recv(4096).decode())
            except BlockingIOError:
                return self._heard

    def close(self) -> None:
        self._line.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def test_ready_is_said_once_and_a_status_when_it_changes(manager: Manager) -> None:
    notifier = Notifier(str(manager.path))
    for _ in range(2):
        notifier.status("one\nline")
        notifier.ready()
    notifier.alive()
    notifier.stopping()
    assert manager.heard() == ["STATUS=one line", "READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_nobody_listens() -> None:
    Notifier(None).ready()
    Notifier("/no/such").ready()
    Notifier("@rrwatch-nobody").ready()


def test_ready_after_the_first_confirmed_apply(etcd: Etcd, bird: Bird, manager: Manager, start_rrwatch: Start) -> None:
    etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(etcd.url, bird, NOTIFY_SOCKET=str(manager.path))
    wait_until(lambda: "READY=1" in manager.heard(), "READY")
    assert bird.generation()
    wait_until(lambda: "STATUS=bird confirmed: 3 sessions" in manager.heard(), "the status line")
    assert "WATCHDOG=1" in manager.heard()
    rrwatch.stop()
    assert manager.heard()[-1] == "STOPPING=1"


def test_ready_when_it_must_wait_for_bird(etcd: Etcd, bird: Bird, manager: Manager, start_rrwatch: Start) -> None:
    etcd.put_all(CLUSTER)
    bird.stop()
    start_rrwatch(etcd.url, bird, NOTIFY_SOCKET=str(manager.path))
    wait_until(lambda: "READY=1" in manager.heard(), "READY")
    assert any(line.startswith("STATUS=bird waiting: BIRD does not listen") for line in manager.heard())


def test_not_ready_without_etcd(own_etcd: Etcd, bird: Bird, manager: Manager, start_rrwatch: Start) -> None:
    own_etcd.stop()
    rrwatch = start_rrwatch(own_etcd.url, bird, NOTIFY_SOCKET=str(manager.path))
    rrwatch.wait_for("etcd_lost")
    wait_until(lambda: any(line.startswith("STATUS=waiting for etcd: http") for line in manager.heard()), "the status")
    wait_until(lambda: manager.heard().count("WATCHDOG=1") > 2, "the watchdog is fed")
    assert "READY=1" not in manager.heard()

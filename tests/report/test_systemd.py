"""Notifications to systemd."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.bird import MINIMAL, Bird
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.report.systemd import Notifier
from tests.keys import CLUSTER, PREFIX, SESSIONS
from tests.waits import metric

Start = Callable[..., Rrwatch]


class Manager:
    """Receives notifications in place of a service manager."""

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

    def wait_for(self, start: str) -> None:
        """Waits for a message that begins with a text."""
        wait_until(lambda: any(line.startswith(start) for line in self.heard()), start)

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


def test_started_without_etcd(own_etcd: Etcd, bird: Bird, manager: Manager, start_rrwatch: Start) -> None:
    own_etcd.put_all(CLUSTER)
    own_etcd.stop()
    rrwatch = start_rrwatch(own_etcd.url, bird, NOTIFY_SOCKET=str(manager.path))
    rrwatch.wait_for("etcd_lost")
    manager.wait_for("STATUS=waiting for etcd: http")
    manager.wait_for("READY=1")
    assert bird.config.read_text() == MINIMAL
    wait_until(lambda: manager.heard().count("WATCHDOG=1") > 2, "the watchdog is fed")

    own_etcd.start()
    manager.wait_for("STATUS=bird confirmed: 3 sessions")
    own_etcd.stop()
    manager.wait_for("STATUS=bird confirmed: 3 sessions; etcd does not answer: http")
    assert manager.heard().count("READY=1") == 1


def test_started_with_an_etcd_that_hangs(own_etcd: Etcd, bird: Bird, manager: Manager, start_rrwatch: Start) -> None:
    with own_etcd.process.frozen():
        start_rrwatch(own_etcd.url, bird, NOTIFY_SOCKET=str(manager.path))
        manager.wait_for("READY=1")
        assert "STATUS=waiting for etcd: connecting" in manager.heard()


def test_started_with_an_etcd_without_the_v2_api(
    etcd_without_v2: Etcd, bird: Bird, manager: Manager, start_rrwatch: Start
) -> None:
    rrwatch = start_rrwatch(etcd_without_v2.url, bird, NOTIFY_SOCKET=str(manager.path))
    manager.wait_for(f"STATUS=waiting for etcd: {etcd_without_v2.url}: etcd 3.4.")
    manager.wait_for("READY=1")
    assert "start it with --enable-v2=true" in rrwatch.wait_for("etcd_lost")["reason"]


def test_started_while_bird_reads_another_file(
    etcd: Etcd, bird: Bird, manager: Manager, start_rrwatch: Start, tmp_path: Path
) -> None:
    etcd.put_all(CLUSTER)
    own = tmp_path / "bird" / "own.cfg"
    rrwatch = start_rrwatch(etcd.url, bird, NOTIFY_SOCKET=str(manager.path), RRWATCH_CONFIG=str(own))
    manager.wait_for("READY=1")
    manager.wait_for(f"STATUS=bird failed: BIRD reads {bird.config}, not {own}: `systemctl restart bird`")
    rrwatch.wait_for("apply_failed")
    attempts = metric(rrwatch, 'rrwatch_failures_total{daemon="bird"}')
    wait_until(lambda: metric(rrwatch, 'rrwatch_failures_total{daemon="bird"}') > attempts + 1, "two retries")
    assert len(rrwatch.all("installed")) == len(rrwatch.all("apply_failed")) == 1
    assert bird.reconfigurations() == 0

    bird.stop()
    bird.config = own
    bird.start()
    manager.wait_for("STATUS=bird confirmed: 3 sessions")
    assert bird.sessions() == SESSIONS


def test_started_while_a_record_is_missing(etcd: Etcd, bird: Bird, manager: Manager, start_rrwatch: Start) -> None:
    start_rrwatch(etcd.url, bird, NOTIFY_SOCKET=str(manager.path), RRWATCH_ROLE="node", NODENAME="kube-node1")
    manager.wait_for(f"STATUS=waiting for {PREFIX}/host/kube-node1/ip_addr_v4 in etcd")
    manager.wait_for("READY=1")


def test_started_with_a_broken_template(
    etcd: Etcd, bird: Bird, manager: Manager, start_rrwatch: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "session.cfg.j2").write_text("{% if %}")
    start_rrwatch(etcd.url, bird, NOTIFY_SOCKET=str(manager.path), RRWATCH_TEMPLATES=str(folder))
    manager.wait_for(f"STATUS=templates: {folder}/session.cfg.j2:1:")
    manager.wait_for("READY=1")

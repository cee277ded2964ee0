"""Faults of BIRD, and changes that others make to it."""

import subprocess
from collections.abc import Callable

import pytest

from lab.bird import MINIMAL, Bird
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.daemon.loop import VERIFY_INTERVAL
from tests.keys import CLUSTER, PREFIX, SESSIONS, host
from tests.waits import names, wait_for_sessions

Start = Callable[..., Rrwatch]


@pytest.fixture
def running(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> Rrwatch:
    """An rrwatch that has configured BIRD once."""
    etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(etcd.url, bird)
    rrwatch.wait_for("configured")
    wait_for_sessions(bird, SESSIONS)
    return rrwatch


def assert_it_runs_on(rrwatch: Rrwatch, seconds: float) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        rrwatch.process.wait(seconds)


def test_it_hangs_for_fifteen_seconds(etcd: Etcd, bird: Bird, running: Rrwatch) -> None:
    with bird.process.frozen():
        etcd.put_all(host("new", "172.17.42.50"))
        for _ in range(30):
            assert_it_runs_on(running, 0.5)
            assert not bird.release.refuses(bird.config)
    wait_for_sessions(bird, SESSIONS | names("172.17.42.50"), 30)
    assert not running.all("fault")


def test_its_socket_is_taken_away(etcd: Etcd, bird: Bird, running: Rrwatch) -> None:
    bird.socket.unlink()
    etcd.put_all(host("new", "172.17.42.50"))
    running.wait_for("waiting_for_bird")
    assert "Global_172_17_42_50" in bird.config.read_text()
    bird.stop()
    bird.start()
    running.wait_for("confirmed")
    assert bird.sessions() == SESSIONS | names("172.17.42.50")


def test_killed_without_a_change_and_with_one(etcd: Etcd, bird: Bird, running: Rrwatch) -> None:
    bird.kill()
    bird.start()
    assert bird.sessions() == SESSIONS
    bird.kill()
    etcd.put_all(host("new", "172.17.42.50"))
    running.wait_for("installed")
    bird.start()
    wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))


def test_somebody_makes_it_read_another_file(bird: Bird, running: Rrwatch) -> None:
    other = bird.folder.parent / "other.cfg"
    other.write_text(MINIMAL)
    bird.command(f'configure "{other}"')
    wait_for_sessions(bird, SESSIONS)
    assert running.wait_for("drift_found")["found"] == "BIRD ran something else"


def test_somebody_undoes_the_last_change(etcd: Etcd, bird: Bird, running: Rrwatch) -> None:
    etcd.put_all(host("new", "172.17.42.50"))
    running.wait_for("configured", after=1)
    bird.command("configure undo")
    running.wait_for("drift_found")
    wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))


def test_somebody_edits_the_file_and_makes_bird_read_it(etcd: Etcd, bird: Bird, running: Rrwatch) -> None:
    text = bird.config.read_text()
    bird.config.write_text(text.replace("172.17.42.31", "172.17.42.77").replace("17_42_31", "17_42_77"))
    bird.command("configure")
    wait_until(lambda: bird.config.read_text() == text, "the right file")
    wait_for_sessions(bird, SESSIONS)
    running.wait_for("drift_found")
    etcd.put_all(host("new", "172.17.42.50"))
    wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))


def test_a_session_that_somebody_disabled_stays_so(etcd: Etcd, bird: Bird, running: Rrwatch) -> None:
    bird.command("disable Global_172_17_42_31")
    done = bird.reconfigurations()
    for number in range(30):
        etcd.put(f"{PREFIX}/elsewhere", str(number))
        assert_it_runs_on(running, VERIFY_INTERVAL / 20)
    assert bird.protocols()["Global_172_17_42_31"].state == "down"
    assert bird.reconfigurations() == done
    assert not running.all("drift_found")

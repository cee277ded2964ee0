"""Faults of BIRD, and changes that others make to it."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bird import BIRD1, MINIMAL, Bird
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.daemon.loop import VERIFY_INTERVAL
from tests.keys import CLUSTER, PREFIX, SESSIONS, host
from tests.waits import names, wait_for_sessions

Start = Callable[..., Rrwatch]

SHIPPED = Path(__file__).parent.parent.parent / "templates"


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


def test_chmod_of_its_socket_is_no_restart(etcd: Etcd, bird: Bird, running: Rrwatch) -> None:
    bird.socket.chmod(0o666)
    etcd.put_all(host("new", "172.17.42.50"))
    running.wait_for("configured", after=1)
    assert not running.all("bird_restarted")
    bird.kill()
    bird.start()
    running.wait_for("bird_restarted")


class TestTemplates:
    """Templates of an operator that never end."""

    ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}\n"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "templates"
        folder.mkdir()
        return folder

    @pytest.fixture
    def running(self, etcd: Etcd, bird: Bird, start_rrwatch: Start, folder: Path) -> Rrwatch:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_TEMPLATES=str(folder))
        wait_for_sessions(bird, SESSIONS)
        return rrwatch

    @pytest.mark.parametrize("release", [BIRD1], ids=str, indirect=True)
    def test_an_endless_one_gives_way_to_the_last_good_ones(
        self, etcd: Etcd, bird: Bird, folder: Path, running: Rrwatch
    ) -> None:
        (folder / "session.cfg.j2").write_text(self.ENDLESS)
        reason = running.wait_for("template_error", 30)["reason"]
        assert reason == f"{folder}/session.cfg.j2:1: takes more than 5 s of CPU time"
        etcd.put_all(host("new", "172.17.42.50"))
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"), 30)

    @pytest.mark.parametrize("release", [BIRD1], ids=str, indirect=True)
    def test_it_stops_in_the_middle_of_an_endless_one(self, folder: Path, running: Rrwatch) -> None:
        at_rest = cpu_seconds(running)
        (folder / "session.cfg.j2").write_text(self.ENDLESS)
        wait_until(lambda: cpu_seconds(running) > at_rest + 1, "the rendering", 15)
        running.process.signal(signal.SIGTERM)
        assert running.process.wait(3) == 0

    @pytest.mark.parametrize("release", [BIRD1], ids=str, indirect=True)
    def test_a_fifo_and_a_dangling_link(self, bird: Bird, folder: Path, running: Rrwatch) -> None:
        os.mkfifo(folder / "x.cfg.j2")
        assert (
            running.wait_for("template_error", 20)["reason"] == f"{folder}/x.cfg.j2: cannot be read: not a regular file"
        )
        (folder / "x.cfg.j2").unlink()
        (folder / "y.cfg.j2").symlink_to("nowhere")
        running.wait_for("template_error", 20, reason=f"{folder}/y.cfg.j2: cannot be read: No such file or directory")
        (folder / "nowhere").touch()
        (folder / "reflector.cfg.j2").write_text((SHIPPED / "reflector.cfg.j2").read_text() + "# mine\n")
        wait_until(lambda: bird.config.read_text().endswith("# mine\n"), "the new template", 20)


def cpu_seconds(rrwatch: Rrwatch) -> float:
    """The CPU time that rrwatch has used (proc(5), stat)."""
    fields = Path(f"/proc/{rrwatch.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

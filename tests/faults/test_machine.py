"""What the machine itself can do to rrwatch: sudden death at every step, no room, no right, no clock."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, MINIMAL, Bird, Release
from lab.daemon import Rrwatch
from lab.environment import beside, reflector
from lab.etcd import Etcd
from lab.process import program, wait_until
from tests.keys import CLUSTER, REFLECTOR, SESSIONS, host, node_peer
from tests.waits import names, wait_for_sessions

Start = Callable[..., Rrwatch]

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=[BIRD1, BIRD2], ids=str)
def release(request: pytest.FixtureRequest) -> Release:
    """Nothing here depends on more."""
    chosen: Release = request.param
    return chosen


def litter(*folders: Path) -> list[str]:
    return [path.name for folder in folders for path in folder.iterdir() if path.name.startswith(".")]


def mount(*words: str) -> None:
    subprocess.run([program("mount"), *words], check=True, timeout=10)


@pytest.fixture
def small(bird: Bird) -> Iterator[Path]:
    """A file system of 64 KiB in the place of BIRD's folder."""
    bird.stop()
    mount("-t", "tmpfs", "-o", "size=64k", "rrwatch-test", str(bird.folder))
    bird.config.write_text(MINIMAL)
    bird.start()
    yield bird.folder
    bird.stop()
    subprocess.run([program("umount"), "--lazy", str(bird.folder)], check=False, timeout=10)


class TestKilled:
    def settings(self, bird: Bird, etcd: Etcd, folder: Path) -> dict[str, str]:
        return beside(bird, etcd.url, folder / "state", PYTHONPATH=str(ROOT), **reflector(REFLECTOR))

    def once(self, settings: dict[str, str], step: int) -> int:
        command = [sys.executable, "-m", "tests.faults.killpoint", str(step), "once"]
        return subprocess.run(command, env=settings, capture_output=True, timeout=60, check=False, cwd=ROOT).returncode

    @pytest.mark.parametrize(("release", "away"), [(BIRD1, False), (BIRD2, True)], ids=["BIRD 1.6, up", "BIRD 2, away"])
    def test_at_every_step_of_a_change(self, etcd: Etcd, bird: Bird, tmp_path: Path, away: bool) -> None:
        settings = self.settings(bird, etcd, tmp_path)
        etcd.put_all(CLUSTER)
        never = 100_000
        assert self.once(settings, never) == 0
        if away:
            bird.stop()
        texts = {bird.config.read_text()}
        steps = 0
        for step in range(1, 100):
            etcd.put_all(host("new", f"172.17.42.{100 + step}"))
            killed = self.once(settings, step)
            found = bird.config.read_text()
            if killed == 0:
                break
            steps += 1
            assert killed == -9
            # Whole, and one that was wanted: what was there before, or what was about to be.
            assert not bird.release.refuses(bird.config)
            assert found in texts or f"Global_172_17_42_{100 + step}" in found

            assert self.once(settings, never) == 0
            texts = {bird.config.read_text()}
            assert litter(bird.folder, tmp_path / "state") == []
            if not away:
                assert bird.sessions() == SESSIONS | names(f"172.17.42.{100 + step}")
                assert bird.generation() is not None
        assert steps >= (15 if not away else 8)
        if away:
            bird.start()
        assert bird.sessions() == SESSIONS | names(f"172.17.42.{101 + steps}")

    def test_after_a_refused_configuration(self, etcd: Etcd, bird: Bird, tmp_path: Path) -> None:
        settings = self.settings(bird, etcd, tmp_path)
        etcd.put_all(CLUSTER)
        assert self.once(settings, 100_000) == 0
        good = bird.config.read_text()
        (tmp_path / "templates").mkdir()
        (tmp_path / "templates" / "reflector.cfg.j2").write_text("nonsense;\n")
        bad = settings | {"RRWATCH_TEMPLATES": str(tmp_path / "templates")}
        for step in range(1, 40):
            killed = self.once(bad, step)
            assert bird.config.read_text() == good
            if killed == 3:
                break
        assert killed == 3
        assert self.once(settings, 100_000) == 0
        assert litter(bird.folder) == []
        assert bird.reconfigurations() == 1


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(1000):
            file.write(b"x" * 4096)


class TestNoRoom:
    def test_disk_full(self, etcd: Etcd, bird: Bird, small: Path, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird)
        rrwatch.wait_for("configured")
        good = bird.config.read_text()
        filler = small / "filler"
        fill(filler)

        etcd.put_all({key: value for n in range(40) for key, value in host(f"n{n}", f"172.17.60.{n + 1}").items()})
        failed = rrwatch.wait_for("apply_failed")
        assert "the disk is full" in failed["reason"]
        assert bird.config.read_text() == good
        assert bird.sessions() == SESSIONS
        assert litter(bird.folder) == []

        filler.unlink()
        wait_for_sessions(bird, SESSIONS | names(*(f"172.17.60.{n + 1}" for n in range(40))), 60)

    def test_read_only(self, etcd: Etcd, bird: Bird, small: Path, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird)
        rrwatch.wait_for("configured")
        mount("-o", "remount,ro", str(small))
        etcd.put_all(host("new", "172.17.42.50"))
        assert "read-only" in rrwatch.wait_for("apply_failed")["reason"]
        assert bird.sessions() == SESSIONS
        mount("-o", "remount,rw", str(small))
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"), 60)

    def test_mount_gone_and_back(self, etcd: Etcd, bird: Bird, tmp_path: Path, start_rrwatch: Start) -> None:
        bird.stop()
        shared = tmp_path / "shared"
        shared.mkdir()
        mount("--bind", str(shared), str(bird.folder))
        bird.config.write_text(MINIMAL)
        bird.start()
        try:
            etcd.put_all(CLUSTER)
            rrwatch = start_rrwatch(etcd.url, bird)
            rrwatch.wait_for("configured")
            good = bird.config.read_text()
            subprocess.run([program("umount"), "--lazy", str(bird.folder)], check=True, timeout=10)
            # What is below the mount is another folder: rrwatch makes do with what it finds, and tells.
            etcd.put_all(host("new", "172.17.42.50"))
            rrwatch.wait_for("waiting_for_bird")
            assert (shared / "bird.cfg").read_text() == good
            mount("--bind", str(shared), str(bird.folder))
            wait_for_sessions(bird, SESSIONS | names("172.17.42.50"), 30)
        finally:
            subprocess.run([program("umount"), "--lazy", str(bird.folder)], check=False, timeout=10)

    def test_no_permission(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        without = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search", "--"]
        rrwatch = start_rrwatch(etcd.url, bird, through=without)
        rrwatch.wait_for("configured")
        mode = bird.socket.stat().st_mode
        bird.socket.chmod(0)
        etcd.put_all(host("new", "172.17.42.50"))
        assert "no permission for" in rrwatch.wait_for("apply_failed")["reason"]
        bird.socket.chmod(mode)
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"), 60)

        bird.folder.chmod(0o500)
        etcd.put_all(host("new", "172.17.42.51"))
        wait_until(lambda: any("may not write" in e["reason"] for e in rrwatch.all("apply_failed")), "the failure")
        assert bird.sessions() == SESSIONS | names("172.17.42.50")
        bird.folder.chmod(0o700)
        wait_for_sessions(bird, SESSIONS | names("172.17.42.51"), 60)


class TestClock:
    @pytest.mark.parametrize("offset", ["-1h", "+1d"])
    def test_it_jumps(self, etcd: Etcd, bird: Bird, tmp_path: Path, start_rrwatch: Start, offset: str) -> None:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        clock = tmp_path / "clock"
        clock.write_text("+0")
        faked = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird, **faked)
        before = rrwatch.wait_for("configured")["timestamp"]
        clock.write_text(offset)
        etcd.put_all(host("new", "172.17.42.50"))
        after = rrwatch.wait_for("configured", after=1)["timestamp"]
        assert (after < before) is (offset == "-1h")
        assert after[:10] != before[:10] or offset == "-1h"
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))
        bird.stop()
        bird.start()
        etcd.put_all(host("new", "172.17.42.51"))
        wait_for_sessions(bird, SESSIONS | names("172.17.42.51"))


class TestDescriptors:
    def test_none_left_and_some_again(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird)
        rrwatch.wait_for("configured")
        limit(rrwatch, 3)
        etcd.put_all(host("new", "172.17.42.50"))
        rrwatch.wait_for("apply_failed")
        assert rrwatch.process.is_running()
        assert bird.sessions() == SESSIONS
        limit(rrwatch, 1024)
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"), 60)
        etcd.put_all(node_peer("kube-node1", REFLECTOR) | host("new", "172.17.42.51"))
        wait_for_sessions(bird, SESSIONS | names("172.17.42.51"), 60)


def limit(rrwatch: Rrwatch, descriptors: int) -> None:
    command = [program("prlimit"), "--pid", str(rrwatch.process.pid), f"--nofile={descriptors}:"]
    subprocess.run(command, check=True, timeout=10)


class TestTwoOfThem:
    def test_the_second_refuses_to_start(self, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        first = start_rrwatch(etcd.url, bird)
        first.wait_for("configured")
        second = start_rrwatch(etcd.url, bird)
        assert second.process.wait(10) == 1
        wait_until(lambda: "another rrwatch manages" in second.output(), "the reason")
        assert first.process.is_running()

        first.kill()
        start_rrwatch(etcd.url, bird).wait_for("confirmed")
        assert litter(bird.folder) == []

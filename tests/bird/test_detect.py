"""Detection of BIRD's version: running, stopped, hanging and upgraded BIRDs."""

import os
import threading
import time
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, MINIMAL, Bird, Release
from rrwatch.bgp.topology import Family
from rrwatch.bird import program
from rrwatch.bird.detect import BirdDetector, birth
from rrwatch.bird.target import BirdPaths
from rrwatch.bird.version import Grammar, first_line
from rrwatch.errors import BirdBroken
from tests.bird.conftest import Play

BOTH = (Family.IPV4, Family.IPV6)


def detector(folder: Path, families: tuple[Family, ...] = BOTH, pinned: Grammar | None = None) -> BirdDetector:
    config, control, config6, control6 = (folder / name for name in ("bird.cfg", "bird.ctl", "bird6.cfg", "bird6.ctl"))
    return BirdDetector(BirdPaths(families, config, control, config6, control6), pinned, threading.Event())


def grammar(release: Release) -> Grammar:
    return Grammar.BIRD1 if release is BIRD1 else Grammar.BIRD2


class Install:
    """Installs one BIRD as the program `bird`, instead of another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, release: Release) -> None:
        new = self.folder / "new"
        new.symlink_to(release.program("bird"))
        new.replace(self.folder / "bird")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs the only BIRD program that is found on this host; there is none at first."""
    folder = tmp_path / "sbin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(program, "_SBIN", str(folder))
    return Install(folder)


def other(release: Release) -> Release:
    return BIRD2 if release is BIRD1 else BIRD1


def test_a_running_bird_tells(bird: Bird, install: Install) -> None:
    install(other(bird.release))
    assert detector(bird.folder).grammar() is grammar(bird.release)


@pytest.mark.usefixtures("install")
def test_also_where_only_ipv6_is_on(bird: Bird, bird6: Bird) -> None:
    asking = detector(bird.folder, (Family.IPV6,))
    assert asking.grammar() is grammar(bird.release)
    if bird6 is not bird:
        bird.stop()
        assert detector(bird.folder, (Family.IPV6,)).grammar() is grammar(bird.release)


def test_a_setting_wins(bird: Bird) -> None:
    wrong = grammar(other(bird.release))
    assert detector(bird.folder, pinned=wrong).grammar() is wrong


@pytest.mark.usefixtures("install")
def test_nothing_tells(tmp_path: Path) -> None:
    asking = detector(tmp_path)
    assert asking.grammar() is None
    (tmp_path / "bird.cfg").write_text(MINIMAL)
    assert asking.grammar() is None


@pytest.mark.usefixtures("install")
@pytest.mark.parametrize("written", Grammar)
def test_the_file_tells_where_no_bird_does(tmp_path: Path, written: Grammar) -> None:
    (tmp_path / "bird.cfg").write_text(first_line(written))
    assert detector(tmp_path).grammar() is written


@pytest.mark.parametrize("release", [BIRD1, BIRD2], ids=str, indirect=True)
def test_what_is_installed_tells_before_the_file(tmp_path: Path, install: Install, release: Release) -> None:
    (tmp_path / "bird.cfg").write_text(first_line(grammar(other(release))))
    install(release)
    assert detector(tmp_path).grammar() is grammar(release)


def test_a_bird_that_hangs_is_what_it_was(bird: Bird, install: Install) -> None:
    asking = detector(bird.folder)
    asking.grammar()
    with bird.process.frozen():
        install(other(bird.release))
        assert asking.grammar() is grammar(bird.release)


def test_while_nobody_can_be_asked_it_is_what_it_was(
    bird: Bird, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_descriptors(_: Path) -> bool:
        raise BirdBroken("no socket")

    install(bird.release)
    asking = detector(bird.folder)
    asking.grammar()
    install(other(bird.release))
    monkeypatch.setattr("rrwatch.bird.detect.listens", without_descriptors)
    assert asking.grammar() is grammar(bird.release)


def test_one_that_was_killed_is_not_asked_any_more(bird: Bird, install: Install) -> None:
    install(bird.release)
    asking = detector(bird.folder)
    asking.grammar()
    bird.kill()
    assert bird.socket.exists()
    install(other(bird.release))
    assert asking.grammar() is grammar(other(bird.release))


def test_an_upgraded_host(bird: Bird, install: Install) -> None:
    before, after = bird.release, other(bird.release)
    install(before)
    asking = detector(bird.folder)
    assert asking.grammar() is grammar(before)
    install(after)
    assert asking.grammar() is grammar(before)
    bird.stop()
    assert asking.grammar() is grammar(after)
    bird.release = after
    bird.start()
    assert asking.grammar() is grammar(after)


def test_a_program_that_is_not_the_one_that_runs_does_not_count(bird: Bird, install: Install) -> None:
    install(other(bird.release))
    asking = detector(bird.folder)
    assert asking.grammar() is grammar(bird.release)
    bird.stop()
    assert asking.grammar() is grammar(bird.release)


@pytest.mark.usefixtures("install")
def test_what_is_no_bird_tells_nothing(play: Play) -> None:
    path = play(b"0001 Something else\n", greetings=9)
    asking = BirdDetector(BirdPaths(BOTH, path, path, path, path.with_name("none")), None, threading.Event())
    assert asking.grammar() is None


@pytest.mark.usefixtures("install")
def test_hanging_candidates_have_one_timeout(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrwatch.bird.detect._TIMEOUT", 0.5)
    path, config = play(b"", greetings=9), tmp_path / "bird.cfg"
    asking = BirdDetector(BirdPaths(BOTH, config, path, config, path), None, threading.Event())
    began = time.monotonic()
    assert asking.grammar() is None
    assert time.monotonic() - began < 1


def test_only_a_restart_changes_its_birth(bird: Bird) -> None:
    born = {birth(bird.socket)}
    bird.socket.chmod(0o666)
    os.chown(bird.socket, 1, 1)
    bird.command("configure")
    assert {birth(bird.socket)} == born
    for _ in range(10):
        bird.kill()
        bird.start()
        born.add(birth(bird.socket))
    assert len(born) == 11
    bird.stop()
    assert birth(bird.socket) == 0


def test_a_program_that_was_too_slow_is_asked_again(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, flag = install.folder / "bird", tmp_path / "fast"
    slow.write_text(f"#!/bin/sh\n[ -e {flag} ] || exec /bin/sleep 30\necho BIRD version 2.0.12 >&2\n")
    slow.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(program, "_TIMEOUT", 0.3)
        assert detector(tmp_path).grammar() is None
    flag.touch()
    assert detector(tmp_path).grammar() is Grammar.BIRD2


def test_a_program_that_cannot_be_run(tmp_path: Path, install: Install) -> None:
    broken = install.folder / "bird"
    broken.write_text("#!/nowhere\n")
    broken.chmod(0o755)
    assert detector(tmp_path).grammar() is None

"""A state folder that is full, read-only, missing or no folder: BIRD keeps running, and nothing is lost."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bird import BIRD2, Bird, Release
from lab.etcd import Etcd
from lab.process import wait_until
from tests.integration.site import Site, Start
from tests.keys import SESSIONS, host
from tests.waits import names, wait_for_sessions

MORE = SESSIONS | names("172.17.42.50")


@pytest.fixture(params=[BIRD2], ids=str)
def release(request: pytest.FixtureRequest) -> Release:
    """Which BIRD it is does not matter here."""
    chosen: Release = request.param
    return chosen


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The state folder, on a disk of 64 KiB."""
    folder = tmp_path / "state"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leaves no room, and returns the file that takes it."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            pass
    return file


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text


def test_a_full_disk(small_disk: Path, etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path) -> None:
    site = Site(etcd, bird, start_rrwatch, tmp_path)
    site.add(50)
    filler = fill(small_disk)
    before = {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file() and path != filler}

    for command in (
        ("freeze", "--reason", "full"),
        ("rollback", "1"),
        ("rollback", "1", "--confirm-within", "1m"),
    ):
        assert "No space left" in one_line(site.run(*command, status=1))
    assert site.bird.sessions() == MORE
    etcd.put_all(host("n51", "172.17.42.51"))
    wait_for_sessions(bird, MORE | names("172.17.42.51"))
    site.rrwatch.wait_for("state_lost")
    assert {path: path.read_bytes() for path in before} == before
    assert site.status()["ready"] is True
    assert len(site.history()) == 2

    filler.unlink()
    wait_until(lambda: site.rows()[-1].number == 3, "the row of what was changed meanwhile", 20)
    assert len(site.rrwatch.all("state_lost")) <= 3
    site.run("freeze", "--reason", "room")

    # A daemon that finds no room at its start, or for the end of a freeze, goes on all the same.
    site.rrwatch.kill()
    fill(small_disk)
    site.start().wait_for("frozen")
    etcd.put_all(host("n52", "172.17.42.52"))
    wait_until(lambda: site.waiting().get("added") == 1, "what waits")
    assert "No space left" in one_line(site.run("thaw", "--yes", status=1))
    assert site.bird.sessions() == MORE | names("172.17.42.51")
    (small_disk / "filler").unlink()
    assert "thawed" in site.run("thaw", "--yes")
    wait_for_sessions(bird, MORE | names("172.17.42.51", "172.17.42.52"))


def test_a_disk_that_is_full_when_the_daemon_answers(
    small_disk: Path, etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    site = Site(etcd, bird, start_rrwatch, tmp_path)
    site.rrwatch.stop()
    site.run("freeze", "--reason", "before it was full")
    fill(small_disk)
    site.start().wait_for("state_lost")
    assert site.rrwatch.process.is_running()
    etcd.put_all(host("n50", "172.17.42.50"))
    site.rrwatch.wait_for("confirmed")


@pytest.mark.parametrize("how", ["missing", "a file", "read-only"])
def test_a_folder_that_goes_away(how: str, etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path) -> None:
    site = Site(etcd, bird, start_rrwatch, tmp_path)
    state = site.state
    if how == "read-only":
        subprocess.run(["mount", "--bind", str(state), str(state)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(state)], check=True)
    else:
        state.rename(tmp_path / "gone")  # at once: the daemon may be writing in it
        if how == "a file":
            state.write_text("")
    try:
        if how != "missing":
            assert "state_dir is" in one_line(site.run("freeze", "--reason", "x", status=1))
        etcd.put_all(host("n50", "172.17.42.50"))
        wait_for_sessions(bird, MORE)
        if how != "missing":
            site.rrwatch.wait_for("state_lost")
        assert site.status()["ready"] is True
    finally:
        if how == "read-only":
            subprocess.run(["umount", "--lazy", str(state)], check=True)
        elif how == "a file":
            state.unlink()
    site.run("freeze", "--reason", "again")
    wait_until(lambda: len(site.rows()) >= 1, "the history", 20)

"""The configuration file and its replacement."""

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rrwatch.bird.config_file import ConfigFile
from rrwatch.errors import InstallError


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    (tmp_path / "bird.cfg").write_text("old")
    return ConfigFile(tmp_path / "bird.cfg")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def litter(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "bird.cfg")


def test_power_may_fail_at_any_moment(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def note(name: str) -> None:
        act = getattr(os, name)

        def noted(*arguments: object) -> object:
            done.append(name)
            return act(*arguments)

        monkeypatch.setattr(os, name, noted)

    note("fsync")
    note("replace")
    file.stage("new")
    file.commit()
    # The text before its name, then the directory before BIRD is told.
    assert done == ["fsync", "replace", "fsync"]


def test_a_change(file: ConfigFile, tmp_path: Path) -> None:
    before = file.stamp()
    file.stage("new")
    assert file.read() == "old"
    file.commit()
    assert file.read() == "new"
    assert file.stamp() != before
    file.settle()
    assert litter(tmp_path) == []


def test_a_change_rolled_back(file: ConfigFile, tmp_path: Path) -> None:
    file.stage("new")
    file.commit()
    assert file.roll_back()
    assert file.read() == "old"
    assert litter(tmp_path) == []
    assert not file.roll_back()


def test_the_previous_file_is_the_one_that_bird_ran_last(file: ConfigFile) -> None:
    file.stage("never confirmed")
    file.commit()
    file.stage("newer")
    file.commit()
    file.roll_back()
    assert file.read() == "old"


def test_the_first_file(tmp_path: Path) -> None:
    file = ConfigFile(tmp_path / "bird.cfg")
    assert file.read() is None
    assert file.stamp() is None
    file.stage("new")
    file.commit()
    assert (tmp_path / "bird.cfg").stat().st_mode & 0o7777 == 0o640
    assert not file.roll_back()
    assert file.read() == "new"


def test_mode_and_owner_are_kept(file: ConfigFile, tmp_path: Path) -> None:
    path = tmp_path / "bird.cfg"
    path.chmod(0o604)
    os.chown(path, 1234, 2345)
    file.stage("new")
    file.commit()
    stat = path.stat()
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == (1234, 2345, 0o604)


def test_a_staged_text_is_never_more_open_than_the_file(file: ConfigFile, tmp_path: Path) -> None:
    (tmp_path / "bird.cfg").chmod(0o600)
    assert file.stage("new").stat().st_mode & 0o7777 == 0o600


class TestPasswords:
    TEXT = 'protocol bgp a { password "x"; }\n'

    @pytest.mark.parametrize(("before", "after"), [(0o644, 0o640), (0o600, 0o600), (0o664, 0o640), (0o440, 0o440)])
    def test_others_cannot_read_them(self, file: ConfigFile, tmp_path: Path, before: int, after: int) -> None:
        os.chown(tmp_path / "bird.cfg", 12345, 54321)
        (tmp_path / "bird.cfg").chmod(before)
        assert file.stage(self.TEXT).stat().st_mode & 0o7777 == after
        with file.probe(self.TEXT) as probe:
            assert probe.stat().st_mode & 0o7777 == after
        file.commit()
        found = (tmp_path / "bird.cfg").stat()
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (after, 12345, 54321)

    def test_nor_in_the_first_file(self, tmp_path: Path) -> None:
        file = ConfigFile(tmp_path / "bird.cfg")
        file.stage(self.TEXT)
        file.commit()
        assert (tmp_path / "bird.cfg").stat().st_mode & 0o7777 == 0o640

    def test_nor_while_the_previous_file_is_copied(
        self, file: ConfigFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "bird.cfg").chmod(0o640)
        opened: list[int] = []
        act = os.open

        def noted(path: Path, flags: int, mode: int = 0o777) -> int:
            opened.append(mode if flags & os.O_CREAT else 0)
            return act(path, flags, mode)

        def unsupported(*_: object) -> None:
            raise OSError(errno.EPERM, "no hard links")

        monkeypatch.setattr(os, "link", unsupported)
        monkeypatch.setattr(os, "open", noted)
        umask = os.umask(0)
        try:
            file.stage(self.TEXT)
            file.commit()
        finally:
            os.umask(umask)
        assert set(opened) == {0, 0o600}
        assert (tmp_path / ".bird.cfg.rrwatch-old").read_text() == "old"
        assert (tmp_path / ".bird.cfg.rrwatch-old").stat().st_mode & 0o7777 == 0o640


def test_a_link_stays_a_link(file: ConfigFile, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    link = folder / "bird.cfg"
    link.symlink_to(tmp_path / "bird.cfg")
    through = ConfigFile(link)
    through.stage("new")
    through.commit()
    through.settle()
    assert link.is_symlink()
    assert file.read() == "new"
    assert litter(folder) == []


def test_a_file_that_cannot_be_linked_is_copied(
    file: ConfigFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(1, "fs.protected_hardlinks")

    monkeypatch.setattr(os, "link", forbidden)
    file.stage("never confirmed")
    file.commit()
    file.stage("newer")
    file.commit()
    assert file.read() == "newer"
    file.roll_back()
    assert file.read() == "old"
    file.settle()
    assert litter(tmp_path) == []


def test_leftovers_of_a_killed_process_are_no_obstacle(file: ConfigFile, tmp_path: Path) -> None:
    file.stage("half")
    file.stage("whole")
    file.commit()
    file.settle()
    assert file.read() == "whole"
    assert litter(tmp_path) == []


def test_a_mount_point_is_recognized(file: ConfigFile, tmp_path: Path) -> None:
    other = tmp_path / "other file"
    other.write_text("mounted")
    subprocess.run(["mount", "--bind", str(other), str(file.path)], check=True)
    try:
        with pytest.raises(InstallError, match=f"is itself a mount point.*mount its directory {tmp_path}"):
            file.stage("new")
    finally:
        subprocess.run(["umount", str(file.path)], check=True)
    assert litter(tmp_path) == ["other file"]


def test_a_full_disk(small_disk: Path) -> None:
    file = ConfigFile(small_disk / "bird.cfg")
    file.stage("old")
    file.commit()
    file.settle()
    with pytest.raises(InstallError, match="the disk is full"):
        file.stage("x" * 100_000)
    assert file.read() == "old"
    assert litter(small_disk) == []


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=f"there is no directory {tmp_path}/no"):
        ConfigFile(tmp_path / "no" / "bird.cfg").stage("new")


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "bird.cfg").mkdir()
    with pytest.raises(InstallError, match="cannot be read"):
        ConfigFile(tmp_path / "bird.cfg").read()


def test_a_word_in_it(file: ConfigFile, tmp_path: Path) -> None:
    assert file.mentions("old")
    assert not file.mentions("new")
    assert not ConfigFile(tmp_path / "none").mentions("old")
    assert not ConfigFile(tmp_path).mentions("old")


def test_other_line_ends_are_another_text(file: ConfigFile) -> None:
    # BIRD rejects a carriage return: such a file must not pass for the wanted one.
    file.path.write_bytes(b"a\r\nb\r")
    assert file.read() == "a\r\nb\r"


def test_a_fifo_in_its_place_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bird.cfg")
    errors: list[InstallError] = []

    def read() -> None:
        try:
            ConfigFile(tmp_path / "bird.cfg").read()
        except InstallError as error:
            errors.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(5)
    assert [str(error) for error in errors] == [f"{tmp_path}/bird.cfg cannot be read: not a regular file"]


def test_text_that_is_no_utf8_can_be_read(file: ConfigFile) -> None:
    file.path.write_bytes(b"\xff")
    assert file.read() == "\udcff"

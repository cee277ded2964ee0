"""Word of changes in folders, also where the kernel has none to give."""

import errno
from pathlib import Path

import pytest

from lab.process import wait_until
from rrwatch.daemon import folder_watcher
from rrwatch.daemon.folder_watcher import FileChanged, FolderWatcher


def test_without_watches_it_goes_on_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[FileChanged] = []
    watcher = FolderWatcher([tmp_path / "bird.cfg"], [], heard.append)

    def none_left() -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    with monkeypatch.context() as patch:
        patch.setattr(folder_watcher, "Observer", none_left)
        watcher.start()
        watcher.refresh()
        watcher.stop()
    assert "inotify instance limit reached" in caplog.text
    assert len(caplog.records) == 1

    watcher.refresh()
    (tmp_path / "bird.cfg").write_text("x")
    wait_until(lambda: heard, "word of the file")
    watcher.stop()

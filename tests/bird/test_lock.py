"""The lock on the directories of BIRD's configuration."""

import threading
from pathlib import Path

import pytest

from rrwatch.bird.lock import FolderLock
from rrwatch.errors import OwnedElsewhere


def test_only_one_has_it(tmp_path: Path) -> None:
    first, second = FolderLock(), FolderLock()
    first.claim([tmp_path / "bird.cfg"])
    first.claim([tmp_path / "bird6.cfg"])
    with pytest.raises(OwnedElsewhere, match="another rrwatch manages"):
        second.claim([tmp_path / "bird.cfg"], patience=0.1)
    first.release()
    second.claim([tmp_path / "bird.cfg"])
    second.release()


def test_a_command_that_only_looks_stops_no_daemon(tmp_path: Path) -> None:
    command, daemon = FolderLock(), FolderLock()
    command.claim([tmp_path / "bird.cfg"])
    timer = threading.Timer(0.1, command.release)
    timer.start()
    daemon.claim([tmp_path / "bird.cfg"], patience=30)
    timer.join()
    with pytest.raises(OwnedElsewhere):
        command.claim([tmp_path / "bird.cfg"])
    daemon.release()

"""A lock on the directories of BIRD's configuration: two rrwatch processes there would undo each other's changes."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path

from rrwatch.errors import OwnedElsewhere

_PAUSE = 0.02  # seconds between two attempts


class FolderLock:
    """A lock on directories themselves (flock): it leaves no file, and the kernel releases it when the process ends."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def claim(self, files: Iterable[Path], patience: float = 0.0) -> None:
        """Locks the directories of these files, if they exist and are not locked by this process yet.

        Args:
            patience: seconds to wait for a lock. A command that looks whether a daemon runs has it for a moment.

        Raises:
            OwnedElsewhere: another rrwatch has locked one of them.
        """
        end = time.monotonic() + patience
        for folder in {Path(os.path.realpath(file)).parent for file in files} - self._descriptors.keys():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                self._claim(folder, end)

    def release(self) -> None:
        """Releases all directories."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _claim(self, folder: Path, end: float) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        while not _is_locked(descriptor):
            if time.monotonic() >= end:
                os.close(descriptor)
                raise OwnedElsewhere(f"another rrwatch manages {folder}: run one rrwatch for each directory")
            time.sleep(_PAUSE)
        self._descriptors[folder] = descriptor


def _is_locked(descriptor: int) -> bool:
    """Locks a directory, unless somebody else has locked it; returns whether it is this process's now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

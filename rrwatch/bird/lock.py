"""A lock on the directories of BIRD's configuration: two rrwatch processes there would undo each other's changes."""

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from rrwatch.errors import OwnedElsewhere


class FolderLock:
    """A lock on directories themselves (flock): it leaves no file, and the kernel releases it when the process ends."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def claim(self, files: Iterable[Path]) -> None:
        """Locks the directories of these files, if they exist and are not locked by this process yet.

        Raises:
            OwnedElsewhere: another rrwatch has locked one of them.
        """
        for folder in {Path(os.path.realpath(file)).parent for file in files} - self._descriptors.keys():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                self._claim(folder)

    def release(self) -> None:
        """Releases all directories."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _claim(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise OwnedElsewhere(f"another rrwatch manages {folder}: run one rrwatch for each directory") from error
        self._descriptors[folder] = descriptor

"""One rrwatch for each folder of configurations: two would undo each other's work for ever."""

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from rrwatch.errors import OwnedElsewhere


class FolderLock:
    """A lock on folders themselves: it leaves no file behind, and ends with the process, whatever ends that."""

    def __init__(self) -> None:
        self._claimed: dict[Path, int] = {}

    def claim(self, files: Iterable[Path]) -> None:
        """Claims the folders of those files, as far as they are there, and not claimed yet.

        Raises:
            OwnedElsewhere: another rrwatch has one of them.
        """
        for folder in {Path(os.path.realpath(file)).parent for file in files} - self._claimed.keys():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                self._claim(folder)

    def release(self) -> None:
        """Lets go of all of them."""
        while self._claimed:
            os.close(self._claimed.popitem()[1])

    def _claim(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise OwnedElsewhere(f"another rrwatch looks after {folder}: want one for each folder") from error
        self._claimed[folder] = descriptor

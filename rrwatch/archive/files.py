"""Files in `state_dir`, each replaced as a whole, so that a crash leaves the old one or the new one."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from rrwatch.errors import StateError

SHARED = 0o640
"""The mode of files without passwords."""

SECRET = 0o600
"""The mode of files that may have passwords."""


class StateFiles:
    """Reads, replaces and locks files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def replace(self, path: Path, content: bytes, mode: int = SHARED) -> None:
        """Replaces a file, which belongs to the owner of its folder whoever writes it.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        new = path.with_name(f".{path.name}.new")
        try:
            with os.fdopen(self._new(new, mode), "wb") as file:
                self._share_with_owner(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Keeps other processes from what a lock file stands for, and creates the folder where it is missing.

        Raises:
            OSError: another process has the lock, or the file cannot be opened.
        """
        self.folder.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, SHARED)
        try:
            # Another process has it for milliseconds. One that hangs must not stop the loop: the write is repeated.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._share_with_owner(descriptor, SHARED)
            yield
        finally:
            os.close(descriptor)

    def make(self, folder: Path) -> None:
        """Creates a folder in this one, if it is missing, for the same owner.

        Raises:
            OSError: it cannot be created.
        """
        self.folder.mkdir(exist_ok=True)
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            owner = self.folder.stat()
            with contextlib.suppress(PermissionError):
                os.chown(folder, owner.st_uid, owner.st_gid)
            folder.chmod(0o700)

    @contextlib.contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turns errors of the operating system into a StateError that says what is wanted."""
        try:
            yield
        except OSError as error:
            wanted = "want a folder that rrwatch may write in"
            raise StateError(f"state_dir is {self.folder}: {error.strerror}: {wanted}") from error

    @staticmethod
    def _new(path: Path, mode: int) -> int:
        """Creates a file, in place of one that a killed process has left: that one may have another mode."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(path, flags, mode)
        except FileExistsError:
            path.unlink()
            return os.open(path, flags, mode)

    def _share_with_owner(self, descriptor: int, mode: int) -> None:
        """Gives a file that root writes to the owner of the folder: the service must be able to read it."""
        owner, file = self.folder.stat(), os.fstat(descriptor)
        if (file.st_uid, file.st_gid) != (owner.st_uid, owner.st_gid):
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        if file.st_mode & 0o777 != mode:
            os.fchmod(descriptor, mode)

"""One configuration file, replaced so that it is whole and trusted at every moment."""

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from rrwatch.errors import InstallError

_MODE = 0o640  # of a file that was not there before: BIRD reads it through its group


class Stamp(NamedTuple):
    """What tells one state of a file from another without reading it."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class ConfigFile:
    """The configuration file of one BIRD.

    A change is staged under a name of its own in the same folder, for BIRD to judge; then it is synced, and renamed
    over the file. Meanwhile the file that it replaced is kept under a second name, until BIRD runs the new one. All
    names are fixed, so that whatever a sudden death leaves is used or cleared away by the next change.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A link stays a link: what it points to is replaced.
        self._real = Path(os.path.realpath(path))
        self.staged = self._real.with_name(f".{self._real.name}.rrwatch-new")
        self._copy = self._real.with_name(f".{self._real.name}.rrwatch-copy")
        self._previous = self._real.with_name(f".{self._real.name}.rrwatch-old")

    def stamp(self) -> Stamp | None:
        """The file's present state, None where there is no such file."""
        try:
            stat = self._real.stat()
        except OSError:
            return None
        return Stamp(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def read(self) -> str | None:
        """The text that is installed, None where there is none.

        Raises:
            InstallError: it is there and cannot be read.
        """
        try:
            return self._real.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("cannot be read", error) from error

    def mentions(self, word: str) -> bool:
        """Does the installed text hold that word? Not where there is none that can be read."""
        try:
            return word in (self.read() or "")
        except InstallError:
            return False

    def require_replaceable(self) -> None:
        """Makes sure that another file can take this one's place.

        Raises:
            InstallError: it is a mount point, which stays what it is.
        """
        if self._is_mount_point():
            folder = self.path.parent
            raise InstallError(
                f"{self.path} is itself a mount point, so it cannot be replaced: mount the folder {folder}"
            )

    def stage(self, text: str) -> Path:
        """Writes a text beside the file, with the file's mode and owner; -> the path where it lies.

        Raises:
            InstallError: no room, no permission, no such folder, or the file is a mount point.
        """
        self.require_replaceable()
        try:
            self.staged.unlink(missing_ok=True)
            descriptor = os.open(self.staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                self._adopt_mode_and_owner(descriptor)
                file.write(text)
        except OSError as error:
            self.discard()
            raise self._error("cannot be written", error) from error
        return self.staged

    def commit(self) -> None:
        """Puts the staged text in place, and keeps what it replaces.

        Raises:
            InstallError: the folder does not allow it.
        """
        try:
            _sync(self.staged)
            self._keep_previous()
            self.staged.replace(self._real)
            _sync(self._real.parent)
        except OSError as error:
            self.discard()
            raise self._error("cannot be replaced", error) from error

    def roll_back(self) -> bool:
        """Puts the kept file back; -> False where none was kept.

        Raises:
            InstallError: the folder does not allow it.
        """
        try:
            if not self._previous.exists():
                return False
            self._previous.replace(self._real)
            _sync(self._real.parent)
        except OSError as error:
            raise self._error("cannot be put back", error) from error
        return True

    def discard(self) -> None:
        """Takes away what is half done."""
        for path in (self.staged, self._copy):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def settle(self) -> None:
        """Lets go of everything but the file itself: BIRD runs what it says."""
        self.discard()
        with contextlib.suppress(OSError):
            self._previous.unlink(missing_ok=True)

    def _adopt_mode_and_owner(self, descriptor: int) -> None:
        try:
            old = self._real.stat()
        except FileNotFoundError:
            os.fchmod(descriptor, _MODE)
            return
        for owner in (old.st_uid, old.st_gid), (-1, old.st_gid):
            # Only root gives files away; the group is what lets BIRD read it.
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, *owner)
                break
        os.fchmod(descriptor, old.st_mode & 0o7777)

    def _keep_previous(self) -> None:
        # What is kept already was there before a change that never ended: that one BIRD has run, the present one not.
        try:
            os.link(self._real, self._previous)
        except FileNotFoundError:
            return
        except OSError:
            # It is kept already; or the file system has no links, or the kernel allows none to others' files
            # (fs.protected_hardlinks).
            if not self._previous.exists():
                shutil.copy2(self._real, self._copy)
                _sync(self._copy)
                self._copy.replace(self._previous)

    def _is_mount_point(self) -> bool:
        # A bind mount of a file lies on the same device as its folder may: only the kernel's table tells (proc(5)).
        try:
            mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
        except OSError:
            return False
        place = os.fsencode(self._real)
        for escaped, plain in (b"\\", b"\\134"), (b" ", b"\\040"), (b"\t", b"\\011"), (b"\n", b"\\012"):
            place = place.replace(escaped, plain)
        return any(mount.split(b" ", 5)[4] == place for mount in mounts)

    def _error(self, what: str, error: OSError) -> InstallError:
        hint = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.ENOENT: f"there is no folder {self._real.parent}",
            errno.EACCES: f"rrwatch may not write in {self._real.parent}",
            errno.EPERM: f"rrwatch may not write in {self._real.parent}",
            errno.EBUSY: f"it is in use as a mount point: mount the folder {self._real.parent} instead",
        }.get(error.errno or 0, str(error))
        return InstallError(f"{self.path} {what}: {hint}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

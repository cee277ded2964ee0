"""One configuration file, replaced so that it is complete at every moment, and one that BIRD accepted."""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rrwatch.bird import regular
from rrwatch.bird.syntax import has_passwords
from rrwatch.errors import InstallError

_MAX_SIZE = 1 << 26  # bytes; 20,000 sessions take 4 million
_MODE = 0o640  # of a file that was not there before, and at most of one with passwords: BIRD reads it by its group


class Stamp(NamedTuple):
    """The identity of a file's content, without reading it: the content has not changed if the stamp has not."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class ConfigFile:
    """The configuration file of one BIRD.

    A new text is staged in the same directory under another name, for BIRD to check; then it is synced, and renamed to
    the file. The previous file is kept under a third name until BIRD runs the new one. All these names are fixed, so
    that the next change uses or removes whatever a killed process leaves. Texts that BIRD only has to check have a name
    for each process, because `rrwatch check` asks too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A symbolic link stays one: its target is replaced.
        self._real = Path(os.path.realpath(path))
        self.staged = self._real.with_name(f".{self._real.name}.rrwatch-new")
        self._copy = self._real.with_name(f".{self._real.name}.rrwatch-copy")
        self._previous = self._real.with_name(f".{self._real.name}.rrwatch-old")
        self._probes = f".{self._real.name}.rrwatch-probe-"
        self._rejected = self._real.with_name(f"{self._real.name}.rejected")

    def stamp(self) -> Stamp | None:
        """Returns the stamp of the file as it is now; None if there is no file."""
        try:
            stat = self._real.stat()
        except OSError:
            return None
        return Stamp(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def read(self) -> str | None:
        """Returns the installed text; None if there is no file.

        Raises:
            InstallError: the file exists and cannot be read.
        """
        try:
            return regular.read(self._real, _MAX_SIZE).decode(errors="surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("cannot be read", error) from error

    def mentions(self, word: str) -> bool:
        """Returns whether the installed text contains that word; False if it cannot be read."""
        try:
            return word in (self.read() or "")
        except InstallError:
            return False

    def require_replaceable(self) -> None:
        """Checks that the file can be replaced by a rename.

        Raises:
            InstallError: it is a mount point, which a rename cannot replace.
        """
        if self._is_mount_point():
            folder = self.path.parent
            raise InstallError(
                f"{self.path} is itself a mount point, so it cannot be replaced: mount its directory {folder}"
            )

    def stage(self, text: str) -> Path:
        """Writes a text beside the file, with the file's mode and owner, and returns its path.

        Raises:
            InstallError: disk full, permission denied, no such directory, or the file is a mount point.
        """
        self.require_replaceable()
        self._write(self.staged, text)
        return self.staged

    @contextmanager
    def probe(self, text: str) -> Iterator[Path]:
        """Writes a text that BIRD shall check beside the file, yields its path, and removes it.

        Raises:
            InstallError: as for `stage`.
        """
        path = self._real.with_name(f"{self._probes}{os.getpid()}")
        try:
            self._write(path, text)
            yield path
        finally:
            _remove(path)

    def remove_probes(self) -> None:
        """Removes the probes that killed processes have left."""
        with contextlib.suppress(OSError):
            for path in self._real.parent.iterdir():
                if path.name.startswith(self._probes):
                    _remove(path)

    def commit(self) -> None:
        """Replaces the file with the staged text, and keeps the previous file.

        Raises:
            InstallError: the file cannot be replaced; it is as it was.
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
        """Restores the previous file; returns False if there is none.

        Raises:
            InstallError: it cannot be restored.
        """
        try:
            if not self._previous.exists():
                return False
            self._previous.replace(self._real)
            _sync(self._real.parent)
        except OSError as error:
            raise self._error("cannot be put back", error) from error
        return True

    def keep_rejected(self, text: str) -> Path | None:
        """Keeps a text that was refused beside the file, for people to look at.

        Returns:
            The path of the copy, which stays until another text is refused; None if it cannot be written.
        """
        try:
            # The same text is tried again and again: the copy then keeps the time of the first refusal.
            if regular.read(self._rejected, _MAX_SIZE) == text.encode(errors="surrogateescape"):
                return self._rejected
        except (OSError, UnicodeEncodeError):
            pass
        try:
            self._write(self._rejected, text)
        except InstallError:
            return None
        return self._rejected

    def discard(self) -> None:
        """Removes what an unfinished change has left."""
        _remove(self.staged)
        _remove(self._copy)

    def settle(self) -> None:
        """Removes all but the file itself, once BIRD runs it."""
        self.discard()
        _remove(self._previous)

    def _write(self, path: Path, text: str) -> None:
        try:
            content = text.encode(errors="surrogateescape")
            self._write_bytes(path, content, 0o7777 if not has_passwords(text) else _MODE)
        except UnicodeEncodeError as error:
            raise InstallError(f"{self.path} cannot be written: {error}") from error
        except OSError as error:
            _remove(path)
            raise self._error("cannot be written", error) from error

    def _write_bytes(self, path: Path, content: bytes, mode: int = 0o7777) -> None:
        """Writes a file with the mode and owner of the configuration file, without the bits that are not in `mode`."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            self._adopt_mode_and_owner(descriptor, mode)
            file.write(content)

    def _adopt_mode_and_owner(self, descriptor: int, mode: int) -> None:
        try:
            old = self._real.stat()
        except FileNotFoundError:
            os.fchmod(descriptor, _MODE)
            return
        for owner in (old.st_uid, old.st_gid), (-1, old.st_gid):
            # Only root can change the owner. BIRD can read the file through its group.
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, *owner)
                break
        os.fchmod(descriptor, old.st_mode & mode)

    def _keep_previous(self) -> None:
        # A previous file that exists already is from before an interrupted change: BIRD ran that one, not this one.
        try:
            os.link(self._real, self._previous)
        except FileNotFoundError:
            return
        except OSError:
            # It exists already; or the file system has no hard links, or the kernel forbids them to others' files
            # (fs.protected_hardlinks).
            if not self._previous.exists():
                self._write_bytes(self._copy, regular.read(self._real, _MAX_SIZE))
                _sync(self._copy)
                self._copy.replace(self._previous)

    def _is_mount_point(self) -> bool:
        # A bind-mounted file can be on the same device as its directory: only the kernel's table shows it (proc(5)).
        try:
            mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
        except OSError:
            return False
        path = os.fsencode(self._real)
        for escaped, plain in (b"\\", b"\\134"), (b" ", b"\\040"), (b"\t", b"\\011"), (b"\n", b"\\012"):
            path = path.replace(escaped, plain)
        return any(mount.split(b" ", 5)[4] == path for mount in mounts)

    def _error(self, what: str, error: OSError) -> InstallError:
        hint = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.ENOENT: f"there is no directory {self._real.parent}",
            errno.EACCES: f"rrwatch may not write in {self._real.parent}",
            errno.EPERM: f"rrwatch may not write in {self._real.parent}",
            errno.EBUSY: f"it is in use as a mount point: mount the directory {self._real.parent} instead",
        }.get(error.errno or 0, error.strerror or str(error))
        return InstallError(f"{self.path} {what}: {hint}")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

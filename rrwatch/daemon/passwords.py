"""The passwords of sessions: from a directory with a file SECRET/KEY for each, as Kubernetes mounts Secrets.

A session whose password is not known is withheld: without it, the session would not come up, or come up with anybody. A
password that was known stays in force while its file is away or cannot be used, so that an unmounted directory ends no
session. Passwords are never written anywhere but into BIRD's configuration, and no message has one.
"""

import errno
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from rrwatch.bgp.sessions import Derived, Kind, Session
from rrwatch.bgp.topology import Password, Rejected, Remark, Topology
from rrwatch.bird import regular
from rrwatch.bird.messages import quoted
from rrwatch.calico.values import shown

MAX_LENGTH = 80
"""Bytes of a password: the limit of TCP MD5 in Linux (TCP_MD5SIG_MAXKEYLEN), and of BIRD."""

# What Kubernetes takes as the name of a Secret and as a key (apimachinery, IsConfigMapKey), without a way out of the
# directory.
_NAME = re.compile(r"(?!\.\.|\.\Z)[-._a-zA-Z0-9]{1,253}")

_LINE_END = re.compile(rb"\r?\n\Z")

_R = TypeVar("_R", bound=Remark)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one password.

    Attributes:
        text: the last one that could be used; empty if there was none.
        fault: why there is none now, and what to do; empty if there is one.
        stamp: identifies the state of the file; it changes if the file does.
    """

    text: str = field(repr=False)
    fault: str
    stamp: object


class Passwords:
    """The passwords that sessions ask for, and the sessions that have them."""

    def __init__(self, folder: Path | None, installed: Callable[[], Mapping[str, str]]) -> None:
        """Reads nothing yet.

        Args:
            folder: the directory, None if there is none.
            installed: returns the passwords in the installed configuration by the names of their sessions; called once,
                for what cannot be read after a restart.
        """
        self._folder, self._read_installed = folder, installed
        self._known: dict[Password, _Known] = {}
        self._installed: dict[tuple[str, Password], str] | None = None
        self._resolved: dict[str, tuple[Session, str, Session]] = {}
        self.revision = 0
        """A number that changes with what `resolve` returns for the same sessions."""

    @property
    def files(self) -> dict[Path, str]:
        """The files of the passwords that were asked for, and why each of them cannot be used; empty if it can."""
        paths = ((self._path(password), known.fault) for password, known in self._known.items())
        return {path: fault for path, fault in paths if path}

    @property
    def folders(self) -> frozenset[Path]:
        """The directories in which a password can change."""
        paths = filter(None, map(self._path, self._known))
        return frozenset(folder for path in paths for folder in path.parents[:2])

    def has_changed(self) -> bool:
        """Whether a file differs from what was read last."""
        return any(known.stamp != _stamp(self._path(password)) for password, known in self._known.items())

    def refresh(self) -> Collection[str]:
        """Reads the files again that have changed, or that could not be used; returns the paths of what differs now."""
        changed = []
        for password, known in self._known.items():
            path = self._path(password)
            if known.fault or known.stamp != _stamp(path):
                now = self._read(password, known.text)
                self._known[password] = now
                if (now.text, now.fault) != (known.text, known.fault):
                    changed.append(str(path))
        self.revision += bool(changed)
        return changed

    def resolve(self, derived: Derived, topology: Topology) -> Derived:
        """Puts the passwords into the sessions that ask for one, and withholds those whose password is not known.

        A session that is the same as before, with the same password, is the same object.

        Args:
            derived: the sessions, whose passwords have no text.
            topology: what they follow from.
        """
        asked = {session.password for session in derived.sessions if session.password}
        self._known = {password: self._known.get(password) or self._read(password) for password in asked}
        if not asked:
            return derived
        if self._installed is None:
            self._installed = dict(self._from_installed(derived.sessions))
        sessions, resolved = [], {}
        withheld: dict[str, Rejected] = {}
        kept: dict[str, Remark] = {}
        for session in derived.sessions:
            if not session.password:
                sessions.append(session)
                continue
            known = self._known[session.password]
            text = known.text or self._installed.get((session.name, session.password), "")
            key = _key(session, topology)
            if not text:
                reason = f"its password {_name(session.password)} is not known, so its sessions are left out"
                withheld[key] = Rejected(key, f"{reason}: {known.fault}")
                continue
            if known.fault:
                reason = f"its password {_name(session.password)} stays in force as it was known last"
                kept[key] = Remark(key, f"{reason}: {known.fault}")
            before = self._resolved.get(session.name)
            if before and before[:2] == (session, text):
                resolved[session.name] = before
            else:
                with_text = replace(session, password=replace(session.password, text=text))
                resolved[session.name] = session, text, with_text
            sessions.append(resolved[session.name][2])
        self._resolved = resolved
        return replace(
            derived,
            sessions=tuple(sessions),
            rejected=_merged(derived.rejected, withheld),
            warnings=_merged(derived.warnings, kept),
        )

    def _from_installed(self, sessions: Collection[Session]) -> Iterator[tuple[tuple[str, Password], str]]:
        unknown = [(one.name, one.password) for one in sessions if one.password and not self._known[one.password].text]
        installed = self._read_installed() if unknown else {}
        for name, password in unknown:
            text = installed.get(name, "")
            if text and not _unusable(text.encode(errors="surrogateescape")):
                yield (name, password), text

    def _path(self, password: Password) -> Path | None:
        """Returns the path of a password's file; None if it can have none."""
        names = password.secret, password.key
        return self._folder.joinpath(*names) if self._folder and all(map(_NAME.fullmatch, names)) else None

    def _read(self, password: Password, before: str = "") -> _Known:
        path = self._path(password)
        stamp = _stamp(path)
        if path:
            text, fault = _read(path)
        elif self._folder:
            text, fault = "", "these are not the names of a Secret and of a key in it"
        else:
            text, fault = "", "set bgp_passwords to a directory that has a file SECRET/KEY for each password"
        return _Known(text or before, fault, stamp)


def _read(path: Path) -> tuple[str, str]:
    """Returns the password in a file, or else why there is none, and what to do."""
    file = quoted(str(path))
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a device can have an effect
            return "", f"{file} is not a file"
        content = regular.read(path, MAX_LENGTH + len(b"\r\n"))
    except FileNotFoundError:
        return "", f"{file} does not exist; write the password into it"
    except OSError as error:
        if error.errno == errno.EFBIG:
            return "", f"{file} has more than {MAX_LENGTH} bytes, the limit of TCP MD5"
        return "", f"{file} cannot be read: {error.strerror}"
    # Editors and `echo` add a line end.
    content = _LINE_END.sub(b"", content)
    if reason := _unusable(content):
        return "", f"{file} {reason}"
    return content.decode("ascii"), ""


def _unusable(content: bytes) -> str:
    """Returns why this cannot be a password; empty if it can."""
    if not content:
        return "is empty"
    if len(content) > MAX_LENGTH:
        return f"has more than {MAX_LENGTH} bytes, the limit of TCP MD5"
    if not re.fullmatch(rb"[ !#-~]+", content):
        return 'has a character that BIRD cannot take in a password; it takes printable ASCII, except "'
    return ""


def _stamp(path: Path | None) -> object:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError as error:
        # A directory that is new is not watched yet, so that a file in it would not be noticed.
        try:
            return error.errno, path.parent.stat().st_ino
        except OSError:
            return error.errno, 0
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _key(session: Session, topology: Topology) -> str:
    """Returns the key of the record that asks for a session's password."""
    options = topology.mesh_options
    return options.key if session.kind is Kind.MESH and options else session.key


def _name(password: Password) -> str:
    return shown(str(password))


def _merged(remarks: tuple[_R, ...], more: Mapping[str, _R]) -> tuple[_R, ...]:
    by_key = {remark.key: remark for remark in remarks}
    for key, remark in more.items():
        before = by_key.get(key)
        by_key[key] = replace(remark, reason=f"{before.reason}; {remark.reason}") if before else remark
    return tuple(by_key[key] for key in sorted(by_key))

"""What survives a restart: the records in force, what is held, and the latest changes; all in one folder."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwatch.calico.v1 import V1
from rrwatch.errors import BaselineUnreadable, StateError
from rrwatch.guard.rule import Loss

_FORMAT = 2
_HISTORY_MAX = 1 << 20  # bytes, after which the older half of the history is dropped
_MODE = 0o640
_SINCE_MAX = 253402300800.0  # 10000-01-01; later times have no ISO form

_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a document of another shape raises."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A loss that is held until the records are back or an operator releases it.

    Attributes:
        loss: what would end, and why it is held.
        id: names this hold, so that a release applies to no other one.
        since: Unix time.
        frozen: why nothing that the datastore says now takes effect, new records included: it may be another datastore,
            or an older backup of it. Empty where new records do take effect.
        stated: whether `frozen` is what the records themselves state about the cluster, and ends when they no longer
            do.
    """

    loss: Loss
    id: str
    since: float
    frozen: str = ""
    stated: bool = False


@dataclass(frozen=True, slots=True)
class Baseline:
    """What BIRD was told last, and what that was based on.

    Attributes:
        items: key -> value of the records in force; None where those are not known.
        cluster_id: of the datastore, empty where none has answered yet.
        index: the newest one that is known of the datastore.
        root: the folder that the data model of the records has its keys in.
        identity: what the records say about which cluster it is, see `ClusterState`; empty where they say nothing.
        hold: what is held, None where nothing is.
    """

    items: Mapping[str, str] | None = None
    cluster_id: str = ""
    index: int = 0
    root: str = V1.root
    identity: str = ""
    hold: Hold | None = None


class StateFolder:
    """The files in `state_dir`, each replaced as a whole.

    Several rrwatch processes with roles of their own may share a folder: each has its own entry in `baseline.json`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._baseline, self._history = folder / "baseline.json", folder / "history.jsonl"
        self._lock = folder / "baseline.lock"
        self.release_file = folder / "release"
        self._others: dict[str, Any] = {}
        self._known_state: object = None
        self._is_unreadable = False

    def require_writable(self) -> None:
        """Makes sure that files can be written here, and creates the folder where its parent allows it.

        Raises:
            StateError: they cannot.
        """
        trial = self._folder / ".trial"
        with self._errors_named():
            self._folder.mkdir(exist_ok=True)
            trial.write_text("", encoding="utf-8")
            trial.unlink()

    def load(self, role: str) -> Baseline | None:
        """Reads a role's baseline.

        Returns:
            None where none was ever written for this role.

        Raises:
            BaselineUnreadable: there is one, or there may be, and it cannot be read.
        """
        try:
            roles = self._read()
            return _baseline_of(roles[role]) if role in roles else None
        except OSError as error:
            self._is_unreadable = True
            raise BaselineUnreadable(f"{self._baseline} cannot be read: {error.strerror}") from error
        except _DAMAGE as error:
            self._is_unreadable = True
            raise BaselineUnreadable(
                f"{self._baseline} is damaged, or was written by another version of rrwatch"
            ) from error

    def save(self, role: str, baseline: Baseline) -> None:
        """Writes a role's baseline; those of other roles stay as they are.

        Raises:
            StateError: it cannot be written.
        """
        with self._errors_named(), self._locked():
            if self._known_state != self._stamp():
                with contextlib.suppress(*_DAMAGE, OSError):
                    self._others = dict(self._read())
            if self._is_unreadable:
                # Somebody may be able to make something of it, or has removed it already.
                with contextlib.suppress(FileNotFoundError):
                    self._baseline.replace(self._baseline.with_suffix(".json.unreadable"))
                self._is_unreadable = False
            roles = {**self._others, role: _document_of(baseline)}
            self._replace(self._baseline, json.dumps({"format": _FORMAT, "roles": roles}))
            self._known_state = self._stamp()

    def ask_release(self, hold: Hold) -> None:
        """Leaves the request to release a hold, for the rrwatch that holds it.

        Raises:
            StateError: it cannot be written.
        """
        with self._errors_named():
            self._replace(self.release_file, hold.id)

    def is_released(self, hold: Hold) -> bool:
        """Whether an operator released this hold; a request is for one hold."""
        with contextlib.suppress(OSError, ValueError):
            return self.release_file.read_text(encoding="utf-8").strip() == hold.id
        return False

    def forget_release(self) -> None:
        """Removes the request, after what it released has taken effect."""
        with contextlib.suppress(OSError):
            self.release_file.unlink()

    def remember(self, entry: Mapping[str, Any]) -> None:
        """Adds one change to the history.

        Raises:
            StateError: it cannot be written.
        """
        with self._errors_named():
            self._folder.mkdir(exist_ok=True)
            if self._history.exists() and self._history.stat().st_size > _HISTORY_MAX:
                lines = self._history.read_bytes().splitlines(keepends=True)
                self._replace(self._history, b"".join(lines[len(lines) // 2 :]))
            with self._history.open("ab") as file:
                if not file.tell():
                    self._share_with_owner(file.fileno())
                file.write(json.dumps(entry).encode() + b"\n")

    def history(self, most: int) -> list[dict[str, Any]]:
        """Reads the latest changes, the oldest of them first; lines that cannot be read are left out."""
        found = []
        with contextlib.suppress(OSError):
            for line in self._history.read_bytes().splitlines()[-most:]:
                with contextlib.suppress(ValueError, RecursionError):  # a crash may leave half a line
                    found.append(json.loads(line))
        return [entry for entry in found if isinstance(entry, dict)]

    def read(self, name: str) -> str | None:
        """Reads another file of the folder; None if there is none.

        Raises:
            StateError: it cannot be read.
        """
        with self._errors_named():
            try:
                return (self._folder / name).read_text(encoding="utf-8", errors="replace")
            except (FileNotFoundError, NotADirectoryError):
                return None

    def replace(self, name: str, text: str) -> None:
        """Writes another file of the folder; any thread may do so, for a file of its own.

        Raises:
            StateError: it cannot be written.
        """
        with self._errors_named():
            self._folder.mkdir(exist_ok=True)
            self._replace(self._folder / name, text)

    def _read(self) -> Mapping[str, Any]:
        """The entries of all roles, as JSON has them."""
        try:
            text = self._baseline.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return {}
        document = json.loads(text)
        if document["format"] != _FORMAT:
            raise ValueError(document["format"])
        roles: Mapping[str, Any] = document["roles"]
        return roles

    def _stamp(self) -> object:
        try:
            stat = self._baseline.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # A file of its own: the folder may also be that of BIRD's configuration, which is locked all the time.
        self._folder.mkdir(exist_ok=True)
        descriptor = os.open(self._lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            # Another process has it for milliseconds. One that hangs must not stop the loop: the write is repeated.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._share_with_owner(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _replace(self, path: Path, text: str | bytes) -> None:
        new = path.with_name(f".{path.name}.new")
        try:
            with new.open("wb") as file:
                self._share_with_owner(file.fileno())
                file.write(text if isinstance(text, bytes) else text.encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise

    def _share_with_owner(self, descriptor: int) -> None:
        """Gives a file that root writes to the owner of the folder: the service must be able to read it."""
        owner = self._folder.stat()
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.fchmod(descriptor, _MODE)

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            wanted = "want a folder that rrwatch may write in"
            raise StateError(f"state_dir is {self._folder}: {error.strerror}: {wanted}") from error


def _document_of(baseline: Baseline) -> dict[str, Any]:
    hold = baseline.hold
    return {
        "cluster_id": baseline.cluster_id,
        "index": baseline.index,
        "root": baseline.root,
        "identity": baseline.identity,
        "items": baseline.items,
        "hold": {
            "id": hold.id,
            "since": hold.since,
            "frozen": hold.frozen,
            "stated": hold.stated,
            "reason": hold.loss.reason,
            "nodes": hold.loss.nodes,
            "sessions": hold.loss.sessions,
        }
        if hold
        else None,
    }


def _baseline_of(document: Mapping[str, Any]) -> Baseline:
    items = document["items"]
    return Baseline(
        items=None if items is None else {_text(key): _text(value) for key, value in items.items()},
        cluster_id=_text(document["cluster_id"]),
        index=_integer(document["index"]),
        root=_text(document.get("root", V1.root)),
        identity=_text(document.get("identity", "")),
        hold=None if document["hold"] is None else _hold_of(document["hold"]),
    )


def _hold_of(document: Mapping[str, Any]) -> Hold:
    nodes, sessions = (tuple(map(_text, document[name])) for name in ("nodes", "sessions"))
    loss = Loss(_text(document["reason"]), nodes, sessions)
    since = float(document["since"])
    if not 0 <= since < _SINCE_MAX:
        raise ValueError(since)
    return Hold(loss, _text(document["id"]), since, _text(document["frozen"]), document.get("stated") is True)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value

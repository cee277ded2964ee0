"""What outlives a restart: the nodes that were accepted last, what is held, and the last changes; one folder."""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from rrwatch.bgp.topology import Family, Host, HostAddress
from rrwatch.errors import StateError
from rrwatch.guard.rule import Held, Nodes

_FORMAT = 1
_HISTORY_MAX = 1 << 20  # bytes, after which the older half of the history is let go


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was accepted last.

    Attributes:
        viewer: the summary of the role that it was kept for; the baseline of another role does not count.
        cluster_id, index: of etcd, as it was then.
        held: what is held against it since, and the name by which a release speaks of that.
    """

    viewer: str
    nodes: Nodes = field(default_factory=dict)
    cluster_id: str = ""
    index: int = 0
    held: Held | None = None
    held_id: str = ""
    held_since: float = 0.0


class StateFolder:
    """The files in `state_dir`, each replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._baseline, self._history = folder / "baseline.json", folder / "history.jsonl"
        self.release_file = folder / "release"

    def require_writable(self) -> None:
        """Makes sure that something can be kept here, and makes the folder where its parent allows it.

        Raises:
            StateError: it cannot.
        """
        trial = self._folder / ".trial"
        try:
            self._folder.mkdir(exist_ok=True)
            trial.write_text("", encoding="utf-8")
            trial.unlink()
        except OSError as error:
            raise self._error(error) from error

    def load(self) -> Baseline | None:
        """The baseline, None where there is none that can be read."""
        try:
            document = json.loads(self._baseline.read_text(encoding="utf-8"))
            return _baseline_of(document) if document["format"] == _FORMAT else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, baseline: Baseline) -> None:
        """Keeps the baseline.

        Raises:
            StateError: it cannot be written.
        """
        self._replace(self._baseline, json.dumps(_document_of(baseline)))

    def ask_release(self, held_id: str) -> None:
        """Leaves word that what is held under that name may go ahead.

        Raises:
            StateError: it cannot be written.
        """
        self._replace(self.release_file, held_id)

    def take_release(self, held_id: str) -> bool:
        """Was that let go? Word of anything else is out of date, and is taken away too."""
        try:
            said = self.release_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return False
        with contextlib.suppress(OSError):
            self.release_file.unlink()
        return bool(held_id) and said == held_id

    def remember(self, entry: Mapping[str, Any]) -> None:
        """Adds one change to the history.

        Raises:
            StateError: it cannot be written.
        """
        try:
            self._folder.mkdir(exist_ok=True)
            if self._history.exists() and self._history.stat().st_size > _HISTORY_MAX:
                lines = self._history.read_text(encoding="utf-8").splitlines(keepends=True)
                self._replace(self._history, "".join(lines[len(lines) // 2 :]))
            with self._history.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise self._error(error) from error

    def history(self, most: int) -> list[dict[str, Any]]:
        """The last changes, the oldest of them first."""
        found = []
        with contextlib.suppress(OSError):
            for line in self._history.read_text(encoding="utf-8", errors="replace").splitlines()[-most:]:
                with contextlib.suppress(ValueError):  # a line half written by a sudden death
                    found.append(json.loads(line))
        return [entry for entry in found if isinstance(entry, dict)]

    def _replace(self, path: Path, text: str) -> None:
        new = path.with_name(f".{path.name}.new")
        try:
            self._folder.mkdir(exist_ok=True)
            with new.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise self._error(error) from error

    def _error(self, error: OSError) -> StateError:
        return StateError(f"state_dir is {self._folder}: {error.strerror}: want a folder that rrwatch may write in")


def _document_of(baseline: Baseline) -> dict[str, Any]:
    held = baseline.held
    return {
        "format": _FORMAT,
        "viewer": baseline.viewer,
        "nodes": {name: sorted(map(str, host.known)) for name, host in baseline.nodes.items()},
        "cluster_id": baseline.cluster_id,
        "index": baseline.index,
        "held": {
            "id": baseline.held_id,
            "since": baseline.held_since,
            "reason": held.reason,
            "nodes": held.nodes,
            "sessions": held.sessions,
        }
        if held
        else None,
    }


def _baseline_of(document: dict[str, Any]) -> Baseline:
    held = document["held"]
    return Baseline(
        viewer=str(document["viewer"]),
        nodes={name: _host(name, addresses) for name, addresses in document["nodes"].items()},
        cluster_id=str(document["cluster_id"]),
        index=int(document["index"]),
        held=held and Held(str(held["reason"]), tuple(held["nodes"]), tuple(held["sessions"])),
        held_id=str(held["id"]) if held else "",
        held_since=float(held["since"]) if held else 0.0,
    )


def _host(name: str, addresses: list[str]) -> Host:
    """A host of which nothing but its addresses is known any more."""
    known = map(ip_address, addresses)
    return Host(name, {Family(one.version): HostAddress("", name, Family(one.version), one) for one in known})


def new_id() -> str:
    """A name for what is held from now on."""
    return f"{time.time_ns():x}-{os.getpid():x}"

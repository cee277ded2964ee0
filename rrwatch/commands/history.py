"""The commands `history` and `diff`: what changed, and how two configurations differ."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rrwatch.archive.archive import Archive
from rrwatch.archive.freeze import FreezeFiles
from rrwatch.archive.rows import Row
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.diff import Difference
from rrwatch.bird.render import MARKER
from rrwatch.bird.version import Grammar, written_for
from rrwatch.commands import keys, render
from rrwatch.errors import RrwatchError, StateError, UsageError
from rrwatch.settings.model import Settings

Texts = Mapping[str, str]
"""Configurations by the names of daemons."""

_TROUBLES = ("refused", "failed", "waiting")  # of several BIRDs, the state that matters most comes first


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the history, with all BIRDs that it was about.

    Attributes:
        rows: one for each BIRD.
    """

    rows: tuple[Row, ...]

    @property
    def state(self) -> str:
        """The state of the BIRD that is worst off."""
        states = [row.state for row in self.rows]
        return next((state for state in _TROUBLES if state in states), states[0])

    def document(self) -> dict[str, Any]:
        """Returns the change as a JSON object; counts are those of all BIRDs together."""
        first = self.rows[0]
        return {
            "number": first.number,
            "time": first.time,
            "cause": list(first.cause),
            "causes": first.causes,
            "state": self.state,
            "added": sum(row.added for row in self.rows),
            "removed": sum(row.removed for row in self.rows),
            "changed": sum(row.changed for row in self.rows),
            "took_ms": first.took_ms,
            "configuration": first.configuration,
            "daemons": {
                row.daemon: {
                    "state": row.state,
                    "message": row.message or None,
                    "added": row.added,
                    "removed": row.removed,
                    "changed": row.changed,
                    "generation": (row.generations or {}).get(row.daemon),
                }
                for row in self.rows
            },
        }


def changes(settings: Settings, most: int) -> list[dict[str, Any]]:
    """Returns the newest changes, the oldest of them first."""
    rows = archive(settings).rows()
    grouped = [Change(tuple(group)) for _, group in groupby(rows, lambda row: row.number)]
    return [change.document() for change in grouped[-most:]]


def differences(settings: Settings, old: int | None, new: int | None, timeout: float) -> list[Difference]:
    """Compares two configurations of each BIRD.

    Args:
        old: the number of a change; None for what BIRD runs.
        new: the number of another one; None for what BIRD runs, or, without the first one, for what etcd asks for.
        timeout: seconds to try to reach etcd.

    Raises:
        UsageError: there is no such number, or its configuration is not kept.
        RrwatchError: something cannot be read, or etcd does not answer.
    """
    if old is None:
        sides, before, after = ("running", "wanted"), running(settings), wanted(settings, timeout)
    elif new is None:
        sides, before, after = (f"configuration {old}", "running"), configuration(settings, old), running(settings)
    else:
        sides = f"configuration {old}", f"configuration {new}"
        before, after = configuration(settings, old), configuration(settings, new)
    names = dict.fromkeys((*before, *after))
    return [Difference(name, sides, before.get(name, ""), after.get(name, "")) for name in names]


def configuration(settings: Settings, number: int) -> Texts:
    """Returns the configurations that ran after a change.

    Raises:
        UsageError: there is no such change, or its configuration is not kept.
        StateError: it cannot be read.
    """
    history = archive(settings)
    if (texts := history.texts(number)) is not None:
        return texts
    numbers = {row.number: row for row in history.rows()}
    if number not in numbers:
        raise UsageError(f"there is no change {number} in the history; `rrwatch history` lists them")
    if numbers[number].configuration is None:
        raise UsageError(f"change {number} installed no configuration; `rrwatch history` lists them")
    raise UsageError(f"the configuration of change {number} is not kept any more; `rrwatch history` lists the newest")


def running(settings: Settings) -> Texts:
    """Returns what BIRD runs: the installed files, unless a rollback waits for its confirmation.

    Raises:
        InstallError: a file cannot be read.
    """
    with contextlib.suppress(StateError):
        if pending := FreezeFiles(settings.state_dir, settings.role.baseline()).load().pending:
            return pending.trial.texts
    paths = settings.bird_paths
    texts = {target.config: ConfigFile(target.config).read() for target in paths.candidates()}
    ours = {path: text for path, text in texts.items() if text is not None and MARKER in text}
    grammar = next((found for found in map(written_for, ours.values()) if found), Grammar.BIRD2)
    return {target.name: ours[target.config] for target in paths.targets(grammar) if target.config in ours}


def wanted(settings: Settings, timeout: float) -> Texts:
    """Returns what etcd asks for.

    Raises:
        RrwatchError: etcd does not answer, or there is no configuration.
    """
    settings.require_datastore()
    settings.require_configuration()
    found = render.configurations(settings, keys.from_etcd(settings.etcd, settings.role.all_prefixes, timeout))
    names = {target.config: target.name for target in settings.bird_paths.candidates()}
    return {names[path]: text for path, text in found.items()}


def archive(settings: Settings) -> Archive:
    """Returns the history of this host.

    Raises:
        RrwatchError: it is there, and may not be read.
    """
    history = settings.state_dir / "history.jsonl"
    try:
        with history.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise RrwatchError(f"{history} cannot be read: {error.strerror}") from error
    return Archive(settings.state_dir, settings.role.baseline())

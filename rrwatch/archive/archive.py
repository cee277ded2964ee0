"""The history in `state_dir`: what changed, and the configurations that BIRD ran."""

import contextlib
import gzip
import io
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rrwatch.archive.files import SECRET, StateFiles
from rrwatch.archive.rows import Line, Row, line_of, lines_of, number_after, number_in, row_of, rows_of
from rrwatch.bird import regular
from rrwatch.bird.render import generation_in
from rrwatch.errors import StateError

CONFIGURATIONS = 50
"""How many configurations are kept."""

_ROWS_MAX = 1000  # after which the older half of the history is dropped
_SIZE_MAX = 1 << 20  # bytes, for the same
_WAITING_MAX = 20  # changes that are kept in memory while they cannot be written
_LEVEL = 1  # of gzip: a configuration of 20,000 sessions takes 30 ms
_PACKED_MAX = 1 << 26  # bytes of one file with configurations
_TEXTS_MAX = 1 << 27  # bytes of the texts in it
_HEAD_MAX = 4096  # bytes of the line above them
_SHOWN = (  # of an entry, as the schema of the status has it
    "number", "time", "daemon", "state", "message", "cause", "causes", "added", "removed", "changed", "generation",
    "took_ms", "configuration",
)  # fmt: skip
_LOCK_TRIES, _LOCK_PAUSE = 20, 0.005  # seconds


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest configuration.

    Attributes:
        number: of the change that brought it.
        texts: by the names of daemons.
    """

    number: int
    texts: Mapping[str, str]


class Archive:
    """`history.jsonl`, and `configs/N.cfg.gz` with the texts of all BIRDs after change N.

    Several roles may share a folder: the numbers count the changes of all of them, and each sees its own rows.
    """

    def __init__(self, folder: Path, role: str, on_damage: Callable[[str], None] = lambda _: None) -> None:
        """Reads nothing yet.

        Args:
            role: whose history it is.
            on_damage: called once, with one line for people, when lines cannot be read.
        """
        self._role, self._on_damage = role, on_damage
        self._files = StateFiles(folder)
        self._history, self._lock = folder / "history.jsonl", folder / "history.lock"
        self._configs = folder / "configs"
        self._lines: list[Line] = []
        self._stamp: object = None
        self._told = False
        self._newest: Newest | None = None
        self._knows_newest = False
        self._waiting: list[tuple[Sequence[Mapping[str, Any]], Mapping[str, str]]] = []
        self._last = 0

    def rows(self) -> list[Row]:
        """Returns the changes, the oldest first; what cannot be read is left out."""
        with contextlib.suppress(OSError):
            self._refresh()
        return rows_of(self._lines, self._role)

    def entries(self, most: int) -> list[dict[str, Any]]:
        """Returns the newest of the same changes as JSON objects for the status, the oldest of them first."""
        with contextlib.suppress(OSError):
            self._refresh()
        own = (line.entry for line in reversed(self._lines) if rows_of([line], self._role))
        newest = (entry for entry in own if entry is not None)
        return [{name: entry.get(name) for name in _SHOWN} for entry in islice(newest, most)][::-1]

    def texts(self, number: int) -> Mapping[str, str] | None:
        """Returns the configurations that ran after a change, by the names of daemons.

        Returns:
            None where there is no such change, none was installed by it, or it is not kept any more.

        Raises:
            StateError: it is kept, and cannot be read.
        """
        rows = [row for row in self.rows() if row.number == number]
        configuration = rows[-1].configuration if rows else None
        if configuration is None:
            return None
        path = self._path(configuration)
        try:
            return _texts_in(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, LookupError, TypeError, AttributeError, EOFError, RecursionError, zlib.error) as error:
            raise StateError(f"{path} is damaged") from error

    def newest(self) -> Newest | None:
        """Returns the newest configuration, None where there is none that can be read."""
        if not self._knows_newest:
            self._knows_newest = True
            installed = [row for row in self.rows() if row.configuration is not None]
            with contextlib.suppress(StateError):
                if installed and (texts := self.texts(installed[-1].number)):
                    self._newest = Newest(installed[-1].configuration or 0, texts)
        return self._newest

    def is_newest(self, texts: Mapping[str, str]) -> bool:
        """Whether these are the texts of the newest change, written or not."""
        if self._waiting:
            return self._waiting[-1][1] == texts
        newest = self.newest()
        return newest is not None and newest.texts == texts

    def record(self, entries: Sequence[Mapping[str, Any]], texts: Mapping[str, str]) -> None:
        """Adds a change, which is kept in memory until `keep` has written it.

        Args:
            entries: what it did to each BIRD, see `rrwatch.report.history`.
            texts: what runs now, by the names of daemons; empty where nothing was installed.

        """
        self._waiting.append((tuple(entries), dict(texts)))
        del self._waiting[:-_WAITING_MAX]

    def keep(self) -> bool:
        """Writes what was recorded; returns whether there was anything to write.

        Raises:
            StateError: it cannot be written.
        """
        if not self._waiting:
            return False
        with self._files.errors_named(), self._locked():
            self._refresh()
            while self._waiting:
                self._add(*self._waiting[0])
                self._waiting.pop(0)
        return True

    def _add(self, entries: Sequence[Mapping[str, Any]], texts: Mapping[str, str]) -> None:
        newest, kept = self.newest(), self._kept()
        number = number_after([self._last, *kept, *(number_in(line.entry) or 0 for line in self._lines if line.entry)])
        is_new = bool(texts) and (newest is None or newest.texts != texts or newest.number not in kept)
        if is_new:
            self._files.make(self._configs)
            self._files.replace(self._path(number), _packed(texts), SECRET)
            newest = Newest(number, texts)
        of_text = {
            "role": self._role,
            "configuration": newest.number if newest and texts else None,
            "generations": {name: generation_in(text) for name, text in texts.items()} if texts else None,
        }
        new = [line_of({"number": number, **entry, **of_text}) for entry in entries]
        lines = _shortened([*self._lines, *new])
        try:
            self._files.replace(self._history, b"".join(line.raw + b"\n" for line in lines))
        except OSError:
            if is_new:
                # The next attempt would leave another one, and at last none of those that the history knows.
                with contextlib.suppress(OSError):
                    self._path(number).unlink()
            raise
        self._lines, self._stamp, self._newest, self._last = lines, self._stamped(), newest, number
        for old in sorted(kept)[: -(CONFIGURATIONS - is_new)]:
            with contextlib.suppress(OSError):
                self._path(old).unlink()

    def _refresh(self) -> None:
        """Reads the history, if another process has written it.

        Raises:
            OSError: it cannot be read.
        """
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        try:
            content = self._history.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            content = b""
        self._lines, self._stamp = lines_of(content), stamp
        unreadable = sum(line.entry is None or row_of(line.entry) is None for line in self._lines)
        if unreadable and not self._told:
            self._told = True
            self._on_damage(f"{unreadable} lines of {self._history} cannot be read, and are left out")

    def _stamped(self) -> object:
        try:
            stat = self._history.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _kept(self) -> set[int]:
        """The numbers of the configurations that are kept."""
        try:
            names = [path.name.partition(".") for path in self._configs.iterdir()]
        except OSError:
            return set()
        return {int(number) for number, _, rest in names if rest == "cfg.gz" and number.isascii() and number.isdigit()}

    def _path(self, number: int) -> Path:
        return self._configs / f"{number}.cfg.gz"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for left in reversed(range(_LOCK_TRIES)):
                try:
                    stack.enter_context(self._files.locked(self._lock))
                    break
                except BlockingIOError:
                    if not left:
                        raise
                    time.sleep(_LOCK_PAUSE)
            yield


def _packed(texts: Mapping[str, str]) -> bytes:
    """The texts one after the other, below a line that says how many bytes each of them has."""
    contents = {name: text.encode(errors="surrogateescape") for name, text in texts.items()}
    head = "# " + json.dumps({name: len(content) for name, content in contents.items()}) + "\n"
    # Without a time: the same texts give the same bytes.
    return gzip.compress(head.encode() + b"".join(contents.values()), _LEVEL, mtime=0)


def _texts_in(path: Path) -> dict[str, str]:
    with gzip.open(io.BytesIO(regular.read(path, _PACKED_MAX))) as file:
        sizes = json.loads(file.readline(_HEAD_MAX).removeprefix(b"# "))
        size = sum(sizes.values())
        if not 0 <= size <= _TEXTS_MAX:
            raise ValueError(size)
        rest = file.read(size + 1)
    texts, start = {}, 0
    for name, size in sizes.items():
        texts[name] = rest[start : start + size].decode(errors="surrogateescape")
        start += size
    if start != len(rest) or not texts:
        raise ValueError(start)
    return texts


def _shortened(lines: list[Line]) -> list[Line]:
    """Drops what cannot be read, and then the older half, where the file would become too long."""
    if _is_too_long(lines):
        lines = [line for line in lines if line.entry is not None]
    return lines[len(lines) // 2 :] if _is_too_long(lines) else lines


def _is_too_long(lines: list[Line]) -> bool:
    return len(lines) > _ROWS_MAX or sum(len(line.raw) + 1 for line in lines) > _SIZE_MAX

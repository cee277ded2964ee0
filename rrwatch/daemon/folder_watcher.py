"""Notices file changes, with inotify through watchdog."""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

_log = logging.getLogger(__name__)

_KINDS: list[type[FileSystemEvent]] = [
    FileCreatedEvent, FileModifiedEvent, FileClosedEvent, FileMovedEvent, FileDeletedEvent,
    DirCreatedEvent, DirMovedEvent, DirDeletedEvent,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileChanged:
    """A file in a watched directory may have changed."""

    path: Path


class FolderWatcher(FileSystemEventHandler):
    """Watches the directories of some paths. It only speeds things up: the next pass finds what it misses."""

    def __init__(self, paths: Iterable[Path], folders: Iterable[Path], publish: Callable[[FileChanged], None]) -> None:
        """Watches nothing before `start()`.

        Args:
            paths: single files or sockets, there or not.
            folders: directories in which every file matters.
            publish: called with each change, from a thread of the watcher's.
        """
        self._paths, self._whole = set(paths), set(folders)
        self._publish = publish
        self._observer: BaseObserver | None = None
        self._watches: dict[Path, tuple[tuple[int, int], ObservedWatch]] = {}

    def start(self) -> None:
        """Watches the directories that exist. If the kernel has no watch left, `refresh` tries again."""
        try:
            self._observer = self._started()
        except OSError as error:
            _log.warning("folders are looked at every few seconds only: %s", error.strerror)
        self.refresh()

    def refresh(self, folders: Collection[Path] = ()) -> None:
        """Watches directories that were created or replaced since the last call.

        Args:
            folders: more directories in which every file matters.
        """
        if not self._whole.issuperset(folders):
            self._whole = self._whole.union(folders)  # a new set: the watcher's thread reads it
        if self._observer is None:
            try:
                self._observer = self._started()
            except OSError:
                return
        for folder in {path.parent for path in self._paths} | self._whole:
            try:
                stat = folder.stat()
            except OSError:
                continue
            identity = (stat.st_dev, stat.st_ino)
            known = self._watches.get(folder)
            if known and known[0] == identity:
                continue
            try:
                if known:
                    self._observer.unschedule(known[1])
                watch = self._observer.schedule(self, str(folder), event_filter=_KINDS)
                self._watches[folder] = identity, watch
            except (OSError, KeyError) as error:
                _log.debug("cannot watch %s: %s", folder, error)
                continue

    def stop(self) -> None:
        """Stops watching."""
        if self._observer:
            self._observer.stop()
            self._observer.join(timeout=1)

    def _started(self) -> BaseObserver:
        observer = Observer()
        observer.start()
        return observer

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog."""
        for name in (event.src_path, event.dest_path):
            path = Path(str(name))
            if name and (path in self._paths or path.parent in self._whole):
                self._publish(FileChanged(path))

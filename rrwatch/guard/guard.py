"""Keeps the guard's baseline: hears what happens to nodes one by one and all at once, and remembers it on disk."""

import time
from collections.abc import Callable, Collection
from dataclasses import replace

from rrwatch.calico.model import DataModel
from rrwatch.datastore.follow import Alarm
from rrwatch.datastore.mirror import is_below
from rrwatch.datastore.port import Change, Changes, Snapshot
from rrwatch.errors import StateError
from rrwatch.guard.baseline import Baseline, StateFolder, new_id
from rrwatch.guard.rule import Held, Limits, Nodes, judge

_SAVE_INTERVAL = 10.0
"""Seconds between two writes of a baseline in which only nodes changed: writing is no part of a change's time."""


class Guard:
    """Says what may go ahead. What it cannot write it keeps in memory, and says so once."""

    def __init__(
        self,
        folder: StateFolder,
        limits: Limits,
        viewer: str,
        model: DataModel,
        on_error: Callable[[StateError], None],
    ) -> None:
        """Loads the baseline that was kept before.

        Args:
            viewer: whose baseline it is: the summary of a role.
            model: what the keys mean.
            on_error: called when the baseline can no longer be written.
        """
        self._folder, self._limits, self._on_error = folder, limits, on_error
        self._model = model
        kept = folder.load()
        self.baseline = kept if kept and kept.viewer == viewer else Baseline(viewer)
        self._alarm, self._alarm_pending = "", False
        self._explicit: set[str] = set()
        self._cluster_id, self._index = "", 0
        self._unsaved_since: float | None = None
        self._failing = False

    @property
    def held(self) -> Held | None:
        """What is held now."""
        return self.baseline.held

    def hear(self, news: Snapshot | Changes | Alarm, keys_before: int) -> None:
        """Weighs how something was said.

        Args:
            keys_before: how many keys were known below the same prefix.
        """
        match news:
            case Alarm():
                self._alarm, self._alarm_pending = news.reason, True
            case Snapshot():
                self._hear_snapshot(news, keys_before)
            case Changes():
                self._index = max(self._index, news.index)
                for change in news.changes:
                    self._hear_change(change, keys_before)

    def _hear_change(self, change: Change, keys_before: int) -> None:
        root = self._model.root
        if host := self._model.names.host_of(change.key):
            # A record of one node was written or deleted: somebody meant it.
            if change.value:
                self._explicit.discard(host)
            else:
                self._explicit.add(host)
        elif change.value is None and keys_before and (change.key == root or is_below(root, change.key)):
            self._alarm = f"{change.key} was deleted as a whole"

    def _hear_snapshot(self, snapshot: Snapshot, keys_before: int) -> None:
        known = self.baseline
        if not self._cluster_id and known.cluster_id:
            if snapshot.cluster_id != known.cluster_id:
                self._alarm = f"etcd is another cluster than before: {snapshot.cluster_id}, it was {known.cluster_id}"
            elif snapshot.index < known.index:
                self._alarm = f"etcd went back from index {known.index} to {snapshot.index}: an older backup?"
        if (
            is_below(f"{snapshot.prefix}/", self._model.root)
            and not snapshot.items
            and (keys_before or not known.cluster_id)
        ):
            self._alarm = self._alarm or f"{snapshot.prefix} is empty"
        self._alarm_pending = False
        self._cluster_id, self._index = snapshot.cluster_id, snapshot.index

    def weigh(self, nodes: Nodes | None, ending: Callable[[], Collection[str]]) -> Held | None:
        """May what etcd says now go ahead? If not, it is held from now on; -> what is held, None: go on.

        Args:
            nodes: all that count now; None where their number says nothing.
            ending: tells the sessions that would end.
        """
        before = self.baseline
        if self._folder.take_release(before.held_id):
            self._accept(nodes)
            return None
        verdict = judge(
            before.nodes if nodes is not None else {},
            nodes or {},
            self._limits,
            explicit=self._explicit,
            held=before.held is not None,
            alarm=self._alarm,
            ending=ending,
        )
        if verdict is None:
            self._accept(nodes)
            return None
        fresh = before.held is None
        self.baseline = replace(
            before,
            held=verdict,
            held_id=new_id() if fresh else before.held_id,
            held_since=time.time() if fresh else before.held_since,
        )
        if self.baseline != before:
            self._save()
        return verdict

    def keep(self) -> None:
        """Writes what has changed, if it is time to."""
        if self._unsaved_since is not None and time.monotonic() - self._unsaved_since >= _SAVE_INTERVAL:
            self._save()

    def close(self) -> None:
        """Writes what has not been written yet."""
        if self._unsaved_since is not None:
            self._save()

    def remember(self, entry: dict[str, object]) -> None:
        """Adds a change to the history."""
        self._try(lambda: self._folder.remember(entry))

    def _accept(self, nodes: Nodes | None) -> None:
        before = self.baseline
        accepted = Baseline(before.viewer, nodes or {}, self._cluster_id, before.index)
        self._explicit = set()
        if not self._alarm_pending:  # the list that it speaks of is still to come
            self._alarm = ""
        if before.held or accepted != before:
            self.baseline = replace(accepted, index=self._index)
            if before.held:
                self._save()
            elif before.cluster_id != accepted.cluster_id:
                self._unsaved_since = -_SAVE_INTERVAL  # as soon as BIRD has what it needs
            elif self._unsaved_since is None:
                self._unsaved_since = time.monotonic()

    def _save(self) -> None:
        self._unsaved_since = None
        self._try(lambda: self._folder.save(self.baseline))

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
            self._failing = False
        except StateError as error:
            if not self._failing:
                self._on_error(error)
            self._failing = True

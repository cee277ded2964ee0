"""The guard: knows how the datastore changed, which records are in force, and what must survive a restart."""

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from rrwatch.bgp.topology import KeyNames, Rejected
from rrwatch.calico.model import ClusterState, DataModel
from rrwatch.datastore.follow import Alarm, UpToDate
from rrwatch.datastore.mirror import is_below
from rrwatch.datastore.port import Changes, Snapshot
from rrwatch.errors import BaselineUnreadable, StateError
from rrwatch.guard.baseline import Baseline, Hold, StateFolder
from rrwatch.guard.in_force import Heard, Items, RecordsInForce
from rrwatch.guard.rule import Effects, Limits, Loss

_SAVE_SHARE = 0.02
"""Share of the time that may go into writing the baseline while records change: it is rewritten as a whole."""

_RETRY_INTERVAL = 5.0
"""Seconds until a baseline that could not be written is written again."""

_LATELY = 3600.0
"""Seconds for which sessions that ended without being asked to count with later ones: a loss may come in steps."""

_INDEX_INTERVAL = 300.0
"""Seconds after which the datastore's index is written although no record has changed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which records are in force.

    Attributes:
        items: key -> value of the records in force.
        changed: the keys whose values differ from the verdict before.
        unreadable: records that cannot be read, and whose last readable value is in force.
        hold: what is held, None where nothing is.
        keep_installed: BIRD keeps the configuration that it has, since no records are known that it follows from.
        released: an operator has just let go what was held.
    """

    items: Items
    changed: frozenset[str]
    unreadable: tuple[Rejected, ...] = ()
    hold: Hold | None = None
    keep_installed: bool = False
    released: bool = False


class Guard:
    """Decides which records are in force. A baseline that cannot be written is kept in memory, and reported once."""

    def __init__(
        self,
        folder: StateFolder,
        limits: Limits,
        role: str,
        model: DataModel,
        *,
        effects: Callable[[Items], Effects | None],
        running: Callable[[], Collection[str]],
        on_error: Callable[[StateError], None],
    ) -> None:
        """Loads the baseline that was written before.

        Args:
            role: the name of its baseline.
            model: what keys and values mean.
            effects: what records make the BIRDs of this host do, None where they keep what they have.
            running: names of the sessions that are installed or that BIRDs run, whatever wrote them; asked only where
                no baseline tells.
            on_error: called when the baseline cannot be read, and when it can no longer be written.
        """
        self._folder, self._role, self._model, self._on_error = folder, role, model, on_error
        self._running = running
        self._accepted, self._frozen, self._stated = Baseline(root=model.root), "", ""
        try:
            self._accepted = folder.load(role) or self._accepted
        except BaselineUnreadable as error:
            on_error(error)
            self._frozen = str(error)
        if self.hold and not self.hold.stated:
            self._frozen = self.hold.frozen
        if self._accepted.root != model.root:
            self._frozen = f"model is another one than before: keys below {model.root} count, not {self._accepted.root}"
            self._accepted = replace(self._accepted, items=None, root=model.root, identity="")
        self._values_known = self._accepted.items is not None
        self._records = RecordsInForce(self._accepted.items or {}, model, limits, effects)
        self._latest: tuple[str, int] | None = None  # cluster id and index, as the datastore gave them last
        self._listed: set[str] = set()
        self._has_unlisted = True
        self._changed: set[str] = set()  # not returned yet; an exception on the way must not lose them
        self._awaited: set[str] = set()
        self._emptied: dict[str, str] = {}
        self._thinned: set[str] = set()  # folders with deletions that nobody asked for
        self._keys: set[str] = set()
        self._asked: set[str] = set()
        self._ended: dict[str, float] = {}
        self._has_settled = False
        self._saver = _Schedule(self._accepted.index)
        self._is_failing = False

    @property
    def hold(self) -> Hold | None:
        """What is held now."""
        return self._accepted.hold

    @property
    def has_doubts(self) -> bool:
        """Whether `settle` must look at a change of the datastore itself, although no key may differ."""
        return not self.hold and bool(self._frozen or self._emptied)

    def hear(self, event: Snapshot | Changes | UpToDate | Alarm, changed: Collection[str] = ()) -> None:
        """Takes note of how the datastore changed.

        Args:
            changed: the keys whose values differ now.
        """
        self._keys.update(changed)
        self._asked.difference_update(changed)
        match event:
            case Alarm():
                self._frozen = event.reason
                self._awaited.add(event.prefix)
            case Snapshot():
                self._hear_snapshot(event)
            case UpToDate():
                self._hear_index(event.index)
            case Changes():
                self._hear_index(event.index)
                asked = asked_for(event, changed, self._model.names)
                self._asked.update(asked)
                if any(change.value is None and change.key not in asked for change in event.changes):
                    self._thinned.add(event.prefix)
                for change in event.changes:
                    if change.value is None and is_below(f"{event.prefix}/", change.key):
                        self._emptied[event.prefix] = f"{change.key} was deleted as a whole"

    def forget_all_but(self, prefixes: Collection[str]) -> None:
        """Lets go of records in folders that are no longer followed: nothing depends on them any more.

        Args:
            prefixes: those that are followed; all of them have been listed.
        """
        outside = {key for key in self._records.items if not any(is_below(key, prefix) for prefix in prefixes)}
        self._keys |= outside
        self._asked |= outside
        self._listed &= set(prefixes)
        self._has_unlisted = False

    def settle(self, in_datastore: Items) -> Verdict:
        """Decides which records are in force from now on.

        Args:
            in_datastore: what the datastore says; every folder that matters has been listed.
        """
        first = not self._has_settled
        self._has_unlisted = self._has_unlisted and any(
            not any(is_below(key, prefix) for prefix in self._listed) for key in self._records.items
        )
        state = self._look_at_cluster(in_datastore)
        decides = not (self._awaited or self._has_unlisted)
        released = decides and self.hold is not None and self._folder.is_released(self.hold)
        if (first or released or self._keys or self.has_doubts) and not self._awaited:
            for prefix in self._thinned:
                if not any(is_below(key, prefix) for key in in_datastore):
                    self._emptied[prefix] = f"{prefix} is empty"
            self._thinned = set()
            alarm = self._frozen or self._stated or "; ".join(self._emptied.values())
            held = self.hold is not None
            if self._frozen or self._stated or not self._values_known:
                running = None if self._values_known else Effects(dict.fromkeys(self._running()))
                changed, loss = self._records.replace(in_datastore, running, alarm, held=held, released=released)
                frozen = alarm
            else:
                heard = Heard(self._keys, self._asked, alarm, self._ended_lately())
                changed, loss = self._records.update(in_datastore, heard, held=held, released=released)
                self._ended |= dict.fromkeys(self._records.ended, time.monotonic())
                frozen = ""
            self._changed |= self._records.items.keys() | changed if first else changed
            self._keys, self._asked, self._has_settled = set(), set(), True
            if loss:
                self._hold_back(loss, frozen)
            # What was held before the start may be in a folder that is still to be listed.
            elif not (self._records.is_undecided or (self.hold and self._has_unlisted)):
                self._accept(state.identity)
        if released:
            self._folder.forget_release()
        changed, self._changed = self._changed, set()
        if changed:
            self._saver.changed()
        return Verdict(
            self._records.items,
            frozenset(changed),
            tuple(self._records.unreadable.values()),
            self.hold,
            keep_installed=self.hold is not None and not self._values_known,
            released=released,
        )

    @property
    def write_due_in(self) -> float | None:
        """Seconds until `keep` has something to write, None where it has not."""
        return self._saver.due_in(self._index()) if self._has_settled else None

    def keep(self) -> None:
        """Writes the baseline, if it is time to."""
        if self.write_due_in == 0:
            self._save()

    def close(self) -> None:
        """Writes the baseline, if anything in it has changed."""
        if self._has_settled and self._saver.has_changes(self._index()):
            self._save()

    def _ended_lately(self) -> Collection[str]:
        oldest = time.monotonic() - _LATELY
        self._ended = {name: ended for name, ended in self._ended.items() if ended > oldest}
        return self._ended.keys()

    def _hear_index(self, index: int) -> None:
        # Each prefix has a follower of its own, and one may be ahead of another.
        cluster_id, known = self._latest or (self._accepted.cluster_id, 0)
        self._latest = cluster_id, max(known, index)

    def _hear_snapshot(self, snapshot: Snapshot) -> None:
        known, prefix = self._accepted, snapshot.prefix
        if self._latest is None and known.cluster_id:
            if snapshot.cluster_id != known.cluster_id:
                self._frozen = f"etcd is another cluster than before: {snapshot.cluster_id}, it was {known.cluster_id}"
            elif snapshot.index < known.index:
                self._frozen = f"etcd went back from index {known.index} to {snapshot.index}: an older backup?"
        below = [key for key in self._records.items if is_below(key, prefix)]
        if prefix not in self._listed:
            # What was in force before the start, or before this folder was last let go.
            self._listed.add(prefix)
            self._keys.update(key for key in below if key not in snapshot.items)
        if not snapshot.items and (below or (not self._values_known and is_below(f"{prefix}/", self._model.root))):
            self._emptied[prefix] = f"{prefix} is empty"
        self._awaited.discard(prefix)
        self._latest = snapshot.cluster_id, snapshot.index

    def _hold_back(self, loss: Loss, frozen: str) -> None:
        before = self.hold
        stated = frozen != "" and frozen == self._stated
        if before is None:
            hold = Hold(loss, f"{time.time_ns():x}-{os.getpid():x}", time.time(), frozen, stated)
        else:
            hold = replace(before, loss=loss, frozen=frozen, stated=stated)
        if hold != before:
            self._accepted = replace(self._accepted, hold=hold)
            self._save()

    def _look_at_cluster(self, in_datastore: Items) -> ClusterState:
        """Takes note of what the records say about the cluster as a whole."""
        state, known = self._model.cluster_state(in_datastore), self._accepted.identity
        stated = state.locked
        if known and state.identity not in ("", known):
            stated = f"Calico's cluster is another one than before: {state.identity}, it was {known}"
        if self._stated and not stated:
            # What was written or deleted meanwhile counts as unasked: nobody is known to have meant it for BIRD.
            self._keys |= {key for key, _ in self._records.items.items() ^ in_datastore.items()}
        self._stated = stated
        return state

    def _accept(self, identity: str) -> None:
        before = self.hold
        self._frozen, self._emptied, self._values_known = "", {}, True
        cluster_id, index = self._latest or (self._accepted.cluster_id, self._accepted.index)
        if cluster_id != self._accepted.cluster_id:
            self._saver.changed()
        identity = identity or self._accepted.identity
        if identity != self._accepted.identity:
            self._saver.changed()
        self._accepted = Baseline(self._records.items, cluster_id, index, self._model.root, identity)
        if before:
            self._save()

    def _index(self) -> int:
        """The datastore's newest index, as far as what it says has been accepted."""
        return self._accepted.index if self._frozen or self._stated or not self._latest else self._latest[1]

    def _save(self) -> None:
        items = self._records.items if self._values_known else None
        self._accepted = replace(self._accepted, items=items, index=self._index())
        began = time.monotonic()
        try:
            self._folder.save(self._role, self._accepted)
        except StateError as error:
            # Only the first failure is reported, until it works again.
            if not self._is_failing:
                self._on_error(error)
            self._is_failing = True
            self._saver.failed()
        else:
            self._is_failing = False
            self._saver.saved(self._accepted.index, time.monotonic() - began)


def asked_for(event: Changes, changed: Collection[str], names: KeyNames) -> set[str]:
    """Returns those of the changed keys that somebody wrote or deleted on purpose.

    A deletion is on purpose if it is that of one record, or of records of one node. A folder above several nodes, or
    the records of several nodes in one revision, may be deleted by mistake, and so may a record if more is deleted in
    other folders with it; and a record that expired was not deleted by anybody.
    """
    written = {change.key for change in event.changes if change.value is not None}
    deleted = [change for change in event.changes if change.value is None and not change.expired]
    owners = {names.host_of(change.key) or change.key for change in deleted}
    if len(owners) != 1 or event.deletes_beside:
        return written
    (owner,) = owners
    return written | {key for key in changed if owner in (key, names.host_of(key))} - written


class _Schedule:
    """When to write the baseline: as soon as it has changed, but with a rest after a write that took long."""

    def __init__(self, index: int) -> None:
        self._index, self._saved_at, self._rest = index, time.monotonic(), 0.0
        self._has_changed = False

    def changed(self) -> None:
        """A record in force has changed."""
        self._has_changed = True

    def saved(self, index: int, took: float) -> None:
        """The baseline has been written, which took so many seconds."""
        self._index, self._saved_at, self._rest = index, time.monotonic(), took / _SAVE_SHARE
        self._has_changed = False

    def failed(self) -> None:
        """The baseline could not be written."""
        self._saved_at, self._rest = time.monotonic(), _RETRY_INTERVAL
        self._has_changed = True

    def has_changes(self, index: int) -> bool:
        """Whether anything has changed since the last write."""
        return self._has_changed or index != self._index

    def due_in(self, index: int) -> float | None:
        """Seconds until the next write, None where none is needed."""
        if not self.has_changes(index):
            return None
        rest = self._rest if self._has_changed else _INDEX_INTERVAL
        return max(0.0, self._saved_at + rest - time.monotonic())

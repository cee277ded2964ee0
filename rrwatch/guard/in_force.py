"""The records in force: those of the datastore, and those that went although nobody deleted them. Pure: no I/O.

A session that nobody asked to end ends only if the rule allows it. A record may be missing for other reasons: a folder
above many nodes was deleted, the datastore was wiped or restored from a backup, a list came without the events that led
to it. Such a record stays in force, beside everything that is new, until the rule lets it go (`rrwatch.guard.rule`).
The rule looks at what depends on the record: sessions, and a node's own routes.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from rrwatch.bgp.topology import Rejected
from rrwatch.calico.model import DataModel
from rrwatch.guard.rule import Effects, Limits, Loss, judge

Items = Mapping[str, str]
"""Key -> value."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of how the datastore changed.

    Attributes:
        keys: those whose values may differ from the ones in force.
        asked: those among them that somebody wrote or deleted, by an event of their own.
        alarm: a reason for which no session may end by itself, empty where there is none.
        lately: names of sessions that ended a short time ago although nobody asked for it.
    """

    keys: Collection[str] = ()
    asked: Collection[str] = ()
    alarm: str = ""
    lately: Collection[str] = ()


class RecordsInForce:
    """Key -> value of the records that BIRD's configuration follows from."""

    def __init__(
        self, items: Items, model: DataModel, limits: Limits, effects: Callable[[Items], Effects | None]
    ) -> None:
        """Starts with the records that were in force before.

        Args:
            model: what keys and values mean.
            effects: what records make the BIRDs of this host do, None where they keep what they have.
        """
        self.items: dict[str, str] = dict(items)
        self.unreadable: dict[str, Rejected] = {}
        self._model, self._limits, self._effects = model, limits, effects
        self._retained: set[str] = set()
        self._changed: set[str] = set()  # not returned yet; an exception on the way must not lose them
        self.ended: frozenset[str] = frozenset()
        """Names of the sessions that the last update ended although nobody asked for it."""
        self.is_undecided = False
        """Whether records are gone of which it is not known yet whether they are a loss: BIRD keeps what it has."""

    def update(self, in_datastore: Items, heard: Heard, *, held: bool, released: bool) -> tuple[set[str], Loss | None]:
        """Takes over what the datastore says, except for losses that nobody asked for.

        Args:
            in_datastore: what the datastore says.
            held: a loss is held already.
            released: an operator lets it go.

        Returns:
            The keys that differ now, and the loss that is held from now on.
        """
        values, gone = self._sort(in_datastore, heard)
        known = self._effects(self.items) if self._retained or gone else None
        self._changed |= values.keys()
        for key, value in values.items():
            if value is None:
                self.items.pop(key, None)
            else:
                self.items[key] = value
        self._retained = (self._retained - set(heard.keys)) | gone
        loss = None
        self.is_undecided, self.ended = False, frozenset()
        if self._retained and not released:
            safe = self._effects(self.items)
            if safe is None:
                self.is_undecided = True
                return self._take_changed(), None
            kept = {key: value for key, value in self.items.items() if key not in self._retained}
            after = self._effects(kept) or Effects()
            known = known or safe
            loss = judge(known, safe, after, self._limits, alarm=heard.alarm, held=held, lately=heard.lately)
            self.ended = frozenset() if loss else frozenset(known.limited_to(safe).lost(after))
        if loss is None:
            self._changed |= self._retained
            for key in self._retained:
                del self.items[key]
            self._retained = set()
        return self._take_changed(), loss

    def replace(
        self, in_datastore: Items, running: Effects | None, alarm: str, *, held: bool, released: bool
    ) -> tuple[set[str], Loss | None]:
        """Takes over all that the datastore says, or nothing.

        Args:
            running: what BIRD runs, where no records in force are known that tell.
            alarm: why the datastore may not be the one that it was, empty where nothing says so.

        Returns:
            As `update`.
        """
        after = dict(in_datastore)
        unreadable = {}
        for key, value in in_datastore.items():
            known_value = self.items.get(key, value)
            if value != known_value and (fault := self._fault(key, value, known_value)):
                after[key], unreadable[key] = known_value, fault
        self.is_undecided = False
        if alarm and not released:
            known = self._effects(self.items) if running is None else running
            if known is None:
                known = self._effects({**in_datastore, **self.items})
            if known is None:
                self.is_undecided = True
                return self._take_changed(), None
            if loss := judge(known, known, self._effects(after) or Effects(), self._limits, alarm=alarm, held=held):
                return self._take_changed(), loss
        self._changed |= {key for key, _ in self.items.items() ^ after.items()}
        self.items, self.unreadable, self._retained = after, unreadable, set()
        return self._take_changed(), None

    def _take_changed(self) -> set[str]:
        changed, self._changed = self._changed, set()
        return changed

    def _sort(self, in_datastore: Items, heard: Heard) -> tuple[dict[str, str | None], set[str]]:
        """Sorts what was heard into values that take effect, None where a record goes, and records gone unasked."""
        changed: dict[str, str | None] = {}
        gone: set[str] = set()
        for key in heard.keys:
            value, known = in_datastore.get(key), self.items.get(key)
            self.unreadable.pop(key, None)
            if value == known:
                continue
            if known is None or value is None:
                if value is None and key not in heard.asked and self._model.parse(key, known or ""):
                    gone.add(key)
                else:
                    changed[key] = value
                continue
            if fault := self._fault(key, value, known):
                self.unreadable[key] = fault
            else:
                changed[key] = value
        return changed, gone

    def _fault(self, key: str, value: str, known: str) -> Rejected | None:
        """Why a new value cannot be read although the known one could be; None where it takes effect."""
        faults = [one for one in self._model.parse(key, value) if isinstance(one, Rejected)]
        if not faults or any(isinstance(one, Rejected) for one in self._model.parse(key, known)):
            return None
        return Rejected(key, f"{faults[0].reason}; its last readable value stays in force")

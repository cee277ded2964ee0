"""The records in force: those of the datastore, and those that went although nobody deleted them. Pure: no I/O.

A session that nobody asked to end ends only if the rule allows it. A record may be missing for other reasons: a folder
above many nodes was deleted, the datastore was wiped or restored from a backup, a list came without the events that led
to it. And a new value may end sessions that whoever wrote it did not think of: labels that a selector no longer
matches, or a selector that no longer matches labels. Such a record stays in force as it was, beside everything that is
new, until the rule lets it go (`rrwatch.guard.rule`). The rule looks at what depends on the record: sessions, and a
node's own routes.
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
        self._retained: dict[str, str | None] = {}
        """What the datastore says of records that stay in force as they were; None where it has none any more."""
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
        values, doubtful = self._sort(in_datastore, heard)
        known = self._effects(self.items) if self._retained or doubtful else None
        self._changed |= values.keys()
        _apply(values, self.items)
        retained = {key: value for key, value in self._retained.items() if key not in heard.keys}
        self._retained = retained | doubtful
        loss = None
        self.is_undecided, self.ended = False, frozenset()
        if self._retained and not released:
            safe = self._effects(self.items)
            if safe is None:
                self.is_undecided = True
                return self._take_changed(), None
            without = dict(self.items)
            _apply(self._retained, without)
            after = self._effects(without) or Effects()
            known = known or safe
            loss = judge(known, safe, after, self._limits, alarm=heard.alarm, held=held, lately=heard.lately)
            self.ended = frozenset() if loss else frozenset(known.limited_to(safe).lost(after))
        if loss is None:
            self._changed |= self._retained.keys()
            _apply(self._retained, self.items)
            self._retained = {}
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
        self.items, self.unreadable, self._retained = after, unreadable, {}
        return self._take_changed(), None

    def _take_changed(self) -> set[str]:
        changed, self._changed = self._changed, set()
        return changed

    def _sort(self, in_datastore: Items, heard: Heard) -> tuple[dict[str, str | None], dict[str, str | None]]:
        """Sorts what was heard: values that take effect, and values that the rule decides about; None means gone."""
        changed: dict[str, str | None] = {}
        doubtful: dict[str, str | None] = {}
        for key in heard.keys:
            value, known = in_datastore.get(key), self.items.get(key)
            self.unreadable.pop(key, None)
            if value == known:
                continue
            if known is None or value is None:
                if value is None and key not in heard.asked and self._model.parse(key, known or ""):
                    doubtful[key] = None
                else:
                    changed[key] = value
                continue
            if fault := self._fault(key, value, known):
                self.unreadable[key] = fault
            elif self._model.ends_by_effect(key, known, value):
                doubtful[key] = value
            else:
                changed[key] = value
        return changed, doubtful

    def _fault(self, key: str, value: str, known: str) -> Rejected | None:
        """Why a new value cannot be read although the known one could be; None where it takes effect."""
        faults = [one for one in self._model.parse(key, value) if isinstance(one, Rejected)]
        if not faults or any(isinstance(one, Rejected) for one in self._model.parse(key, known)):
            return None
        return Rejected(key, f"{faults[0].reason}; its last readable value stays in force")


def _apply(values: Mapping[str, str | None], items: dict[str, str]) -> None:
    """Puts values in; None removes one."""
    for key, value in values.items():
        if value is None:
            items.pop(key, None)
        else:
            items[key] = value

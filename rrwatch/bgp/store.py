"""The records of one etcd, each read once, when its key changes."""

from collections.abc import Iterable, Mapping

from rrwatch.bgp.calico_v1 import parse
from rrwatch.bgp.topology import Record, Rejected, Topology


class RecordStore:
    """Key -> record, for the keys that say something."""

    def __init__(self) -> None:
        self._records: dict[str, Record | Rejected] = {}

    @classmethod
    def of(cls, items: Mapping[str, str]) -> "RecordStore":
        """The records of a whole set of keys."""
        store = cls()
        store.update(items, items)
        return store

    def update(self, keys: Iterable[str], items: Mapping[str, str]) -> bool:
        """Reads those keys again; -> does any of them say something else than before?

        Args:
            keys: what has changed.
            items: key -> value as it is now; a key that is not in it is gone.
        """
        changed = False
        for key in keys:
            record = parse(key, items[key]) if key in items else None
            if record == self._records.get(key):
                continue
            changed = True
            if record:
                self._records[key] = record
            else:
                self._records.pop(key, None)
        return changed

    def topology(self) -> Topology:
        """What they say together."""
        return Topology.of(self._records.values())

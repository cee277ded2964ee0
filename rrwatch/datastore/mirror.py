"""A copy of one folder of etcd, kept by whole snapshots and single changes; no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything below a prefix at one moment.

    Attributes:
        prefix: the folder, an absolute key without a slash at its end.
        items: key -> value; no folders, no hidden names.
        index: etcd's index (X-Etcd-Index) at that moment: the next change has a higher one.
        cluster_id: the etcd cluster that answered.
        endpoint: the URL that answered.
    """

    prefix: str
    items: Mapping[str, str]
    index: int
    cluster_id: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Change:
    """One event of etcd's history.

    Attributes:
        key: of a value, or of a folder, which may be the prefix or stand above it.
        value: the new value; None where there is no value at this key any more.
        subtree: with no value: nothing is left below the key either.
        index: the event's modifiedIndex.
    """

    prefix: str
    key: str
    value: str | None
    subtree: bool
    index: int


class Mirror:
    """Key -> value below one prefix; equal to etcd as long as it is fed in order."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.items: dict[str, str] = {}

    def replace(self, snapshot: Snapshot) -> set[str]:
        """Takes the snapshot in place of all that was there; -> the keys that differ."""
        before, self.items = self.items, dict(snapshot.items)
        return {key for key, _ in before.items() ^ self.items.items()}

    def apply(self, change: Change) -> set[str]:
        """Takes one change; -> the keys that differ now."""
        key, value = change.key, change.value
        if value is not None:
            if not is_below(key, self.prefix) or self.items.get(key) == value:
                return set()
            self.items[key] = value
            return {key}
        gone: set[str] = set()
        if key in self.items:
            gone = {key}
        elif change.subtree:  # a key that has a value is no folder: no need to search
            gone = {item for item in self.items if is_below(item, key)}
        for item in gone:
            del self.items[item]
        return gone


def is_below(key: str, folder: str) -> bool:
    """Is the key in the folder, at any depth? By whole names: `/v10/x` is not in `/v1`."""
    return key.startswith(folder if folder.endswith("/") else folder + "/")


def is_hidden(key: str, prefix: str) -> bool:
    """Has the key a hidden name (one that begins with `_`) below the prefix? etcd's lists leave those out."""
    return "/_" in key.removeprefix(prefix)

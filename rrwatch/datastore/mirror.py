"""A copy of the keys below one prefix, kept up to date by snapshots and changes; no I/O."""

from rrwatch.datastore.port import Change, Changes, Snapshot


class Mirror:
    """Key -> value below one prefix. It equals the datastore as long as it gets everything in order."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.items: dict[str, str] = {}

    def replace(self, snapshot: Snapshot) -> set[str]:
        """Replaces everything by the snapshot; returns the keys that differ."""
        before, self.items = self.items, dict(snapshot.items)
        return {key for key, _ in before.items() ^ self.items.items()}

    def apply(self, changes: Changes) -> set[str]:
        """Applies the changes of one revision; returns the keys that differ after all of them."""
        before: dict[str, str | None] = {}
        for change in changes.changes:
            for key in self._touched(change):
                before.setdefault(key, self.items.get(key))
                if change.value is None:
                    self.items.pop(key, None)
                else:
                    self.items[key] = change.value
        return {key for key, value in before.items() if value != self.items.get(key)}

    def _touched(self, change: Change) -> list[str]:
        if change.value is not None:
            return [change.key] if is_below(change.key, self.prefix) else []
        if change.key in self.items:
            return [change.key]
        # A key with a value is no folder, so only here it is worth looking at all keys.
        return [key for key in self.items if is_below(key, change.key)] if change.subtree else []


def is_below(key: str, folder: str) -> bool:
    """Whether the key is in the folder, at any depth. Compares whole names: `/v10/x` is not in `/v1`."""
    return key.startswith(folder if folder.endswith("/") else folder + "/")

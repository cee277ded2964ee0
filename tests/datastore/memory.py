"""A second datastore, in memory: an adapter needs no more than this."""

import threading

from rrwatch.datastore.mirror import Mirror, is_below
from rrwatch.datastore.port import Change, Changes, Snapshot, WatchResponse


class MemoryDatastore:
    """Keys in a dictionary and a history of revisions; each commit is one revision."""

    endpoint = "memory://"

    def __init__(self) -> None:
        self._mirror, self._history, self._committed = Mirror(""), list[tuple[Change, ...]](), threading.Condition()

    def commit(self, *changes: Change) -> None:
        with self._committed:
            self._history.append(changes)
            self._mirror.apply(Changes("", changes, len(self._history)))
            self._committed.notify_all()

    def list(self, prefix: str) -> Snapshot:
        with self._committed:
            items = {key: value for key, value in self._mirror.items.items() if is_below(key, prefix)}
            return Snapshot(prefix, items, len(self._history), "memory", self.endpoint)

    def watch(self, prefix: str, index: int, timeout: float | None = None) -> WatchResponse | None:
        with self._committed:
            if not self._committed.wait_for(lambda: len(self._history) >= index, timeout or 0.2):
                return WatchResponse(len(self._history), "memory", timed_out=True)
            changes = tuple(change for change in self._history[index - 1] if is_below(change.key, prefix))
            return WatchResponse(index, "memory", changes)

    def probe(self, prefix: str) -> str:  # noqa: ARG002  # the port's
        return "memory"

    def swap(self, key: str, before: str | None, after: str | None) -> bool:
        with self._committed:
            value = self._mirror.items.get(key)
            if value == before != after:
                self.commit(Change(key, after))
            return value in (before, after)

    def rotate(self) -> None:
        pass

    def interrupt(self) -> None:
        pass

"""The prefixes that are followed now, each by its own follower, and the keys that they hold together."""

import time
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping

from rrwatch.datastore.follow import Follower
from rrwatch.datastore.mirror import Mirror
from rrwatch.datastore.port import Changes, Snapshot

_STOP_TIMEOUT = 1.0  # seconds, for all threads together


class Folders:
    """A mirror for each prefix.

    The set of prefixes can change while rrwatch runs. Prefixes that are no longer wanted are kept until all wanted ones
    have been listed, so that no key is missing in between.
    """

    def __init__(self, follower: Callable[[str], Follower]) -> None:
        """Follows nothing yet.

        Args:
            follower: makes a follower for a prefix, without starting it.
        """
        self._make = follower
        self._followers: dict[str, Follower] = {}
        self._mirrors: dict[str, Mirror] = {}
        self._wanted: frozenset[str] = frozenset()

    @property
    def items(self) -> Mapping[str, str]:
        """Key -> value of all mirrors."""
        several = [mirror.items for mirror in self._mirrors.values()]
        return several[0] if len(several) == 1 else ChainMap(*several)

    @property
    def size(self) -> int:
        """The number of keys in all mirrors."""
        return sum(len(mirror.items) for mirror in self._mirrors.values())

    def size_of(self, prefix: str) -> int:
        """The number of keys below one prefix."""
        mirror = self._mirrors.get(prefix)
        return len(mirror.items) if mirror else 0

    @property
    def wanted(self) -> frozenset[str]:
        """The prefixes that are wanted now."""
        return self._wanted

    def has_listed(self, prefixes: Collection[str]) -> bool:
        """Whether all these prefixes have been listed, and are still followed."""
        return self._mirrors.keys() >= set(prefixes)

    def is_complete(self) -> bool:
        """Whether every wanted prefix has been listed."""
        return self._wanted <= self._mirrors.keys()

    def want(self, prefixes: Collection[str]) -> None:
        """Follows these prefixes from now on; `narrow` ends the others."""
        for prefix in prefixes:
            if prefix not in self._followers:
                follower = self._make(prefix)
                follower.start()  # fails if there can be no more threads; the next call tries again
                self._followers[prefix] = follower
        self._wanted = frozenset(prefixes)

    def take(self, event: Snapshot | Changes) -> set[str]:
        """Brings the mirror of the event's prefix up to date; returns the keys that differ now."""
        if isinstance(event, Snapshot) and event.prefix in self._followers:
            return self._mirrors.setdefault(event.prefix, Mirror(event.prefix)).replace(event)
        if isinstance(event, Changes) and event.prefix in self._mirrors:
            return self._mirrors[event.prefix].apply(event)
        return set()  # from a follower that was stopped

    def narrow(self) -> set[str]:
        """Stops following what is not wanted, if all wanted prefixes are listed; returns the keys that may be gone."""
        gone: set[str] = set()
        if self.is_complete():
            for prefix in self._followers.keys() - self._wanted:
                self._followers.pop(prefix).stop()
                gone |= self._mirrors.pop(prefix, Mirror(prefix)).items.keys()
        return gone

    def relist(self) -> None:
        """Makes all followers list again now."""
        for follower in self._followers.values():
            follower.relist()

    def stop(self) -> None:
        """Ends all threads."""
        for follower in self._followers.values():
            follower.stop()
        # A thread that is connecting cannot be interrupted, and need not be waited for.
        end = time.monotonic() + _STOP_TIMEOUT
        for follower in self._followers.values():
            follower.end(end - time.monotonic())

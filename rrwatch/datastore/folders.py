"""The folders of etcd that are followed now, each by a thread of its own, and what they hold together."""

import time
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping

from rrwatch.datastore.follow import Follower
from rrwatch.datastore.mirror import Change, Mirror, Snapshot

_STOP_TIMEOUT = 1.0  # seconds, for all threads together


class Folders:
    """Mirrors by prefix. What is followed can change: a folder is let go only when all that are wanted are known."""

    def __init__(self, follower: Callable[[str], Follower]) -> None:
        """Follows nothing yet.

        Args:
            follower: makes the follower of a prefix, not started.
        """
        self._make = follower
        self._followers: dict[str, Follower] = {}
        self._mirrors: dict[str, Mirror] = {}
        self._wanted: frozenset[str] = frozenset()

    @property
    def items(self) -> Mapping[str, str]:
        """Key -> value of all mirrors together."""
        several = [mirror.items for mirror in self._mirrors.values()]
        return several[0] if len(several) == 1 else ChainMap(*several)

    @property
    def size(self) -> int:
        """How many keys all mirrors hold."""
        return sum(len(mirror.items) for mirror in self._mirrors.values())

    def size_of(self, prefix: str) -> int:
        """How many keys are known below one prefix."""
        mirror = self._mirrors.get(prefix)
        return len(mirror.items) if mirror else 0

    @property
    def wanted(self) -> frozenset[str]:
        """The prefixes that are wanted now."""
        return self._wanted

    def is_complete(self) -> bool:
        """Has every folder that is wanted been listed?"""
        return self._wanted <= self._mirrors.keys()

    def want(self, prefixes: Collection[str]) -> None:
        """Follows those from now on; others are let go by `narrow`."""
        self._wanted = frozenset(prefixes)
        for prefix in prefixes:
            if prefix not in self._followers:
                self._followers[prefix] = self._make(prefix)
                self._followers[prefix].start()

    def take(self, news: Snapshot | Change) -> set[str]:
        """Brings the mirror up to date; -> the keys that differ now."""
        if isinstance(news, Snapshot) and news.prefix in self._followers:
            return self._mirrors.setdefault(news.prefix, Mirror(news.prefix)).replace(news)
        if isinstance(news, Change) and news.prefix in self._mirrors:
            return self._mirrors[news.prefix].apply(news)
        return set()  # the last word of a folder that was let go

    def narrow(self) -> set[str]:
        """Lets go of what is not wanted, where all that is wanted is known; -> the keys that may be gone."""
        gone: set[str] = set()
        if self.is_complete():
            for prefix in self._followers.keys() - self._wanted:
                self._followers.pop(prefix).stop()
                gone |= self._mirrors.pop(prefix, Mirror(prefix)).items.keys()
        return gone

    def relist(self) -> None:
        """Lists all of them again, now."""
        for follower in self._followers.values():
            follower.relist()

    def stop(self) -> None:
        """Ends all threads."""
        for follower in self._followers.values():
            follower.stop()
        # A thread that waits for a connection cannot be woken, and need not be waited for.
        end = time.monotonic() + _STOP_TIMEOUT
        for follower in self._followers.values():
            follower.join(timeout=max(0.0, end - time.monotonic()))

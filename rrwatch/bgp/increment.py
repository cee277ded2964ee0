"""Derives sessions incrementally, with the same result as deriving everything again.

The rules are those of `rrwatch.bgp.sessions`. They are applied to the hosts that changed, once as these hosts were and
once as they are, and the difference is applied to what was derived before. This is correct while hosts are independent
of each other. If two hosts claim the same address, or if anything but a host changed, everything is derived again.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import compress
from operator import is_not
from typing import TypeVar

from rrwatch.bgp.sessions import Derived, Session, sort_key
from rrwatch.bgp.topology import Address, Host, Remark, Topology

_R = TypeVar("_R", bound=Remark)


class Deriver:
    """Derives the sessions of one topology after another, reusing what did not change."""

    def __init__(
        self, rules: Callable[[Topology], Derived], always: Callable[[Topology], Collection[str]] = lambda _: ()
    ) -> None:
        """Creates a deriver that has derived nothing yet.

        Args:
            rules: derives everything from a topology.
            always: returns the hosts that the rules need to see, whichever hosts changed.
        """
        self._rules, self._always = rules, always
        self._topology: Topology | None = None
        self._seen: frozenset[str] = frozenset()
        self._derived = Derived((), (), ())
        self._by_neighbor: dict[Address, Session] = {}

    def derive(self, topology: Topology) -> Derived:
        """Returns what follows from the topology."""
        always = frozenset(self._always(topology))
        derived = self._derive_changes(topology, always)
        if derived is None:
            derived = self._rules(topology)
            self._by_neighbor = {session.neighbor: session for session in derived.sessions}
        self._topology, self._derived, self._seen = topology, derived, always
        return derived

    def _derive_changes(self, topology: Topology, always: frozenset[str]) -> Derived | None:
        """Returns None if everything has to be derived again."""
        before, known = self._topology, self._derived
        if before is None or known.contested or replace(topology, hosts=before.hosts) != before:
            return None
        changed = _changed_hosts(before.hosts, topology.hosts)
        if not changed:
            return known
        if always != self._seen or changed & always or 2 * len(changed) > len(before.hosts):
            return None
        old, new = (self._rules(_only(some, changed | always)) for some in (before, topology))
        if old.contested or new.contested:
            return None
        remarks = [{*some.rejected, *some.warnings} for some in (old, new)]
        if any(topology.names.host_of(remark.key) not in changed for remark in remarks[0] ^ remarks[1]):
            return None  # the remark is about a record that all hosts share
        sessions = self._patch_sessions(set(old.sessions), set(new.sessions))
        if sessions is None:
            return None
        return Derived(
            sessions,
            _patch_remarks(known.rejected, old.rejected, new.rejected),
            _patch_remarks(known.warnings, old.warnings, new.warnings),
        )

    def _patch_sessions(self, old: set[Session], new: set[Session]) -> tuple[Session, ...] | None:
        removed, added = old - new, new - old
        freed = {session.neighbor for session in removed}
        if any(session.neighbor in self._by_neighbor and session.neighbor not in freed for session in added):
            return None  # two hosts claim one address
        if not (removed or added):
            return self._derived.sessions
        sessions = list(self._derived.sessions)
        for session in removed:
            del sessions[bisect_left(sessions, sort_key(session), key=sort_key)]
            del self._by_neighbor[session.neighbor]
        for session in added:
            insort(sessions, session, key=sort_key)
            self._by_neighbor[session.neighbor] = session
        return tuple(sessions)


def _changed_hosts(before: Mapping[str, Host], now: Mapping[str, Host]) -> set[str]:
    # Of thousands of hosts a handful differ: a loop in Python would be the most expensive part of a change.
    changed = set(compress(now, map(is_not, now.values(), map(before.get, now))))
    added = sum(name not in before for name in changed)
    if len(before) + added != len(now):
        changed |= before.keys() - now.keys()
    return changed


def _only(topology: Topology, names: Collection[str]) -> Topology:
    hosts = topology.hosts
    return replace(topology, hosts={name: hosts[name] for name in sorted(names) if name in hosts})


def _patch_remarks(known: tuple[_R, ...], old: tuple[_R, ...], new: tuple[_R, ...]) -> tuple[_R, ...]:
    removed, added = set(old) - set(new), set(new) - set(old)
    if not (removed or added):
        return known  # a remark about a shared record keeps the text that all hosts together gave it
    by_key = {remark.key: remark for remark in known}
    for remark in removed:
        by_key.pop(remark.key, None)
    by_key |= {remark.key: remark for remark in added}
    return tuple(by_key[key] for key in sorted(by_key))

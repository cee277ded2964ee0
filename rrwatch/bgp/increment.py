"""Derives sessions incrementally, with the same result as deriving everything again.

The rules of a data model are applied to the hosts that changed, once as these hosts were and once as they are, and the
difference is applied to what was derived before. This is correct while hosts are independent of each other. If one of
them shares an address with another host, or if anything but a host changed, everything is derived again.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import chain, compress
from operator import is_not
from typing import TypeVar

from rrwatch.bgp.sessions import Derived, Session, sort_key
from rrwatch.bgp.topology import Address, Host, Remark, Topology

_R = TypeVar("_R", bound=Remark)
_T = TypeVar("_T")


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
        self._owners: Counter[Address] = Counter()  # how many hosts have an address

    def derive(self, topology: Topology) -> Derived:
        """Returns what follows from the topology."""
        before, self._topology = self._topology, None  # after an exception, everything is derived again
        always = frozenset(self._always(topology))
        derived = self._derive_changes(before, topology, always) if before else None
        if derived is None:
            derived = self._rules(topology)
            self._owners = Counter(chain.from_iterable(host.known for host in topology.hosts.values()))
        self._topology, self._derived, self._seen = topology, derived, always
        return derived

    def _derive_changes(self, before: Topology, topology: Topology, always: frozenset[str]) -> Derived | None:
        """Returns None if everything has to be derived again."""
        known = self._derived
        if replace(topology, hosts=before.hosts) != before:
            return None
        changed = _changed_hosts(before.hosts, topology.hosts)
        if not changed:
            return known
        if always != self._seen or changed & always or 2 * len(changed) > len(before.hosts):
            return None
        if self._is_address_shared(before.hosts, topology.hosts, changed):
            return None
        old, new = (self._rules(_only(some, changed | always)) for some in (before, topology))
        removed, added = _differences({*old.rejected, *old.warnings}, {*new.rejected, *new.warnings})
        others = {remark for remark in removed | added if topology.names.host_of(remark.key) not in changed}
        # Other hosts may be a reason for a remark about a shared record as well, and its text names one of them.
        if others & removed or any(remark not in (*known.rejected, *known.warnings) for remark in others):
            return None
        return Derived(
            _patch_sessions(known.sessions, old.sessions, new.sessions),
            _patch_remarks(known.rejected, old.rejected, new.rejected),
            _patch_remarks(known.warnings, old.warnings, new.warnings),
        )

    def _is_address_shared(self, before: Mapping[str, Host], now: Mapping[str, Host], changed: set[str]) -> bool:
        """Whether a changed host has, or had, an address of another host."""
        most = 0
        for hosts, step in (before, -1), (now, 1):
            for address in chain.from_iterable(hosts[name].known for name in changed & hosts.keys()):
                most = max(most, self._owners[address], self._owners[address] + step)
                self._owners[address] += step
                if not self._owners[address]:
                    del self._owners[address]
        return most > 1


def _patch_sessions(
    known: tuple[Session, ...], old: tuple[Session, ...], new: tuple[Session, ...]
) -> tuple[Session, ...]:
    removed, added = _differences(set(old), set(new))
    if not (removed or added):
        return known
    sessions = list(known)
    for session in removed:
        del sessions[bisect_left(sessions, sort_key(session), key=sort_key)]
    for session in added:
        insort(sessions, session, key=sort_key)
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
    removed, added = _differences(set(old), set(new))
    if not (removed or added):
        return known  # a remark about a shared record keeps the text that all hosts together gave it
    by_key = {remark.key: remark for remark in known}
    for remark in removed:
        by_key.pop(remark.key, None)
    by_key |= {remark.key: remark for remark in added}
    return tuple(by_key[key] for key in sorted(by_key))


def _differences(old: set[_T], new: set[_T]) -> tuple[set[_T], set[_T]]:
    """Returns what is only in the first set, and what is only in the second."""
    return old - new, new - old

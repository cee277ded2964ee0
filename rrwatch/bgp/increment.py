"""The same as deriving everything anew, at the cost of what has changed.

The rules stand in `rrwatch.bgp.sessions` alone: they are applied to the hosts that have changed, as those were and as
they are, and the difference is applied to what was derived before. That is right as long as hosts have nothing to do
with each other, which they have where two of them claim one address, or where something other than a host has changed:
then everything is derived anew.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import compress
from operator import is_not
from typing import TypeVar

from rrwatch.bgp.sessions import Derived, Session, place
from rrwatch.bgp.topology import Address, Host, Remark, Topology

_R = TypeVar("_R", bound=Remark)


class Deriver:
    """Derives one topology after the other."""

    def __init__(self, rules: Callable[[Topology], Derived], always: Collection[str] = ()) -> None:
        """Knows nothing yet.

        Args:
            rules: a topology -> what follows from it.
            always: hosts that the rules need, whichever hosts are asked about.
        """
        self._rules, self._always = rules, frozenset(always)
        self._topology: Topology | None = None
        self._derived = Derived((), (), ())
        self._neighbors: dict[Address, Session] = {}

    def derive(self, topology: Topology) -> Derived:
        """What follows from the topology."""
        derived = self._advanced(topology)
        if derived is None:
            derived = self._rules(topology)
            self._neighbors = {session.neighbor: session for session in derived.sessions}
        self._topology, self._derived = topology, derived
        return derived

    def _advanced(self, topology: Topology) -> Derived | None:
        """None where it takes everything anew."""
        before, known = self._topology, self._derived
        if before is None or known.contested or replace(topology, hosts=before.hosts) != before:
            return None
        changed = _differing(before.hosts, topology.hosts)
        if not changed:
            return known
        if changed & self._always or 2 * len(changed) > len(before.hosts):
            return None
        old, new = (self._rules(_only(some, changed | self._always)) for some in (before, topology))
        if old.contested or new.contested:
            return None
        remarks = [{*some.rejected, *some.warnings} for some in (old, new)]
        if any(topology.names.host_of(remark.key) not in changed for remark in remarks[0] ^ remarks[1]):
            return None  # about a record that all hosts share
        sessions = self._patched(set(old.sessions), set(new.sessions))
        if sessions is None:
            return None
        return Derived(
            sessions,
            _patch(known.rejected, old.rejected, new.rejected),
            _patch(known.warnings, old.warnings, new.warnings),
        )

    def _patched(self, old: set[Session], new: set[Session]) -> tuple[Session, ...] | None:
        gone, come = old - new, new - old
        left = {session.neighbor for session in gone}
        if any(session.neighbor in self._neighbors and session.neighbor not in left for session in come):
            return None  # two claim one address
        if not (gone or come):
            return self._derived.sessions
        sessions = list(self._derived.sessions)
        for session in gone:
            del sessions[bisect_left(sessions, place(session), key=place)]
            del self._neighbors[session.neighbor]
        for session in come:
            insort(sessions, session, key=place)
            self._neighbors[session.neighbor] = session
        return tuple(sessions)


def _differing(was: Mapping[str, Host], now: Mapping[str, Host]) -> set[str]:
    # Thousands of hosts, of which a handful differ: a loop in Python would be the dearest part of a change.
    differing = set(compress(now, map(is_not, now.values(), map(was.get, now))))
    come = sum(name not in was for name in differing)
    if len(was) + come != len(now):
        differing |= was.keys() - now.keys()
    return differing


def _only(topology: Topology, names: Collection[str]) -> Topology:
    hosts = topology.hosts
    return replace(topology, hosts={name: hosts[name] for name in sorted(names) if name in hosts})


def _patch(known: tuple[_R, ...], old: tuple[_R, ...], new: tuple[_R, ...]) -> tuple[_R, ...]:
    gone, come = set(old) - set(new), set(new) - set(old)
    if not (gone or come):
        return known  # what both say of a shared record, all hosts together have said in their own words
    by_key = {remark.key: remark for remark in known}
    for remark in gone:
        by_key.pop(remark.key, None)
    by_key |= {remark.key: remark for remark in come}
    return tuple(by_key[key] for key in sorted(by_key))

"""Collects the sessions of one speaker, and remarks, while rules go through a topology."""

from rrwatch.bgp.sessions import Derived, Session, sort_key
from rrwatch.bgp.topology import Address, Rejected, Remark, Topology


class Collector:
    """Collects sessions in order of precedence, one for each neighbor."""

    def __init__(self, topology: Topology) -> None:
        """Starts with the records that could not be read."""
        self.topology = topology
        self._sessions: dict[Address, Session] = {}
        self._rejected: dict[str, Rejected] = dict(topology.rejected)
        self._warnings: dict[str, Remark] = {}

    def add(self, session: Session) -> Session | None:
        """Adds a session, unless there is one with that neighbor already, which is returned.

        If two nodes claim the same address, the second one is rejected.
        """
        first = self._sessions.setdefault(session.neighbor, session)
        if first is session:
            return None
        if is_contested(first, session):
            address_key = self.topology.hosts[str(session.node)].addresses[session.family].key
            self.reject(
                address_key,
                f"{session.neighbor} is the address of node {first.node} too, which has session {first.name}",
            )
        return first

    def reject(self, key: str, reason: str) -> None:
        """Rejects a record; the first reason is kept."""
        self._rejected.setdefault(key, Rejected(key, reason))

    def reject_global_as(self, why: str) -> None:
        """Rejects the missing AS number of all hosts."""
        self.reject(self.topology.names.global_as(), f"is missing: {why}")

    def warn(self, key: str, reason: str) -> None:
        """Adds a warning about a record; the first reason is kept."""
        self._warnings.setdefault(key, Remark(key, reason))

    def derived(self) -> Derived:
        """Returns what was collected."""
        return Derived(
            tuple(sorted(self._sessions.values(), key=sort_key)),
            tuple(self._rejected[key] for key in sorted(self._rejected)),
            tuple(self._warnings[key] for key in sorted(self._warnings)),
        )


def is_contested(first: Session, second: Session) -> bool:
    """Whether two sessions with the same neighbor are with different nodes."""
    return bool(first.node and second.node and first.node != second.node)

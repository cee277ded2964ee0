"""The guard's rule: may sessions end that nobody asked to end? Pure: no state, no I/O."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from rrwatch.bgp.sessions import Session


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may end without being asked for.

    Attributes:
        percent: a loss of more than this share is held; 0 turns the guard off.
        minimum: with fewer known sessions (or routes) than this, `percent` does not apply.
    """

    percent: int
    minimum: int


@dataclass(frozen=True, slots=True)
class Effects:
    """What a set of records makes the BIRDs of this host do.

    Attributes:
        sessions: by name; None where no more than the name is known, as it is of a session that BIRD runs.
        routes: the keys of the blocks that this node announces and of the pools that its routes must be in.
    """

    sessions: Mapping[str, Session | None] = field(default_factory=dict)
    routes: frozenset[str] = frozenset()

    def limited_to(self, safe: "Effects") -> "Effects":
        """Returns the known sessions that `safe` still has, with their terms from `safe`.

        This leaves out sessions that somebody asked to end, and new ones.
        """
        return Effects({name: safe.sessions[name] for name in self.sessions if name in safe.sessions})

    def lost(self, after: "Effects") -> Iterator[str]:
        """Yields the names of the sessions that end, or restart as something else, when `after` takes effect.

        Sessions are compared by neighbor: one that only gets another name, because another record asks for it now, is
        not lost.
        """
        neighbors = {one.neighbor: _terms(one) for one in after.sessions.values() if one}
        for name, session in self.sessions.items():
            if neighbors.get(session.neighbor) != _terms(session) if session else name not in after.sessions:
                yield name


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss that does not go ahead by itself.

    Attributes:
        reason: one line.
        nodes: names of the nodes at the other end of the sessions that would end, sorted.
        sessions: names of the sessions that would end, sorted.
    """

    reason: str
    nodes: tuple[str, ...]
    sessions: tuple[str, ...]


def judge(
    known: Effects,
    safe: Effects,
    after: Effects,
    limits: Limits,
    *,
    alarm: str = "",
    held: bool = False,
    lately: Collection[str] = (),
) -> Loss | None:
    """Decides whether records that are gone without explanation may take their effects with them.

    Args:
        known: what BIRD was told last.
        safe: what it is told if those records stay in force, with all changes that somebody asked for.
        after: what it is told if they do not.
        alarm: a reason for which no session may end at all, whatever the limits say; empty where there is none.
        held: an earlier decision to hold still stands: it lasts until nothing would be lost any more, since records
            come back in no particular order.
        lately: names of sessions that ended a short time ago without being asked to; the share counts them too, so that
            a loss in many steps is held like one in a single step.

    Returns:
        The loss that must be held, None where everything may go ahead.
    """
    if not limits.percent:
        return None
    sessions, routes = known.limited_to(safe), known.routes & safe.routes
    lost, lost_routes = sorted(sessions.lost(after)), routes - after.routes
    earlier = [name for name in lately if name not in sessions.sessions]
    if not (lost or lost_routes):
        return None
    too_many = limits_exceeded([*lost, *earlier], [*sessions.sessions, *earlier], limits)
    too_many |= limits_exceeded(lost_routes, routes, limits)
    if not (alarm or held or too_many):
        return None
    facts = [alarm] if alarm else []
    if lost:
        facts.append(f"{len(lost)} of {len(sessions.sessions)} sessions would end that nobody asked to end")
        if earlier:
            facts.append(f"{len(earlier)} others ended so in the last hour")
    if lost_routes:
        facts.append(f"{len(lost_routes)} of {len(routes)} blocks and pools are gone that nobody deleted")
    nodes = {session.node for name in lost if (session := sessions.sessions[name]) and session.node}
    return Loss("; ".join(facts), tuple(sorted(nodes)), tuple(lost))


def limits_exceeded(lost: Collection[str], known: Collection[str], limits: Limits) -> bool:
    """Whether so many of the known ones are lost that the loss must be held."""
    return len(known) >= limits.minimum and len(lost) * 100 > limits.percent * len(known)


def _terms(session: Session) -> tuple[object, ...]:
    """What two speakers agree on: if any of it changes, the session restarts as something else."""
    return (
        session.neighbor,
        session.local_as,
        session.remote_as,
        session.rr_client,
        session.cluster_id,
        session.port,
        session.password,
        session.ttl_security,
    )

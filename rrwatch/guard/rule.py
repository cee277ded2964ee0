"""Is it safe? Nodes that vanish all at once are held until they are back, or a person lets them go."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from rrwatch.bgp.topology import Address, Host

Nodes = Mapping[str, Host]
"""By name: those that have records in etcd."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may vanish at once.

    Attributes:
        percent: more than this share of the known nodes is held; 0 turns the guard off.
        minimum: with fewer known nodes no share is held.
    """

    percent: int
    minimum: int


@dataclass(frozen=True, slots=True)
class Held:
    """A change that does not go ahead by itself.

    Attributes:
        reason: one line.
        nodes: those that vanished.
        sessions: those that would end.
    """

    reason: str
    nodes: tuple[str, ...]
    sessions: tuple[str, ...]


def judge(
    known: Nodes,
    now: Nodes,
    limits: Limits,
    *,
    explicit: Collection[str] = (),
    held: bool = False,
    alarm: str = "",
    ending: Callable[[], Collection[str]],
) -> Held | None:
    """Weighs what etcd says now against what was known; -> None where it may go ahead.

    A share of the nodes counts, so that a mistake with one of them is not second-guessed. After an alarm, which is
    etcd's own word that its data are not what they were, no session ends by itself.

    Args:
        known: the nodes that were accepted last.
        explicit: those of which somebody deleted the records one by one; they do not count.
        held: this is the same matter still: it stays held until all those nodes are back, for they come back in no
            particular order.
        alarm: why etcd's data may be others, empty where nothing says so.
        ending: tells the sessions that would end; it is asked only where it matters.
    """
    if not limits.percent:
        return None
    vanished = _vanished(known, now, explicit)
    count = len(known) - len(known.keys() & explicit)
    many = count >= limits.minimum and len(vanished) * 100 > limits.percent * count
    if not (alarm or many or (held and vanished)):
        return None
    sessions = tuple(sorted(ending()))
    if not sessions:
        return None
    share = f"{len(vanished)} of {count} known nodes are gone from etcd all at once"
    return Held("; ".join(part for part in (alarm, share if vanished else "") if part), vanished, sessions)


def _vanished(known: Nodes, now: Nodes, explicit: Collection[str]) -> tuple[str, ...]:
    gone = known.keys() - now.keys() - set(explicit)
    if not gone:
        return ()
    # A node that goes by another name is no node that is gone.
    addresses = frozenset[Address]().union(*(host.known for host in now.values()))
    return tuple(sorted(name for name in gone if not known[name].known & addresses))

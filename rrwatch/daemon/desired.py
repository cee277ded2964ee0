"""What the BIRDs of this host should run, by the records in force. Pure: no I/O."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from rrwatch.bgp.increment import Deriver
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Rejected, Topology
from rrwatch.bird.config import Capabilities
from rrwatch.bird.render import Rendered, Templates
from rrwatch.bird.target import BirdPaths, Target
from rrwatch.calico.store import RecordStore
from rrwatch.errors import MissingRecord
from rrwatch.guard.in_force import Items
from rrwatch.guard.rule import Effects
from rrwatch.roles import Role


@dataclass(frozen=True, slots=True)
class Desired:
    """What the BIRDs of this host should run.

    Attributes:
        topology: the cluster by the records in force.
        derived: the sessions that follow from it.
        capabilities: what the BIRDs understand; None where nothing tells which BIRD there will be.
        unreadable: records whose last readable value is in force.
        passwords: the revision of the passwords that the sessions have, see `rrwatch.daemon.passwords`.
    """

    topology: Topology
    derived: Derived
    capabilities: Capabilities | None
    unreadable: tuple[Rejected, ...] = ()
    passwords: int = 0


def render(
    role: Role, templates: Templates, bird_paths: BirdPaths, desired: Desired, is_ours: Callable[[Target], bool]
) -> dict[Target, Rendered]:
    """Renders the configurations of those BIRDs of this host that have something to do.

    Args:
        is_ours: whether the file of a BIRD is one that rrwatch wrote.

    Raises:
        MissingRecord: a record is missing without which nothing can be rendered.
        TemplateError: a template fails.
    """
    topology, capabilities = desired.topology, desired.capabilities
    if key := role.waits_for(topology):
        raise MissingRecord(f"{key} is missing in etcd, or cannot be read: nothing can be rendered without it")
    if capabilities is None:
        return dict.fromkeys(bird_paths.first(), templates.starter())
    active, rendered = role.families(topology), {}
    for target in bird_paths.targets(capabilities.grammar):
        families = tuple(family for family in target.families if family in active)
        # A file that rrwatch wrote stays its own: the sessions of a family that is no longer wanted must end.
        if families or is_ours(target):
            config = role.config(topology, desired.derived, families or target.families, capabilities)
            rendered[target] = templates.render(replace(config, log=bird_paths.log))
    return rendered


class EffectsOfRecords:
    """What records make the BIRDs of this host do. Only what differs from the records asked about before is derived."""

    def __init__(self, role: Role) -> None:
        """Knows of no records yet."""
        self._role = role
        self._items: Items = {}
        self._store, self._deriver = RecordStore(role.model), Deriver(role.sessions, role.own_hosts)

    def __call__(self, items: Items) -> Effects | None:
        """Returns their effects; None where the BIRDs keep what they have, since a record is missing."""
        changed = {key for key, _ in self._items.items() ^ items.items()}
        self._store.update(changed, items)
        self._items = dict(items)
        topology = self._store.topology()
        if self._role.waits_for(topology):
            return None
        sessions = self._deriver.derive(topology).sessions
        return Effects({session.name: session for session in sessions}, self._role.routes(topology))

"""What the datastore says about the cluster: the prefixes that the role needs, followed until all of them are known."""

from rrwatch.bgp.topology import Topology
from rrwatch.daemon.reconciler import Reconciler
from rrwatch.datastore.folders import Folders
from rrwatch.datastore.port import Changes, Snapshot
from rrwatch.roles import Role


class Cluster:
    """The way from the datastore's events to a topology.

    Which prefixes matter depends on the topology: a node needs the other nodes only under a node mesh. So a topology
    counts only when everything is known that it makes matter; until then the one before does.
    """

    def __init__(self, role: Role, folders: Folders, reconciler: Reconciler) -> None:
        """Follows nothing yet."""
        self._role, self._folders, self._reconciler = role, folders, reconciler
        self._basis = frozenset(role.prefixes(None))
        self._followed: frozenset[str] = frozenset()
        self._has_news = True
        self._topology: Topology | None = None

    def start(self) -> None:
        """Follows the prefixes that matter in any case."""
        self._folders.want(self._role.prefixes(None))

    def take(self, event: Snapshot | Changes) -> set[str]:
        """Takes an event; returns the keys that differ now."""
        # Even an empty folder can complete what is known.
        self._has_news |= not self._folders.is_complete()
        changed = self._folders.take(event)
        self._has_news |= bool(changed)
        self._reconciler.hear(event, changed)
        return changed

    @property
    def has_news(self) -> bool:
        """Whether `topology` has something to do."""
        return self._has_news or self._reconciler.guard.has_doubts

    def topology(self) -> Topology | None:
        """Returns the cluster by the records in force, None where too little is known yet."""
        folders, guard = self._folders, self._reconciler.guard
        # While a prefix that has come to matter is not listed yet, it may cease to matter.
        if not (self.has_news or guard.hold) or not folders.has_listed(self._basis):
            return self._topology
        topology = self._reconciler.settle(folders.items)
        folders.want(self._role.prefixes(topology))
        if not folders.is_complete():
            return self._topology  # without what matters now, sessions would end
        folders.narrow()
        if folders.wanted != self._followed:
            self._followed = self._basis = folders.wanted
            guard.forget_all_but(folders.wanted)
            topology = self._reconciler.settle(folders.items)
        self._topology, self._has_news = topology, False
        return topology

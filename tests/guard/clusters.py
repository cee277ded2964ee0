"""A small cluster for tests of the guard: a reflector at 172.17.42.40, and nodes n1, n2... as its clients."""

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address
from pathlib import Path

from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Family
from rrwatch.calico.v1 import V1
from rrwatch.daemon.desired import EffectsOfRecords
from rrwatch.datastore.follow import Alarm
from rrwatch.datastore.mirror import Mirror
from rrwatch.datastore.port import Change, Changes, Snapshot
from rrwatch.errors import StateError
from rrwatch.guard.baseline import StateFolder
from rrwatch.guard.guard import Guard
from rrwatch.guard.rule import Effects, Limits
from rrwatch.roles import ReflectorRole, Role
from tests.keys import CLUSTER, PREFIX, REFLECTOR, global_peer, host

ROLE = ReflectorRole(IPv4Address(REFLECTOR), Speaker({Family.IPV4: IPv4Address(REFLECTOR)}), V1)

GLOBAL = {key: value for key, value in CLUSTER.items() if f"{PREFIX}/host/" not in key}
PEER = next(iter(global_peer(REFLECTOR)))

LIMITS = Limits(50, 5)


def node(number: int) -> dict[str, str]:
    """The keys of one node."""
    return host(f"n{number}", f"10.0.0.{number}")


def cluster(*numbers: int) -> dict[str, str]:
    """The global keys, and those of some nodes."""
    return GLOBAL | {key: value for number in numbers for key, value in node(number).items()}


def names(*numbers: int) -> set[str]:
    """The reflector's sessions with some nodes."""
    return {f"Global_10_0_0_{number}" for number in numbers}


def sessions(items: Mapping[str, str], role: Role = ROLE) -> set[str]:
    """The names of the sessions that follow from keys and values."""
    found: Effects | None = EffectsOfRecords(role)(items)
    assert found
    return set(found.sessions)


class Host:
    """A reflector with its guard and a mirror of etcd, which a test feeds with events."""

    def __init__(
        self,
        folder: Path,
        *,
        role: str = "me",
        limits: Limits = LIMITS,
        running: Collection[str] = (),
        is_what: Role = ROLE,
        prefix: str = PREFIX,
    ) -> None:
        self.is_what, self.prefix = is_what, prefix
        self.errors: list[StateError] = []
        self.folder = StateFolder(folder)
        self.mirror = Mirror(prefix)
        self.index = 0
        self.in_force: dict[str, str] = {}
        self.guard = Guard(
            self.folder,
            limits,
            role,
            is_what.model,
            effects=EffectsOfRecords(is_what),
            running=lambda: running,
            on_error=self.errors.append,
        )

    def list(self, items: Mapping[str, str], index: int = 10, cluster_id: str = "c") -> "Host":
        """Lists etcd, which holds these items."""
        self.index = index
        snapshot = Snapshot(self.prefix, items, index, cluster_id, "http://e")
        self.guard.hear(snapshot, self.mirror.replace(snapshot))
        return self

    def change(self, *changes: Change) -> "Host":
        """Hands over one revision."""
        self.index += 1
        event = Changes(self.prefix, changes, self.index)
        self.guard.hear(event, self.mirror.apply(event))
        return self

    def delete(self, key: str, *, expired: bool = False) -> "Host":
        """Deletes a key or a folder."""
        return self.change(Change(key, None, subtree=True, expired=expired))

    def put(self, items: Mapping[str, str]) -> "Host":
        """Writes keys, one after the other."""
        for key, value in items.items():
            self.change(Change(key, value))
        return self

    def alarm(self, reason: str = "etcd went back") -> "Host":
        """Has the follower find that etcd is not what it was."""
        self.guard.hear(Alarm(self.prefix, "http://e", reason))
        return self

    def settle(self) -> set[str]:
        """Returns the names of the sessions that BIRD is told to run."""
        verdict = self.guard.settle(self.mirror.items)
        # Whoever follows the verdicts by their changes has the same records.
        assert {key for key, _ in self.in_force.items() ^ verdict.items.items()} <= verdict.changed
        self.in_force = dict(verdict.items)
        return set() if verdict.keep_installed else sessions(verdict.items, self.is_what)

    @property
    def reason(self) -> str:
        """Why something is held, empty where nothing is."""
        return self.guard.hold.loss.reason if self.guard.hold else ""

    def release(self) -> None:
        """Leaves an operator's request to release what is held."""
        assert self.guard.hold
        self.folder.ask_release(self.guard.hold)

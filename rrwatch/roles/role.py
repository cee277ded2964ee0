"""The port for a role: what this host is, and so which sessions its BIRDs must hold."""

from collections.abc import Sequence
from typing import Protocol

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Family, Topology
from rrwatch.bird.config import Capabilities, Config
from rrwatch.calico.model import DataModel


class Role(Protocol):
    """What a host is: `ReflectorRole` or `NodeRole`. A role has no state and does no I/O."""

    @property
    def model(self) -> DataModel:
        """What the keys mean."""

    @property
    def all_prefixes(self) -> tuple[str, ...]:
        """All folders of keys that can ever matter to the role."""

    @property
    def takes_filters(self) -> bool:
        """Whether the custom filters of operators count."""

    def own_hosts(self, topology: Topology) -> tuple[str, ...]:
        """Returns the names of the hosts that every session depends on, in addition to its neighbor."""

    def with_model(self, model: DataModel) -> "Role":
        """Returns the same role for keys of another data model."""

    def summary(self) -> str:
        """Returns what the host is and which one, for people."""

    def baseline(self) -> str:
        """Returns the name of its baseline, which stays the same when a family is added."""

    def advice(self) -> str:
        """Returns what may be missing if no session follows, for people."""

    def prefixes(self, topology: Topology | None) -> tuple[str, ...]:
        """Returns the folders of keys that must be known.

        Args:
            topology: what is known so far, None at the start.
        """

    def waits_for(self, topology: Topology) -> str:
        """Returns the key without which there is no configuration; empty if none is missing."""

    def families(self, topology: Topology) -> tuple[Family, ...]:
        """Returns the address families whose BIRDs have something to do."""

    def routes(self, topology: Topology) -> frozenset[str]:
        """Returns the keys of the blocks and pools that the host's own routes depend on."""

    def sessions(self, topology: Topology) -> Derived:
        """Derives the sessions, and the remarks about records that they depend on."""

    def with_remarks(self, derived: Derived, topology: Topology, capabilities: Capabilities | None) -> Derived:
        """Adds the remarks about records that no session depends on, and about what BIRD does not support."""

    def config(
        self, topology: Topology, derived: Derived, families: Sequence[Family], capabilities: Capabilities
    ) -> Config:
        """Returns the content of the configuration for the BIRD of those families; nothing may be missing."""


def derive(role: Role, topology: Topology, capabilities: Capabilities | None = None) -> Derived:
    """Derives all that follows from a topology."""
    return role.with_remarks(role.sessions(topology), topology, capabilities)

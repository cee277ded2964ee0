"""The port for a data model: what the keys and values of a datastore mean."""

from collections.abc import Sequence
from typing import Protocol

from rrwatch.bgp.topology import Address, KeyNames, Record, Rejected


class DataModel(Protocol):
    """Reads keys and values, and names keys.

    A model has no state and does no I/O. `rrwatch.calico.v1` is one; another one is a class with these methods and an
    entry in `rrwatch.calico.models`.
    """

    @property
    def names(self) -> KeyNames:
        """How its keys are called, for remarks about records that are missing."""

    @property
    def root(self) -> str:
        """The folder of the keys that sessions follow from; an etcd in which it is empty is not the one it was."""

    def parse(self, key: str, value: str) -> Sequence[Record | Rejected]:
        """Reads one key: what it says, in any number of records; none where it says nothing about BGP. Never raises."""

    def reflector_folders(self) -> tuple[str, ...]:
        """The folders that a route reflector has to know."""

    def node_folders(self, name: str, *, mesh: bool) -> tuple[str, ...]:
        """The folders that a node of that name has to know.

        Args:
            mesh: every node peers with every other, so that the other nodes' keys matter too.
        """

    def all_node_folders(self, name: str) -> tuple[str, ...]:
        """The folders that can ever matter to a node of that name."""

    def peer_of_all(self, address: Address) -> str:
        """The key that makes every node peer with an address."""

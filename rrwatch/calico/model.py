"""The port for data models: what the keys and values in a datastore mean."""

from collections.abc import Sequence
from typing import Protocol

from rrwatch.bgp.topology import Address, KeyNames, Record, Rejected


class DataModel(Protocol):
    """Parses keys and values into records, and knows the names of keys.

    A model has no state and does no I/O. `rrwatch.calico.v1.CalicoV1` is one. To add another one, write a class with
    these methods and add it to `rrwatch.calico.models`; `tests/calico/flat.py` is a small example.
    """

    @property
    def names(self) -> KeyNames:
        """The names of its keys, for remarks about missing records."""

    @property
    def root(self) -> str:
        """The folder with the keys that sessions follow from. If it becomes empty, the guard holds everything."""

    def parse(self, key: str, value: str) -> Sequence[Record | Rejected]:
        """Parses one key into any number of records; none if the key is not about BGP. Never raises."""

    def reflector_folders(self) -> tuple[str, ...]:
        """Returns the folders that a route reflector needs."""

    def node_folders(self, name: str, *, mesh: bool) -> tuple[str, ...]:
        """Returns the folders that a node needs now.

        Args:
            name: the node's name.
            mesh: whether every node peers with every other, so that it needs the other nodes' keys too.
        """

    def all_node_folders(self, name: str) -> tuple[str, ...]:
        """Returns the folders that a node of that name can ever need."""

    def peer_of_all(self, address: Address) -> str:
        """Returns the key that makes every node peer with an address."""

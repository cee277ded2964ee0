"""One endpoint of etcd after the other: what the adapters for both of its APIs have in common."""

import itertools
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from rrwatch.datastore.access import Access
from rrwatch.datastore.members import Members


class Client(Protocol):
    """A client of one endpoint."""

    endpoint: str

    def close(self) -> None:
        """Closes its connections."""

    def cut(self) -> None:
        """Shuts its connections down, which ends a call in another thread."""


_C = TypeVar("_C", bound=Client)


class Rotation(Generic[_C]):
    """The client of the endpoint that is asked now."""

    def __init__(self, make_client: Callable[[str, Access], _C], access: Access, members: Members) -> None:
        """Begins with the first endpoint.

        Args:
            make_client: makes the client of one endpoint, without connecting.
            members: which endpoints there are, in the order in which to ask them.
        """
        self._make_client, self._access, self._members = make_client, access, members
        self._endpoints = itertools.cycle(members.order)
        self._client = make_client(next(self._endpoints), access)

    @property
    def endpoint(self) -> str:
        """The URL that is asked now."""
        return self._client.endpoint

    def rotate(self) -> None:
        """Moves on to the next endpoint, with new connections."""
        self._client.close()
        self._client = self._make_client(next(self._endpoints), self._access)

    def interrupt(self) -> None:
        """Shuts the connections down, which ends a call in another thread."""
        self._client.cut()

"""Followers and servers that end with the test."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from lab.etcd import Etcd
from tests.datastore.relay import Relay
from tests.datastore.server import Answer, Request, Server

Serve = Callable[[Callable[[Request], Answer] | bytes], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers each request with the result of a function, or with the same bytes."""
    with contextlib.ExitStack() as stack:

        def serve(reply: Callable[[Request], Answer] | bytes) -> Server:
            server = Server(reply if callable(reply) else lambda _: reply)
            return stack.enter_context(server)

        yield serve


@pytest.fixture
def relay(etcd: Etcd) -> Iterator[Relay]:
    """A relay in front of a running etcd."""
    relay = Relay(etcd.url)
    yield relay
    relay.close()

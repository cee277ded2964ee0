"""Network namespaces, and the cables between them: no packet leaves this machine."""

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator

from lab.process import program

_numbers = itertools.count(1)


class Namespace:
    """A network namespace, with nothing but its loopback interface up."""

    def __init__(self) -> None:
        self.name = f"rrw-{os.getpid()}-{next(_numbers)}"
        _ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> str:
        """Runs `ip` in it; -> what it printed."""
        return _ip("-n", self.name, *arguments)

    def bgp_connections(self, peer: str) -> set[str]:
        """The TCP connections with a BGP peer, by both ends' ports: a session that was up all the time keeps its own.

        BIRD's own `since` is no such witness: 1.6 may print the next second for the same moment.
        """
        rows = subprocess.run(
            [program("ss"), "-N", self.name, "-Htn", "state", "established", "dst", peer],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.splitlines()
        ends = (row.split()[-2:] for row in rows)
        return {f"{near} {far}" for near, far in ends if near.endswith(":179") or far.endswith(":179")}

    def remove(self) -> None:
        """Takes it away, and every interface in it."""
        _ip("netns", "delete", self.name)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace that is taken away at the end."""
    made = Namespace()
    try:
        yield made
    finally:
        made.remove()


def join(one: Namespace, one_address: str, other: Namespace, other_address: str) -> None:
    """Puts a cable between two namespaces.

    Args:
        one_address, other_address: with the length of the prefix.
    """
    near, far = f"v{next(_numbers)}", f"v{next(_numbers)}"
    _ip("-n", one.name, "link", "add", near, "type", "veth", "peer", "name", far, "netns", other.name)
    for space, interface, address in (one, near, one_address), (other, far, other_address):
        space.ip("address", "add", address, "dev", interface)
        space.ip("link", "set", interface, "up")


class Switch:
    """One layer-2 network, with as many sockets as are asked for."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        """Lays it.

        Args:
            stack: takes it away again at its end, with all that is plugged in.
        """
        self._stack = stack
        self._space = stack.enter_context(namespace())
        self._space.ip("link", "add", "switch", "type", "bridge")
        self._space.ip("link", "set", "switch", "up")

    def plug(self, address: str, space: Namespace | None = None, interface: str = "eth0") -> Namespace:
        """Plugs a namespace in, a new one where none is given; -> it.

        Args:
            address: with the length of the prefix.
        """
        space = space or self._stack.enter_context(namespace())
        cable = f"p{next(_numbers)}"
        command = ["link", "add", cable, "type", "veth", "peer", "name", interface, "netns", space.name]
        self._space.ip(*command)
        self._space.ip("link", "set", cable, "master", "switch", "up")
        space.ip("address", "add", address, "dev", interface)
        space.ip("link", "set", interface, "up")
        return space


def _ip(*arguments: str) -> str:
    done = subprocess.run([program("ip"), *arguments], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout

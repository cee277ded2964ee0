"""Network namespaces and the links between them. No packet leaves this machine."""

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator

from lab.process import program

_numbers = itertools.count(1)


class Namespace:
    """A network namespace in which only the loopback interface is up."""

    def __init__(self) -> None:
        self.name = f"rrw-{os.getpid()}-{next(_numbers)}"
        _ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> str:
        """Runs `ip` in it, and returns the output."""
        return _ip("-n", self.name, *arguments)

    def bgp_connections(self, peer: str, port: int = 179) -> set[str]:
        """Returns the TCP connections with a BGP peer by the ports of both ends, which change if a session is reset.

        Only connections in which one of the ends has the given port count.

        BIRD's own `since` cannot show that: 1.6 may print the next second for the same moment.
        """
        rows = subprocess.run(
            [program("ss"), "-N", self.name, "-Htn", "state", "established", "dst", peer],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.splitlines()
        ends = (row.split()[-2:] for row in rows)
        return {f"{near} {far}" for near, far in ends if near.endswith(f":{port}") or far.endswith(f":{port}")}

    def remove(self) -> None:
        """Removes it with all its interfaces."""
        _ip("netns", "delete", self.name)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """Provides a namespace that is removed at the end."""
    made = Namespace()
    try:
        yield made
    finally:
        made.remove()


def join(one: Namespace, one_address: str, other: Namespace, other_address: str) -> None:
    """Connects two namespaces with a veth pair.

    Args:
        one, other: the namespaces.
        one_address, other_address: their addresses, with the prefix length.
    """
    near, far = f"v{next(_numbers)}", f"v{next(_numbers)}"
    _ip("-n", one.name, "link", "add", near, "type", "veth", "peer", "name", far, "netns", other.name)
    for space, interface, address in (one, near, one_address), (other, far, other_address):
        space.ip("address", "add", address, "dev", interface)
        space.ip("link", "set", interface, "up")


class Switch:
    """A layer-2 network that any number of namespaces can be connected to."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        """Creates the bridge in a namespace of its own.

        Args:
            stack: removes everything that was created when it is closed.
        """
        self._stack = stack
        self._space = stack.enter_context(namespace())
        self._space.ip("link", "add", "switch", "type", "bridge")
        self._space.ip("link", "set", "switch", "up")

    def plug(self, address: str, space: Namespace | None = None, interface: str = "eth0") -> Namespace:
        """Connects a namespace, or a new one if none is given, and returns it.

        Args:
            address: its address, with the prefix length.
            space: the namespace.
            interface: the name of the interface in it.
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

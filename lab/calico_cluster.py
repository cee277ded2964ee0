"""A cluster of Calico 3: nodes as calico-node runs them, etcd v3, and route reflectors with rrwatch, on one network."""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from lab.bird import BIRD1, Release
from lab.calico_node import CalicoNodes
from lab.cluster import Host, start_host
from lab.environment import reflector
from lab.etcd_v3 import EtcdV3
from lab.network import Switch


class CalicoCluster:
    """Resources are applied to etcd and to the nodes, which have no rrwatch."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, etcd: str, without: Collection[str] = ()) -> None:
        """Starts etcd.

        Args:
            folder: for the files of all programs.
            stack: ends everything when it is closed.
            etcd: the address of etcd's host.
            without: names of Nodes on whose hosts no calico-node runs.
        """
        self._folder, self._stack = folder, stack
        self._switch = Switch(stack)
        space = self._switch.plug(f"{etcd}/16")
        self.etcd = EtcdV3(folder / "etcd", namespace=space.name, address=etcd)
        self.etcd.start()
        stack.callback(self.etcd.stop)
        self.nodes = CalicoNodes(folder, self._switch, stack, without)
        self.secrets: dict[str, dict[str, str]] = {}
        """The passwords that the nodes know, by the name of the secret and the key in it."""
        self._keys: dict[str, str] = {}

    def apply(self, keys: dict[str, str]) -> None:
        """Writes resources, as `calicoctl apply` does."""
        self._keys |= keys
        self.etcd.put_all(keys)
        self.nodes.update(self._keys, self.secrets)

    def delete(self, *keys: str) -> None:
        """Deletes resources."""
        for key in keys:
            del self._keys[key]
            self.etcd.delete(key)
        self.nodes.update(self._keys, self.secrets)

    def add_reflector(self, name: str, address: str, release: Release = BIRD1, /, **variables: str) -> Host:
        """Adds a route reflector: BIRD, and rrwatch with more environment variables."""
        settings = {"RRWATCH_DATASTORE": "etcdv3", **reflector(address), **variables}
        space = self._switch.plug(f"{address}/16")
        if "IP6" in settings:
            space.ip("address", "add", f"{settings['IP6']}/64", "dev", "eth0", "nodad")
        return start_host(self._folder, self._stack, name, address, space, release, self.etcd.url, settings)


@contextlib.contextmanager
def calico_cluster(folder: Path, etcd: str) -> Iterator[CalicoCluster]:
    """Provides a cluster without nodes, which is removed at the end."""
    with contextlib.ExitStack() as stack:
        yield CalicoCluster(folder, stack, etcd)

"""The hosts of the walkthrough on one layer-2 network. Each is a namespace with a BIRD and an rrwatch."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import environment
from lab.bird import BIRD1, MINIMAL, Bird, Release
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.etcd_v3 import EtcdV3
from lab.network import Namespace, Switch
from lab.process import inside

PREFIX = "/calico/bgp/v1"
AS_NUMBER = "65100"


@dataclass(slots=True)
class Host:
    """One machine of the cluster."""

    name: str
    address: str
    space: Namespace
    bird: Bird
    rrwatch: Rrwatch
    settings: dict[str, str]

    def run(self, *arguments: str) -> str:
        """Runs an rrwatch command on it, and returns what it printed."""
        command = [*inside(self.space.name), sys.executable, "-m", "rrwatch", *arguments]
        done = subprocess.run(command, env=self.settings, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"rrwatch {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def routes(self) -> list[str]:
        """Returns the lines of its `ip route`, without trailing spaces."""
        return [" ".join(line.split()) for line in self.space.ip("route", "show").splitlines()]

    def bird_routes(self) -> set[str]:
        """Returns the routes that BIRD exported to its kernel."""
        return {route for route in self.routes() if "proto bird" in route}


class Cluster:
    """A switch and hosts, which are added one by one; etcd runs on the first one."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, datastore: str = "etcdv2") -> None:
        """Creates the switch.

        Args:
            folder: for everything that the hosts write.
            stack: removes everything when it is closed.
            datastore: which API of etcd has the keys: etcdv2, or etcdv3 on an etcd without the other one.
        """
        self._folder, self._stack, self._datastore = folder, stack, datastore
        self._switch = Switch(stack)
        self.hosts: dict[str, Host] = {}
        self._etcd: Etcd | None = None

    @property
    def etcd(self) -> Etcd:
        """The etcd on the first host."""
        assert self._etcd
        return self._etcd

    def add_node(
        self,
        name: str,
        address: str,
        block: str | None = None,
        workloads: tuple[str, ...] = (),
        release: Release = BIRD1,
    ) -> Host:
        """Adds a Calico node: its records in etcd, interfaces for its workloads, BIRD, and rrwatch in the node role.

        Args:
            name: the node's name.
            address: the node's address.
            block: the block of addresses for its workloads.
            workloads: the addresses of its workloads.
            release: the release of its BIRD.
        """
        space = self._switch.plug(f"{address}/16")
        if self._etcd is None:
            kind = EtcdV3 if self._datastore == "etcdv3" else Etcd
            self._etcd = kind(self._folder / "etcd", namespace=space.name, address=address).start()
            self._stack.callback(self._etcd.stop)
            self.etcd.put(f"{PREFIX}/global/as_num", AS_NUMBER)
            self.etcd.put(f"{PREFIX}/global/node_mesh", '{"enabled": true}')
            self.etcd.put("/calico/v1/ipam/v4/pool/192.168.0.0-16", '{"cidr": "192.168.0.0/16"}')
        self.etcd.put_all({f"{PREFIX}/host/{name}/ip_addr_v4": address, f"{PREFIX}/host/{name}/ip_addr_v6": ""})
        if block:
            self.etcd.put(f"/calico/ipam/v2/host/{name}/ipv4/block/{block.replace('/', '-')}", "")
        for number, workload in enumerate(workloads):
            space.ip("link", "add", f"cali{number}", "type", "veth", "peer", "name", f"pod{number}")
            space.ip("link", "set", f"cali{number}", "up")
            space.ip("link", "set", f"pod{number}", "up")
            space.ip("route", "add", workload, "dev", f"cali{number}", "scope", "link")
        return self._add(name, address, space, release, environment.node(name))

    def add_reflector(self, name: str, address: str, release: Release = BIRD1) -> Host:
        """Adds a route reflector: BIRD, and rrwatch in the reflector role."""
        return self._add(name, address, self._switch.plug(f"{address}/16"), release, environment.reflector(address))

    def _add(self, name: str, address: str, space: Namespace, release: Release, role: dict[str, str]) -> Host:
        role |= {"RRWATCH_DATASTORE": self._datastore, "RRWATCH_MODEL": "calico-v1"}
        self.hosts[name] = start_host(self._folder, self._stack, name, address, space, release, self.etcd.url, role)
        return self.hosts[name]


def start_host(
    folder: Path,
    stack: contextlib.ExitStack,
    name: str,
    address: str,
    space: Namespace,
    release: Release,
    etcd: str,
    variables: dict[str, str],
) -> Host:
    """Starts BIRD and rrwatch in a namespace.

    Args:
        folder: for their files.
        stack: stops them when it is closed.
        name: the host's name.
        address: the host's address.
        space: the namespace.
        release: the release of BIRD.
        etcd: the URL of etcd.
        variables: the environment of rrwatch, as far as it does not follow from the rest.
    """
    bird = Bird(folder / name, space, release=release)
    bird.config.write_text(MINIMAL)
    bird.start()
    stack.callback(bird.stop)
    state = folder / f"{name}-state"
    settings = environment.beside(bird, etcd, state, RRWATCH_STATUS_LISTEN="127.0.0.1:9817", **variables)
    rrwatch = Rrwatch(folder / f"{name}-rrwatch", settings, namespace=space.name)
    stack.callback(rrwatch.stop)
    return Host(name, address, space, bird, rrwatch, settings)


@contextlib.contextmanager
def cluster(folder: Path, datastore: str = "etcdv2") -> Iterator[Cluster]:
    """Provides a cluster without hosts, which is removed at the end."""
    with contextlib.ExitStack() as stack:
        yield Cluster(folder, stack, datastore)

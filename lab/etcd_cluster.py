"""Runs an etcd of three members on hosts of their own, with one network for peers and another one for clients."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from lab.etcd import Etcd
from lab.network import Namespace, Switch
from lab.process import inside, wait_until

# One process makes many writes over one connection.
_WRITE = """
import http.client, sys
host, port, count, key = sys.argv[1:]
connection = http.client.HTTPConnection(host, int(port), timeout=20)
for number in range(int(count)):
    body = f"value={number}"
    connection.request("PUT", "/v2/keys" + key.replace("{}", str(number % 50)), body,
                 {"Content-Type": "application/x-www-form-urlencoded"})
    connection.getresponse().read()
"""

_STATUS = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"


class EtcdCluster:
    """The three members, and a namespace for clients."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, kind: type[Etcd] = Etcd) -> None:
        """Creates both networks; `start()` starts all members.

        Args:
            folder: for data and logs.
            stack: stops and removes everything when it is closed.
            kind: the class of a member.
        """
        clients, peers = Switch(stack), Switch(stack)
        self.client: Namespace = clients.plug("10.99.0.9/24")
        self._spaces: dict[str, Namespace] = {}
        urls = {f"m{number}": f"http://10.98.0.{number}:2380" for number in (1, 2, 3)}
        self.members: list[Etcd] = []
        for number, name in enumerate(urls, start=1):
            space = peers.plug(f"10.98.0.{number}/24", clients.plug(f"10.99.0.{number}/24"), "peers")
            self._spaces[name] = space
            member = kind(
                folder / name,
                namespace=space.name,
                address=f"10.99.0.{number}",
                members=urls,
                name=name,
                asked_from=self.client.name,
                flags=("--snapshot-count", "500"),
            )
            self.members.append(member)
            stack.callback(member.kill)

    def start(self) -> "EtcdCluster":
        """Starts all members, and waits until they answer."""
        for member in self.members:
            member.launch()
        for member in self.members:
            wait_until(member.answers, f"etcd {member.name}", 60)
        return self

    @property
    def urls(self) -> str:
        """The URLs of all members, as in ETCD_ENDPOINTS."""
        return ",".join(member.url for member in self.members)

    def leader(self) -> Etcd:
        """Waits for a leader, and returns it."""

        def found() -> Etcd | None:
            for member in self.members:
                with contextlib.suppress(OSError, ValueError):
                    if self._stats(member)["state"] == "StateLeader":
                        return member
            return None

        leader = wait_until(found, "a leader", 30)
        assert leader
        return leader

    def partition(self, member: Etcd) -> None:
        """Cuts a member off from its peers; clients still reach it."""
        self._spaces[member.name].ip("link", "set", "peers", "down")

    def heal(self, member: Etcd) -> None:
        """Connects it with its peers again."""
        self._spaces[member.name].ip("link", "set", "peers", "up")

    def write(self, member: Etcd, key: str, count: int) -> None:
        """Writes many values to 50 keys in turn; `{}` in the key stands for the number of the key."""
        host, _, port = member.url.removeprefix("http://").partition(":")
        command = [*inside(self.client.name), sys.executable, "-c", _WRITE, host, port, str(count), key]
        subprocess.run(command, check=True, timeout=120, capture_output=True)

    def _stats(self, member: Etcd) -> dict[str, str]:
        command = [*inside(self.client.name), sys.executable, "-c", _STATUS, f"{member.url}/v2/stats/self"]
        done = subprocess.run(command, capture_output=True, timeout=15, check=False)
        if done.returncode:
            raise OSError(done.stderr.decode(errors="replace"))
        answer: dict[str, str] = json.loads(done.stdout)
        return answer

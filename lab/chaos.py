"""Random writes and faults, repeatable by a seed, against a three-member etcd, a BIRD and an rrwatch."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab import environment
from lab.bird import BIRD2, MINIMAL, Bird, Release
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.etcd_cluster import EtcdCluster
from lab.etcd_v3 import EtcdV3
from lab.process import inside, wait_until

PREFIX = "/calico/bgp/v1"
REFLECTOR = "10.99.0.9"
NODES = 60

# A client that writes to whichever member answers. It reads one write from each line, and prints one line for each.
_WRITER = """
import sys, urllib.error, urllib.parse, urllib.request
urls = sys.argv[1].split(",")
for line in sys.stdin:
    method, key, value = line.rstrip("\\n").split("\\t")
    body = urllib.parse.urlencode({"value": value}).encode() if method == "PUT" else None
    done = False
    for url in urls:
        query = "?recursive=true" if method == "DELETE" else ""
        try:
            urllib.request.urlopen(
                urllib.request.Request(url + "/v2/keys" + key + query, body, method=method), timeout=1).read()
            done = True
        except urllib.error.HTTPError as error:
            done = error.code == 404
        except OSError:
            pass
        if done:
            break
    print("done" if done else "failed", flush=True)
"""

_V3_WRITER = """
import base64, json, sys, urllib.request
urls = sys.argv[1].split(",")
def encoded(text): return base64.b64encode(text.encode()).decode()
for line in sys.stdin:
    method, key, value = line.rstrip("\\n").split("\\t")
    if method == "PUT":
        path, message = "put", {"key": encoded(key), "value": encoded(value)}
    else:
        path, message = "deleterange", {"key": encoded(key + "/"), "range_end": encoded(key + "0")}
    done = False
    for url in urls:
        try:
            urllib.request.urlopen(f"{url}/v3/kv/{path}", json.dumps(message).encode(), timeout=1).read()
            done = True
            break
        except OSError:
            pass
    print("done" if done else "failed", flush=True)
"""


class Chaos:
    """A cluster, and the random actions on it; `act()` performs one."""

    def __init__(
        self,
        folder: Path,
        stack: contextlib.ExitStack,
        seed: int,
        *,
        release: Release = BIRD2,
        spare_rrwatch: bool = False,
        datastore: str = "etcdv2",
    ) -> None:
        """Starts everything, and writes the first nodes.

        Args:
            folder: for everything that the programs write.
            stack: stops and removes everything when it is closed.
            seed: determines the actions.
            release: the release of BIRD.
            spare_rrwatch: never kill rrwatch, so that it can be measured.
            datastore: which API of etcd has the keys.
        """
        self.random = random.Random(seed)  # repeatable by intent
        self.etcd = EtcdCluster(folder, stack, EtcdV3 if datastore == "etcdv3" else Etcd).start()
        space = self.etcd.client
        self.bird = Bird(folder / "bird", space, release=release)
        self.bird.config.write_text(MINIMAL)
        self.bird.start()
        stack.callback(self.bird.stop)
        self._writer = stack.enter_context(
            subprocess.Popen(
                [
                    *inside(space.name),
                    sys.executable,
                    "-c",
                    _V3_WRITER if datastore == "etcdv3" else _WRITER,
                    self.etcd.urls,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        stack.callback(self._writer.kill)
        self._folder, self._stack = folder, stack
        # The guard would hold the wipes, which are intended here.
        self._settings = environment.beside(
            self.bird, self.etcd.urls, RRWATCH_GUARD_PERCENT="0", **environment.reflector(REFLECTOR)
        )
        self._settings |= {"RRWATCH_DATASTORE": datastore, "RRWATCH_MODEL": "calico-v1"}
        self._cluster()
        self.rrwatch = self._start_rrwatch()
        self._troubled: dict[str, tuple[float, Callable[[], None]]] = {}
        self.actions = [
            *[self.write] * 12, self.delete, self.kill_etcd, self.freeze_etcd, self.partition, self.kill_bird,
            self.freeze_bird, self.damage, self.damage_state, self.reload,
        ]  # fmt: skip
        if not spare_rrwatch:
            self.actions += [self.kill_rrwatch, self.wipe]
        self.done: dict[str, int] = {}

    def act(self) -> None:
        """Performs one random action, and ends earlier faults whose time is over."""
        action = self.random.choice(self.actions)
        self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
        action()
        self._heal(time.monotonic())

    def end(self) -> set[str]:
        """Ends all faults, and returns the names of the sessions that etcd asks for."""
        self._heal(float("inf"))
        for member in self.etcd.members:
            wait_until(member.answers, f"etcd {member.name}", 60)
        items = self.etcd.members[0].items(PREFIX)
        if f"{PREFIX}/global/peer_v4/{REFLECTOR}" not in items:
            return set()
        addresses = (value for key, value in items.items() if key.endswith("/ip_addr_v4") and value)
        return {f"Global_{address.replace('.', '_')}" for address in addresses}

    def write(self) -> None:
        """Adds, moves or removes some nodes."""
        for _ in range(self.random.randint(1, 10)):
            number = self.random.randrange(NODES)
            key = f"{PREFIX}/host/n{number}"
            if self.random.random() < 0.3:
                self._tell("DELETE", key)
            else:
                self._tell("PUT", f"{key}/ip_addr_v4", f"10.50.{number}.{self.random.randint(1, 250)}")

    def delete(self) -> None:
        """Deletes all nodes at once."""
        self._tell("DELETE", f"{PREFIX}/host")

    def wipe(self) -> None:
        """Wipes all members of etcd, and writes the first nodes again."""
        self._heal(float("inf"))
        for member in self.etcd.members:
            member.kill()
            member.wipe()
        self.etcd.start()
        self._cluster()

    def kill_etcd(self) -> None:
        """Kills a member, and starts it some seconds later."""
        if member := self._member():
            member.kill()
            self._later(member, 5, member.launch)

    def freeze_etcd(self) -> None:
        """Makes a member hang."""
        if member := self._member():
            member.process.signal(signal.SIGSTOP)
            self._later(member, 5, lambda: member.process.signal(signal.SIGCONT))

    def partition(self) -> None:
        """Cuts a member off from the others."""
        if member := self._member():
            self.etcd.partition(member)
            self._later(member, 8, lambda: self.etcd.heal(member))

    def kill_bird(self) -> None:
        """Kills BIRD, and starts it again until it finds a file that it can read, as a service manager does."""
        self.bird.kill()
        time.sleep(self.random.uniform(0, 0.5))
        wait_until(self._is_bird_back, "BIRD is back", 60)

    def _is_bird_back(self) -> bool:
        try:
            self.bird.start()
        except RuntimeError:
            return False
        return True

    def freeze_bird(self) -> None:
        """Makes BIRD hang for a moment."""
        with self.bird.process.frozen():
            time.sleep(self.random.uniform(0, 1.5))

    def damage(self) -> None:
        """Edits, truncates or removes BIRD's configuration, and may reload BIRD."""
        with contextlib.suppress(OSError):
            text = self.bird.config.read_text()
            match self.random.randrange(3):
                case 0:
                    self.bird.config.write_text(text + "# by hand\n")
                case 1:
                    os.truncate(self.bird.config, len(text) // 2)
                case _:
                    self.bird.config.unlink()
        if self.random.random() < 0.5:
            with contextlib.suppress(RuntimeError):
                self.bird.command("configure")

    def damage_state(self) -> None:
        """Truncates what rrwatch remembers, or puts something else in its place."""
        for path in self._folder.joinpath("state").glob("*.json*"):
            text = path.read_bytes()
            path.write_bytes(self.random.choice([b"", text[: len(text) // 2], b"\xff" + text, b'{"format": 99}']))

    def reload(self) -> None:
        """Sends SIGHUP."""
        self.rrwatch.wait_for("started")
        self.rrwatch.process.signal(signal.SIGHUP)

    def kill_rrwatch(self) -> None:
        """Kills rrwatch, and starts it again."""
        self.rrwatch.kill()
        self.rrwatch = self._start_rrwatch()

    def _cluster(self) -> None:
        self._tell("PUT", f"{PREFIX}/global/as_num", "65100")
        self._tell("PUT", f"{PREFIX}/global/node_mesh", '{"enabled": false}')
        peer = json.dumps({"ip": REFLECTOR, "as_num": 65100})
        self._tell("PUT", f"{PREFIX}/global/peer_v4/{REFLECTOR}", peer)
        for number in range(0, NODES, 2):
            self._tell("PUT", f"{PREFIX}/host/n{number}/ip_addr_v4", f"10.50.{number}.1")

    def _tell(self, method: str, key: str, value: str = "") -> None:
        assert self._writer.stdin
        assert self._writer.stdout
        self._writer.stdin.write(f"{method}\t{key}\t{value}\n")
        self._writer.stdin.flush()
        self._writer.stdout.readline()

    def _member(self) -> Etcd | None:
        """Returns a member without a fault; None if only one is left, because a majority has to stay."""
        well = [member for member in self.etcd.members if member.name not in self._troubled]
        return self.random.choice(well) if len(well) > 1 else None

    def _later(self, member: Etcd, most: float, heal: Callable[[], None]) -> None:
        self._troubled[member.name] = time.monotonic() + self.random.uniform(0.2, most), heal

    def _heal(self, now: float) -> None:
        for name, (at, heal) in list(self._troubled.items()):
            if at <= now:
                del self._troubled[name]
                heal()

    def _start_rrwatch(self) -> Rrwatch:
        rrwatch = Rrwatch(self._folder / "rrwatch", self._settings, namespace=self.etcd.client.name)
        self._stack.callback(rrwatch.kill)
        return rrwatch

"""Random writes and faults, by a seed: a three-member etcd, a BIRD and an rrwatch, none of which is spared."""

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

from lab.bird import BIRD2, MINIMAL, Bird, Release
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.etcd_cluster import EtcdCluster
from lab.process import inside, wait_until

PREFIX = "/calico/bgp/v1"
REFLECTOR = "10.99.0.9"
NODES = 60

# Writes that a client makes: to whichever member answers. A line in, a line out.
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


class Chaos:
    """A cluster under which the ground shakes; `act()` does one thing at random."""

    def __init__(
        self,
        folder: Path,
        stack: contextlib.ExitStack,
        seed: int,
        *,
        release: Release = BIRD2,
        spare_rrwatch: bool = False,
    ) -> None:
        """Starts everything, and writes the first nodes.

        Args:
            stack: takes everything away again at its end.
            spare_rrwatch: let it live, so that it can be measured.
        """
        self.random = random.Random(seed)  # the same each time, by intent
        self.etcd = EtcdCluster(folder, stack).start()
        space = self.etcd.client
        self.bird = Bird(folder / "bird", space, release=release)
        self.bird.config.write_text(MINIMAL)
        self.bird.start()
        stack.callback(self.bird.stop)
        self._writer = stack.enter_context(
            subprocess.Popen(
                [*inside(space.name), sys.executable, "-c", _WRITER, self.etcd.urls],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        stack.callback(self._writer.kill)
        self._folder, self._stack = folder, stack
        self._settings = {
            "PATH": release.path,
            "IP": REFLECTOR,
            "ETCD_ENDPOINTS": self.etcd.urls,
            "RRWATCH_CONFIG": str(self.bird.config),
            "RRWATCH_BIRD_SOCKET": str(self.bird.socket),
            "RRWATCH_STATE_DIR": str(folder / "state"),
            # Wipes are meant here.
            "RRWATCH_GUARD_PERCENT": "0",
        }
        self._cluster()
        self.rrwatch = self._start_rrwatch()
        self._troubled: dict[str, tuple[float, Callable[[], None]]] = {}
        self.actions = [
            *[self.write] * 12, self.delete, self.kill_etcd, self.freeze_etcd, self.partition, self.kill_bird,
            self.freeze_bird, self.damage, self.reload,
        ]  # fmt: skip
        if not spare_rrwatch:
            self.actions += [self.kill_rrwatch, self.wipe]
        self.done: dict[str, int] = {}

    def act(self) -> None:
        """One thing at random, and what an earlier one left to be mended by now."""
        action = self.random.choice(self.actions)
        self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
        action()
        self._mend(time.monotonic())

    def end(self) -> set[str]:
        """Mends everything; -> the sessions that etcd asks for."""
        self._mend(float("inf"))
        for member in self.etcd.members:
            wait_until(member.answers, f"etcd {member.name}", 60)
        items = self.etcd.members[0].items(PREFIX)
        if f"{PREFIX}/global/peer_v4/{REFLECTOR}" not in items:
            return set()
        addresses = (value for key, value in items.items() if key.endswith("/ip_addr_v4") and value)
        return {f"Global_{address.replace('.', '_')}" for address in addresses}

    def write(self) -> None:
        """Some nodes come, move or go."""
        for _ in range(self.random.randint(1, 10)):
            number = self.random.randrange(NODES)
            key = f"{PREFIX}/host/n{number}"
            if self.random.random() < 0.3:
                self._tell("DELETE", key)
            else:
                self._tell("PUT", f"{key}/ip_addr_v4", f"10.50.{number}.{self.random.randint(1, 250)}")

    def delete(self) -> None:
        """All nodes go at once."""
        self._tell("DELETE", f"{PREFIX}/host")

    def wipe(self) -> None:
        """All of etcd's data are lost, and some are written anew."""
        self._mend(float("inf"))
        for member in self.etcd.members:
            member.kill()
            member.wipe()
        self.etcd.start()
        self._cluster()

    def kill_etcd(self) -> None:
        """A member dies, and is back some seconds later."""
        if member := self._member():
            member.kill()
            self._later(member, 5, member.launch)

    def freeze_etcd(self) -> None:
        """A member hangs."""
        if member := self._member():
            member.process.signal(signal.SIGSTOP)
            self._later(member, 5, lambda: member.process.signal(signal.SIGCONT))

    def partition(self) -> None:
        """A member is cut off from the others."""
        if member := self._member():
            self.etcd.partition(member)
            self._later(member, 8, lambda: self.etcd.heal(member))

    def kill_bird(self) -> None:
        """BIRD dies, and is back as soon as there is a file that it can read: its manager tries again and again."""
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
        """BIRD hangs for a moment."""
        with self.bird.process.frozen():
            time.sleep(self.random.uniform(0, 1.5))

    def damage(self) -> None:
        """Somebody edits, cuts off or removes the file."""
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

    def reload(self) -> None:
        """SIGHUP; before a program has its handlers, it would end any."""
        self.rrwatch.wait_for("started")
        self.rrwatch.process.signal(signal.SIGHUP)

    def kill_rrwatch(self) -> None:
        """Rrwatch itself dies, and is started again."""
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
        """One that is well; None where two are not: then nobody can tell what the third one knows."""
        well = [member for member in self.etcd.members if member.name not in self._troubled]
        return self.random.choice(well) if len(well) > 1 else None

    def _later(self, member: Etcd, most: float, mend: Callable[[], None]) -> None:
        self._troubled[member.name] = time.monotonic() + self.random.uniform(0.2, most), mend

    def _mend(self, now: float) -> None:
        for name, (at, mend) in list(self._troubled.items()):
            if at <= now:
                del self._troubled[name]
                mend()

    def _start_rrwatch(self) -> Rrwatch:
        rrwatch = Rrwatch(self._folder / "rrwatch", self._settings, namespace=self.etcd.client.name)
        self._stack.callback(rrwatch.kill)
        return rrwatch

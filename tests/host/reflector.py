"""A route reflector's host with Debian's BIRD, with an etcd and a neighbor on another host."""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from lab.bird import Bird
from lab.etcd import Etcd
from lab.host import Host
from lab.network import Switch
from lab.process import wait_until

ADDRESS = "172.17.42.40"
NEIGHBOR = "172.17.42.30"
SESSION = "Global_172_17_42_30"

SETTINGS = f'ip = "{ADDRESS}"\netcd_endpoints = "http://{NEIGHBOR}:2379"\n'
"""The two lines that an operator writes."""

_NEIGHBOR = f"""
router id {NEIGHBOR};
protocol device {{ }}
protocol bgp reflector {{
  local as 65100;
  neighbor {ADDRESS} as 65100;
  graceful restart;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 2;
}}
"""


class Reflector:
    """The host, which is off at first; etcd and the neighbor are not running either."""

    def __init__(self, folder: Path, layers: Sequence[Path], package: Path, stack: contextlib.ExitStack) -> None:
        """Creates the network.

        Args:
            package: the .deb to install.
            stack: removes everything when it is closed.
        """
        folder.chmod(0o755)
        switch = Switch(stack)
        self._space = switch.plug(f"{ADDRESS}/16")
        beside = switch.plug(f"{NEIGHBOR}/16")
        self.package = package
        self.host = Host(folder / "host", self._space, layers)
        stack.callback(self.host.cut_power)
        self.etcd = Etcd(folder / "etcd", namespace=beside.name, address=NEIGHBOR)
        stack.callback(self.etcd.stop)
        self.neighbor = Bird(folder / "neighbor", beside)
        self.neighbor.config.write_text(_NEIGHBOR)
        stack.callback(self.neighbor.stop)

    def start_cluster(self) -> None:
        """Starts etcd, with the neighbor's records, and the neighbor."""
        self.etcd.start()
        self.etcd.put_all(
            {
                "/calico/bgp/v1/global/as_num": "65100",
                "/calico/bgp/v1/host/kube-master/ip_addr_v4": NEIGHBOR,
                f"/calico/bgp/v1/global/peer_v4/{ADDRESS}": json.dumps({"ip": ADDRESS, "as_num": "65100"}),
            }
        )
        self.neighbor.start()

    def apt(self, *arguments: str) -> str:
        """Runs apt-get, and returns its output."""
        return self.host.run("apt-get", "--quiet", "--yes", *arguments, timeout=120)

    def install(self, package: Path | None = None) -> str:
        """Installs rrwatch as `apt install ./rrwatch_*.deb` does, and returns the output of apt."""
        package = package or self.package
        path = f"/root/{package.name}"
        self.host.write(path, package.read_bytes())
        return self.apt("install", path)

    def configure(self, settings: str = SETTINGS) -> None:
        """Adds lines to the settings file."""
        path = "/etc/rrwatch/rrwatch.toml"
        self.host.write(path, self.host.run("cat", path) + settings)

    def enable(self) -> None:
        """Enables and starts rrwatch, which must return at once whatever else is running."""
        self.host.run("systemctl", "enable", "--now", "rrwatch", timeout=15)

    def wait_established(self, seconds: float = 30) -> None:
        """Waits until rrwatch is ready and the session with the neighbor is up on both ends."""
        try:
            wait_until(self._is_established, "Established", seconds)
        except TimeoutError as error:
            raise AssertionError(self.story()) from error

    def _is_established(self) -> bool:
        if self.host.try_run("rrwatch", "status").returncode or not self.neighbor.is_established("reflector"):
            return False
        return bool(re.search(rf"^{SESSION} .* Established", self.birdc("show", "protocols"), re.MULTILINE))

    def birdc(self, *command: str) -> str:
        """Runs birdc, and returns its output."""
        return self.host.try_run("birdc", *command).stdout

    def connections(self) -> set[str]:
        """Returns the TCP connections of its BGP sessions by their ports, which change if a session is reset."""
        return self._space.bgp_connections(NEIGHBOR)

    def shows(self, unit: str, name: str) -> str:
        """Returns a property of a systemd unit."""
        return self.host.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def is_active(self, unit: str) -> bool:
        """Returns whether that unit is active."""
        return self.host.try_run("systemctl", "--quiet", "is-active", unit).returncode == 0

    def status(self) -> str:
        """Returns the status line that rrwatch sent to systemd."""
        return self.shows("rrwatch", "StatusText")

    def bird_file(self, daemon: str = "bird") -> str:
        """Returns the configuration file that a running BIRD was started with."""
        pid = self.shows(daemon, "MainPID")
        if pid == "0":
            return "not running"
        words = self.host.try_run("cat", f"/proc/{pid}/cmdline").stdout.split("\0")
        if not words[0].endswith(f"/{daemon}"):
            return "starting"
        return words[words.index("-c") + 1] if "-c" in words else f"/etc/bird/{daemon}.conf"

    def wait_file(self, path: str, daemon: str = "bird") -> None:
        """Waits until BIRD runs that file."""
        try:
            wait_until(lambda: self.bird_file(daemon) == path, path, 20)
        except TimeoutError as error:
            raise AssertionError(self.story()) from error

    def story(self) -> str:
        """Returns what happened, for the message of a failed test."""
        units = ["--unit=rrwatch*", "--unit=bird*"]
        return "\n".join(
            [
                self.host.try_run("rrwatch", "status").stdout,
                self.birdc("show", "protocols"),
                self.host.try_run("systemctl", "--no-pager", "list-units", "--all", "bird*", "rrwatch*").stdout,
                self.host.try_run("journalctl", "--boot", "--no-pager", "--lines=60", *units).stdout,
            ]
        )

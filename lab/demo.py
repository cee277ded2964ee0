"""The main job before a viewer's eyes: `make demo`."""

import argparse
import contextlib
import difflib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.text import Text

from lab.bird import MINIMAL, Bird, join, namespace
from lab.daemon import Event, Rrwatch
from lab.etcd import Etcd
from lab.process import wait_until

PREFIX = "/calico/bgp/v1"
REFLECTOR, NODE1 = "172.17.42.40", "172.17.42.31"

KEYS = {
    f"{PREFIX}/global/as_num": "65100",
    f"{PREFIX}/global/node_mesh": '{"enabled": false}',
    f"{PREFIX}/host/kube-master/ip_addr_v4": "172.17.42.30",
    f"{PREFIX}/host/kube-node1/ip_addr_v4": NODE1,
    f"{PREFIX}/host/kube-node2/ip_addr_v4": "172.17.42.32",
    f"{PREFIX}/rr_v4/{REFLECTOR}": f'{{"ip":"{REFLECTOR}","cluster_id":"1.0.0.1"}}',
    f"{PREFIX}/global/peer_v4/{REFLECTOR}": f'{{"ip": "{REFLECTOR}", "as_num": "65100"}}',
}

NODE_CONFIG = f"""\
router id {NODE1};
protocol device {{ scan time 2; }}
protocol static {{ route 192.168.0.0/26 blackhole; }}
protocol bgp reflector {{
  local as 65100;
  neighbor {REFLECTOR} as 65100;
  source address {NODE1};
  export all;
  connect delay time 1;
  connect retry time 1;
}}
"""


class Demo:
    """The show: an etcd, a reflector's BIRD, a node's BIRD, and rrwatch."""

    def __init__(self, console: Console, pause: float, picture: Path | None = None) -> None:
        """Prepares the show.

        Args:
            pause: seconds before each step.
            picture: file for an SVG of the step in which a node joins.
        """
        self._console, self._pause, self._picture = console, pause, picture
        self._shown = 0

    def run(self) -> None:
        """From an empty etcd to a cluster that changes."""
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rrwatch-demo-")))
            self._step("An etcd with Calico's keys: three nodes, and a route reflector that all of them peer with")
            etcd = Etcd(folder / "etcd").start()
            stack.callback(etcd.stop)
            etcd.put_all(KEYS)
            for key, value in KEYS.items():
                self._console.print(f"  {key}  [cyan]{value}[/]", highlight=False)

            self._step("A BIRD that knows nothing of them yet, and on the other end of a cable the BIRD of kube-node1")
            here, there = stack.enter_context(namespace()), stack.enter_context(namespace())
            join(here, f"{REFLECTOR}/24", there, f"{NODE1}/24")
            bird, node = Bird(folder / "reflector", here), Bird(folder / "node1", there)
            for one, config in (bird, MINIMAL), (node, NODE_CONFIG):
                one.config.write_text(config)
                one.start()
                stack.callback(one.stop)
            self._show_bird(bird)

            settings = {
                "IP": REFLECTOR,
                "ETCD_ENDPOINTS": etcd.url,
                "RRWATCH_CONFIG": str(bird.config),
                "RRWATCH_BIRD_SOCKET": str(bird.socket),
            }
            self._step("What follows from the keys: rrwatch sessions")
            self._command(settings, "sessions")

            self._step("rrwatch run: BIRD gets those sessions")
            before = bird.config.read_text()
            rrwatch = Rrwatch(folder / "rrwatch", settings)
            stack.callback(rrwatch.stop)
            self._event(rrwatch.wait_for("configured"))
            self._show_diff(before, bird.config.read_text())
            wait_until(lambda: bird.is_established("Global_172_17_42_31"), "the session to kube-node1", 60)
            self._show_bird(bird)

            if self._picture:
                self._console.export_text()  # what was shown so far is not in the picture
            self._change(
                "A node joins", rrwatch, bird,
                lambda: etcd.put(f"{PREFIX}/host/kube-node3/ip_addr_v4", "172.17.42.33"),
            )  # fmt: skip

            if self._picture:
                drawn = self._console.export_svg(title="make demo")
                # A picture that loads nothing: the viewer's own monospaced font does.
                self._picture.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")

            self._step("A record that makes no sense: it is left out, nothing else happens")
            etcd.put(f"{PREFIX}/host/kube-node4/ip_addr_v4", '172.17.42.34; } protocol static { "')
            self._event(rrwatch.wait_for("record_rejected"))

            self._step("Somebody edits the file by hand: it is put right")
            bird.config.write_text(bird.config.read_text().replace("172.17.42.33", "10.9.9.9"))
            self._event(rrwatch.wait_for("drift_found"))
            wait_until(lambda: "10.9.9.9" not in bird.config.read_text(), "the right file")

            self._change(
                "A node leaves; the session to kube-node1 has been up all the time", rrwatch, bird,
                lambda: etcd.delete(f"{PREFIX}/host/kube-node3", recursive=True),
            )  # fmt: skip

            self._step("How things stand: rrwatch status")
            self._command(settings | {"RRWATCH_STATUS_LISTEN": rrwatch.status_address}, "status")
            self._step("The end: rrwatch stops, BIRD and its sessions stay; then all of it is taken away")
            rrwatch.stop()
            self._show_bird(bird)

    def _change(self, title: str, rrwatch: Rrwatch, bird: Bird, change: Callable[[], None]) -> None:
        self._step(title)
        before, done = bird.config.read_text(), len(rrwatch.all("configured"))
        change()
        self._event(rrwatch.wait_for("configured", after=done))
        self._show_diff(before, bird.config.read_text())
        self._show_bird(bird)

    def _step(self, title: str) -> None:
        time.sleep(self._pause)
        self._shown += 1
        self._console.print()
        self._console.rule(Text(f"{self._shown}. {title}", "bold"), align="left")

    def _event(self, event: Event) -> None:
        shown = ("sessions_added", "sessions_removed", "key", "reason", "found", "cause", "took_ms")
        fields = {name: event[name] for name in shown if event.get(name)}
        text = Text(f"rrwatch: {event['event']}", "bold green")
        for name, value in fields.items():
            text.append(f"\n  {name}=", "dim").append(str(value), "default")
        self._console.print(text)

    def _show_diff(self, before: str, after: str) -> None:
        lines = list(
            difflib.unified_diff(
                before.splitlines(), after.splitlines(), "bird.cfg", "bird.cfg", "before", "after", lineterm="", n=1
            )
        )
        self._console.print(Panel(Syntax("\n".join(lines), "diff", background_color="default"), title="bird.cfg"))

    def _show_bird(self, bird: Bird) -> None:
        self._console.print(Panel(Text(bird.command("show protocols").strip()), title="BIRD: show protocols"))

    def _command(self, settings: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "rrwatch", *arguments]
        done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=30, check=True)
        self._console.print(Panel(Text(done.stdout.rstrip()), title=f"rrwatch {' '.join(arguments)}"))


def main() -> None:
    """Runs the show, and cleans up however it ends."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="no pauses")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="save the step in which a node joins as an SVG")
    given = parser.parse_args()

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    console = Console(record=given.picture is not None, width=100 if given.picture else None)
    try:
        Demo(console, 0 if given.fast else 2.5, given.picture).run()
    except KeyboardInterrupt:
        console.print("interrupted: everything is taken away")
        sys.exit(130)


main()

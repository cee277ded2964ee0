"""Shows the steps of a demonstration on a terminal."""

import time
from collections.abc import Iterable

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from lab.cluster import Host

SECONDS = 60.0
"""How long to wait for anything: BIRD waits some seconds before it connects."""


class Screen:
    """Shows steps, commands, events, sessions and routes."""

    def __init__(self, console: Console, pause: float) -> None:
        """Shows nothing yet.

        Args:
            console: for the output.
            pause: seconds before each step.
        """
        self._console, self._pause = console, pause
        self._shown = 0

    def step(self, title: str) -> None:
        """Begins a step, after a pause."""
        time.sleep(self._pause)
        self._shown += 1
        self._console.print()
        self._console.rule(Text(f"{self._shown}. {title}", "bold", no_wrap=True), align="left")

    def note(self, text: str) -> None:
        """Prints a remark."""
        self._console.print(Text(text, "italic"))

    def command(self, host: Host, *arguments: str) -> None:
        """Runs an rrwatch command on a host, and shows it with what it printed."""
        self._console.print(Text(f"[root@{host.name} ~]# rrwatch {' '.join(arguments)}", "bold cyan"))
        self._console.print(Text(host.run(*arguments).rstrip()))

    def event(self, host: Host, name: str, *shown: str, after: int | None = None) -> None:
        """Waits for a log event of a host, and shows some of its fields."""
        count = after if after is not None else max(0, len(host.rrwatch.all(name)) - 1)
        event = host.rrwatch.wait_for(name, SECONDS, after=count)
        text = Text(f"{host.name}: {name}", "bold green")
        for field in shown:
            text.append(f"\n  {field}=", "dim").append(str(event.get(field)), "default")
        self._console.print(text)

    def show_sessions(self, host: Host) -> None:
        """Shows the BGP sessions of a host's BIRD."""
        lines = host.bird.command("show protocols").rstrip().splitlines()
        bgp = [line.rstrip() for line in lines[:1] + [line for line in lines if " BGP " in line]]
        self._console.print(Panel(Text("\n".join(bgp)), title=f"{host.name}: birdc show protocols", title_align="left"))

    def show_routes(self, *hosts: Host) -> None:
        """Shows the routes of hosts."""
        for host in hosts:
            self.show_lines(f"{host.name}: ip route show", host.routes())

    def show_lines(self, title: str, lines: Iterable[str]) -> None:
        """Shows lines in a box; those that are BIRD's routes stand out."""
        shown = Text()
        for line in lines:
            shown.append(f"{line}\n", "bold yellow" if "proto bird" in line else "default")
        shown.rstrip()
        self._console.print(Panel(shown, title=title, title_align="left"))

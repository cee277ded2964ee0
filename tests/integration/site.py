"""One reflector with its daemon, a real etcd and a real BIRD, and an operator who gives commands."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.bird import Bird
from lab.daemon import Rrwatch
from lab.environment import beside, reflector
from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.archive.archive import Archive
from rrwatch.archive.rows import Row
from tests.command import run_command
from tests.keys import CLUSTER, REFLECTOR, host

Start = Callable[..., Rrwatch]


class Site:
    """One reflector with its daemon, and an operator."""

    def __init__(self, etcd: Etcd, bird: Bird, start: Start, folder: Path) -> None:
        self.etcd, self.bird, self.state = etcd, bird, folder / "state"
        self._start = start
        self.settings = beside(bird, etcd.url, self.state, **reflector(REFLECTOR))
        etcd.put_all(CLUSTER)
        self.rrwatch = self.start()
        self.rrwatch.wait_for("configured")

    def start(self) -> Rrwatch:
        self.rrwatch = self._start(self.etcd.url, self.bird)
        return self.rrwatch

    def run(self, *arguments: str, status: int = 0) -> str:
        done: subprocess.CompletedProcess[str] = run_command(*arguments, environment=self.settings)
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def history(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("history", "--json"))
        return found

    def rows(self) -> list[Row]:
        """The history as it is on disk, without a command for it."""
        return Archive(self.state, f"reflector {REFLECTOR}").rows()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.page("status"))
        return found

    def page(self, name: str) -> str:
        return wait_until(lambda: self._page(name), f"the page {name}")

    def _page(self, name: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{self.rrwatch.status_address}/{name}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            error.close()
            return ""  # before the first turn of the loop

    def add(self, last: int, *, arrives: bool = True) -> None:
        self.etcd.put_all(host(f"n{last}", f"172.17.42.{last}"))
        if arrives:
            wait_until(lambda: f"Global_172_17_42_{last}" in self.bird.sessions(), "the session")
            wait_until(lambda: self.rows()[-1].added == 1, "its row")

    def findings(self, subject: str) -> list[dict[str, Any]]:
        done = run_command("check", "--json", "--user", "root", environment=self.settings)
        return [finding for finding in json.loads(done.stdout) if finding["subject"] == subject]

    def waiting(self) -> dict[str, int]:
        found: dict[str, int] = (self.status()["frozen"] or {}).get("waiting") or {}
        return found

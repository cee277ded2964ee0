"""`rrwatch status`, `sessions` and `check` beside a real daemon, as its cluster goes through hard times."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.bird import BIRD2, Bird
from lab.daemon import Rrwatch
from lab.environment import beside, reflector
from lab.etcd import Etcd
from lab.process import wait_until
from tests.command import Run
from tests.keys import CLUSTER, PREFIX, REFLECTOR, host
from tests.schemas import validate
from tests.screens import Shown, on_screen

Start = Callable[..., Rrwatch]

NODES = {key: value for number in range(1, 7) for key, value in host(f"n{number}", f"10.0.0.{number}").items()}
BAD = {f"{PREFIX}/host/bad{number}/ip_addr_v4": "x" for number in range(60)}


@pytest.fixture
def release() -> Any:
    """What these commands show does not depend on BIRD's version."""
    return BIRD2


class Reflector:
    """A daemon, its etcd and its BIRD, and the commands beside it."""

    def __init__(self, run: Run, etcd: Etcd, bird: Bird, rrwatch: Rrwatch) -> None:
        self.etcd, self.bird, self.rrwatch, self._run = etcd, bird, rrwatch, run
        listen = {"RRWATCH_STATUS_LISTEN": rrwatch.status_address}
        self._settings = beside(bird, etcd.url, **reflector(REFLECTOR), **listen)

    def command(self, *arguments: str) -> tuple[int, str]:
        done = self._run(*arguments, **self._settings)
        assert done.stderr == ""
        return done.returncode, done.stdout

    def screen(self, status: int, first: str) -> list[str]:
        """Waits for an exit status of `rrwatch status` and a headline, on a terminal, and returns the lines."""

        def shown() -> Shown | None:
            found = on_screen("status", environment=self._settings)
            return found if found.returncode == status and found.lines[0].startswith(first) else None

        found = wait_until(shown, f"{status}, {first}", 20)
        assert found is not None
        assert len(found.lines) < 24
        assert max(map(len, found.lines)) <= 80
        validate("status", self.document())
        return found.lines

    def document(self) -> Any:
        return json.loads(self.command("status", "--json")[1])

    def sessions(self) -> Any:
        document = json.loads(self.command("sessions", "--json")[1])
        validate("session_list", document)
        return document

    def first_finding(self) -> Any:
        document = json.loads(self.command("check", "--json", "--user", "root")[1])
        validate("check", document)
        return document[0]


@pytest.fixture
def at_work(run: Run, own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> Reflector:
    """A reflector with 9 sessions, which BIRD runs."""
    own_etcd.put_all(CLUSTER | NODES)
    rrwatch = start_rrwatch(own_etcd.url, bird)
    rrwatch.wait_for("configured")
    return Reflector(run, own_etcd, bird, rrwatch)


def test_hard_times(at_work: Reflector) -> None:
    etcd, bird, rrwatch = at_work.etcd, at_work.bird, at_work.rrwatch
    wait_until(lambda: at_work.document()["daemons"]["bird"]["down"] == 9, "BIRD's word")
    lines = at_work.screen(0, "READY since ")
    assert any(line.startswith("down longest (9)") for line in lines)
    assert at_work.command("status", "--strict")[0] == 6
    ready_since = at_work.document()["ready_since"]
    assert ready_since is not None

    found = at_work.sessions()
    assert (found["source"], found["total"], len(found["sessions"])) == ("daemon", 9, 9)
    assert all(row["state"] and row["since"] and row["kept_by"] is None for row in found["sessions"])
    assert (at_work.first_finding().items()) >= {
        ("good", True), ("text", "ready, 9 sessions; 9 of 9 sessions down"),
        ("hint", "`rrwatch sessions --state down` shows which, and why"),
    }  # fmt: skip

    etcd.put_all(BAD)
    wait_until(lambda: at_work.document()["rejected_total"] == 60, "the rejected records")
    lines = at_work.screen(0, "READY since ")
    assert "rejected (60)" in "\n".join(lines)
    assert "more: `rrwatch sessions` has all" in "\n".join(lines)
    assert len(at_work.sessions()["rejected"]) == 60

    etcd.delete(f"{PREFIX}/host", recursive=True)
    rrwatch.wait_for("held")
    lines = at_work.screen(4, "NOT READY since ")
    assert any(line.startswith("why: held: 9 of 9 sessions would end") for line in lines)
    assert any(line.startswith("held since ") for line in lines)
    assert at_work.document()["ready_since"] is None
    assert at_work.document()["held"]["sessions_total"] == 9
    found = at_work.sessions()
    assert {(row["kept_by"], row["derived"]) for row in found["sessions"]} == {("hold", False)}
    assert "etcd asks for 0, and a hold keeps 9: see `rrwatch release`" in at_work.command("sessions")[1]
    finding = at_work.first_finding()
    assert "held: 9 of 9 sessions would end" in finding["text"]
    assert finding["text"].startswith("not ready since 20")

    etcd.put_all(CLUSTER | NODES)
    rrwatch.wait_for("hold_ended")
    at_work.screen(0, "READY since ")

    bird.stop()
    rrwatch.wait_for("waiting_for_bird")
    lines = at_work.screen(1, "NOT READY since ")
    assert "do:  start BIRD; rrwatch configures it as soon as it runs" in lines
    bird.start()
    at_work.screen(0, "READY since ")

    etcd.stop()
    rrwatch.wait_for("etcd_lost")
    lines = at_work.screen(0, "READY since ")
    assert ", etcd away since " in lines[0]
    assert "do:  start etcd; BIRD keeps its sessions until then" in lines
    etcd_document = at_work.document()["etcd"]
    assert (etcd_document["stale"], etcd_document["last_answer_at"] is None) == (False, False)
    finding = at_work.first_finding()
    assert finding["good"] is False
    assert finding["text"].startswith("ready, 9 sessions; etcd away since 20")


def test_refused(run: Run, etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path) -> None:
    etcd.put_all(CLUSTER)
    (tmp_path / "reflector.cfg.j2").write_text("nonsense;\n{{ session_blocks }}")
    rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_TEMPLATES=str(tmp_path))
    rrwatch.wait_for("refused")
    refused = Reflector(run, etcd, bird, rrwatch)
    lines = refused.screen(3, "NOT READY since ")
    assert any(line.startswith("why: ") for line in lines)
    assert any(line.startswith("do:  correct") for line in lines)
    assert f"correct {tmp_path}/reflector.cfg.j2 (line " in refused.command("status")[1]
    assert refused.first_finding()["hint"].startswith(f"correct {tmp_path}/reflector.cfg.j2 (line ")
    (tmp_path / "reflector.cfg.j2").unlink()
    refused.screen(0, "READY since ")

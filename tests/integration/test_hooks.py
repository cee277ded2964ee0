"""Hooks of a running rrwatch, with a real etcd and a real BIRD."""

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.bird import BIRD2, Bird, Release
from lab.daemon import Rrwatch
from lab.environment import beside, reflector
from lab.etcd import Etcd
from lab.process import wait_until
from tests.command import run_command
from tests.datastore.server import Server, answer
from tests.keys import CLUSTER, PREFIX, REFLECTOR, SESSIONS, host
from tests.schemas import validate
from tests.waits import metric, wait_for_sessions

Start = Callable[..., Rrwatch]
MANY = {key: value for number in range(1, 9) for key, value in host(f"n{number}", f"10.0.0.{number}").items()}


@pytest.fixture
def release() -> Release:
    """Hooks do not depend on BIRD."""
    return BIRD2


class Program:
    """A program that keeps each event that it is told of in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "told"
        self._folder.mkdir()
        self.path = folder / "hook with a space"
        self.path.write_text(f'#!/bin/sh\ncd {self._folder}; cat >$$.part; mv $$.part "$RRWATCH_EVENT.$1.$$"\n')
        self.path.chmod(0o755)
        self.command = f"{shlex.quote(str(self.path))} argument"

    def told(self, event: str) -> list[dict[str, Any]]:
        """Returns what it was told of so far, with this name."""
        return [json.loads(path.read_text()) for path in self._folder.glob(f"{event}.argument.*")]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(lambda _: answer("200 OK", b"", b"")) as made:
        yield made


def refuse(templates: Path, words: str = "nonsense") -> None:
    """Makes BIRD refuse what follows."""
    templates.mkdir(exist_ok=True)
    (templates / "session.cfg.j2").write_text(f"{words} {{{{ session.name }}}}\n")


def test_held(etcd: Etcd, bird: Bird, start_rrwatch: Start, program: Program, server: Server) -> None:
    etcd.put_all(CLUSTER | MANY)
    rrwatch = start_rrwatch(
        etcd.url, bird, RRWATCH_HOOK_COMMAND=program.command, RRWATCH_HOOK_URL=server.url, ETCD_PASSWORD=""
    )
    rrwatch.wait_for("configured")
    kept = bird.sessions()
    etcd.delete(f"{PREFIX}/host", recursive=True)
    logged = rrwatch.wait_for("held")

    (told,) = wait_until(lambda: program.told("held"), "the program")
    wait_until(lambda: server.requests, "the URL")
    assert json.loads(server.requests[0].body) == told
    validate("event", told)
    fields = {name: value for name, value in logged.items() if name not in ("timestamp", "level")}
    assert fields.items() <= told.items()
    assert told["viewer"] == f"reflector {REFLECTOR}"
    assert bird.sessions() == kept

    for sink in "command", "url":
        done = f'rrwatch_hook_events_total{{result="done",sink="{sink}"}}'
        wait_until(lambda done=done: metric(rrwatch, done) == 1, "the metric")  # type: ignore[misc]
    assert not rrwatch.all("hook_failed")


def test_frozen(etcd: Etcd, bird: Bird, start_rrwatch: Start, program: Program, tmp_path: Path) -> None:
    etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_HOOK_COMMAND=program.command)
    rrwatch.wait_for("configured")
    settings = beside(bird, etcd.url, tmp_path / "state", **reflector(REFLECTOR))
    done = run_command("freeze", "--reason", "new racks", "--for", "1h", environment=settings)
    assert done.returncode == 0, done.stderr
    (told,) = wait_until(lambda: program.told("frozen"), "the program")
    validate("event", told)
    logged = rrwatch.wait_for("frozen")
    expected = {"event": "frozen", "reason": "new racks", "until": logged["until"], "number": 1}
    assert told.items() >= expected.items()


def test_refused_with_a_log_of_errors_only(
    etcd: Etcd, bird: Bird, start_rrwatch: Start, program: Program, tmp_path: Path
) -> None:
    refuse(tmp_path / "templates")
    etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(
        etcd.url,
        bird,
        RRWATCH_HOOK_COMMAND=program.command,
        RRWATCH_TEMPLATES=str(tmp_path / "templates"),
        RRWATCH_LOG_LEVEL="error",
    )
    (told,) = wait_until(lambda: program.told("refused"), "the program")
    validate("event", told)
    kept = bird.folder / "bird.cfg.rejected"
    template = tmp_path / "templates" / "session.cfg.j2"
    assert told.items() >= {"daemon": "bird", "file": str(kept), "template": str(template)}.items()
    assert told["session"] in SESSIONS
    assert told["reason"].startswith(f"{kept}:{told['line']}:")

    rrwatch.stop()
    assert len(program.told("refused")) == 1


def test_a_hook_that_hangs_delays_no_change(etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path) -> None:
    refuse(tmp_path / "templates")
    etcd.put_all(CLUSTER)
    hangs = f"sh -c 'trap \"\" TERM; echo $$ >{tmp_path}/pid; while :; do sleep 1; done'"
    rrwatch = start_rrwatch(
        etcd.url,
        bird,
        RRWATCH_HOOK_COMMAND=hangs,
        RRWATCH_TEMPLATES=str(tmp_path / "templates"),
        RRWATCH_HOOK_TIMEOUT="60",
    )
    wait_until((tmp_path / "pid").exists, "the program")
    (tmp_path / "templates" / "session.cfg.j2").unlink()
    wait_for_sessions(bird, SESSIONS)

    assert rrwatch.stop() == 0
    assert rrwatch.all("hooks_dropped", sink="command", count=1)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_hook_that_fails_is_logged(etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path) -> None:
    refuse(tmp_path / "templates")
    etcd.put_all(CLUSTER)
    settings = {"RRWATCH_TEMPLATES": str(tmp_path / "templates"), "RRWATCH_HOOK_COMMAND": "/no/such/hook"}
    failed = start_rrwatch(etcd.url, bird, **settings).wait_for("hook_failed")
    assert failed["reason"] == "/no/such/hook: No such file or directory"
    assert (failed["hook_event"], failed["sink"], failed["level"]) == ("refused", "command", "warning")


def test_once(etcd: Etcd, bird: Bird, program: Program, tmp_path: Path) -> None:
    refuse(tmp_path / "templates")
    etcd.put_all(CLUSTER)
    settings = {"RRWATCH_HOOK_COMMAND": program.command, "RRWATCH_TEMPLATES": str(tmp_path / "templates")}
    done = run_command(
        "once", environment=beside(bird, etcd.url, tmp_path / "state", **reflector(REFLECTOR), **settings)
    )
    assert done.returncode == 3
    assert len(program.told("refused")) == 1

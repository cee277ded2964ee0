"""`once` is the first pass of `run`: the same events, files, history and baseline."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.bird import BIRD2, MINIMAL, Bird
from lab.daemon import Rrwatch
from lab.environment import beside, reflector
from lab.etcd import Etcd
from lab.process import wait_until
from tests.command import run_command
from tests.keys import CLUSTER, PREFIX, REFLECTOR, host

Start = Callable[..., Rrwatch]
Prepare = Callable[[Etcd, Bird, Path], None]

_OF_THE_DAEMON = {"started", "stopped", "status_served", "etcd_synced"}
_OF_TIME = {"timestamp", "time", "took_ms", "steps_ms", "retry_in_s", "id", "since"}


def _as_it_is(_etcd: Etcd, _bird: Bird, _folder: Path) -> None:
    """A cluster as any other."""


def _record_that_cannot_be_read(etcd: Etcd, _bird: Bird, _folder: Path) -> None:
    etcd.put(f"{PREFIX}/host/odd/ip_addr_v4", "nonsense")


def _bird_is_absent(_etcd: Etcd, bird: Bird, _folder: Path) -> None:
    bird.stop()


def _bird_refuses(_etcd: Etcd, _bird: Bird, folder: Path) -> None:
    (folder / "session.cfg.j2").write_text("nonsense {{ session.name }}\n")


def _template_fails(_etcd: Etcd, _bird: Bird, folder: Path) -> None:
    (folder / "session.cfg.j2").write_text("{{ nothing.at.all }}")


def _held(etcd: Etcd, bird: Bird, folder: Path) -> None:
    etcd.put_all(
        {key: value for number in range(1, 9) for key, value in host(f"n{number}", f"10.0.0.{number}").items()}
    )
    environment = beside(bird, etcd.url, folder.parent / "state", **reflector(REFLECTOR))
    assert run_command("once", environment=environment).returncode == 0
    etcd.delete(f"{PREFIX}/host", recursive=True)


def _no_baseline_and_an_empty_etcd(etcd: Etcd, bird: Bird, folder: Path) -> None:
    _held(etcd, bird, folder)
    (folder.parent / "state" / "baseline.json").write_text("{")


@pytest.mark.parametrize("release", [BIRD2], ids=str)
@pytest.mark.parametrize(
    "prepare",
    [
        _as_it_is, _record_that_cannot_be_read, _bird_is_absent, _bird_refuses, _template_fails, _held,
        _no_baseline_and_an_empty_etcd,
    ],
)  # fmt: skip
def test_once_is_the_first_pass_of_run(
    etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path, prepare: Prepare
) -> None:
    templates, state = tmp_path / "templates", tmp_path / "state"
    settings = {**reflector(REFLECTOR), "RRWATCH_TEMPLATES": str(templates), "RRWATCH_LOG_FORMAT": "json"}

    def begin() -> None:
        etcd.put_all(CLUSTER)
        bird.stop()
        bird.config.write_text(MINIMAL)
        bird.start()
        templates.mkdir()
        prepare(etcd, bird, templates)

    begin()
    done = run_command("once", environment=beside(bird, etcd.url, state, **settings))
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    once = _comparable(events), *_files(bird.folder, state)
    assert events

    shutil.rmtree(state)
    shutil.rmtree(templates)
    etcd.delete("/calico", recursive=True)

    begin()
    rrwatch = start_rrwatch(etcd.url, bird, **settings, RRWATCH_STATE_DIR=str(state))
    wait_until(lambda: len(_comparable(rrwatch.events)) >= len(once[0]), "the events of the first pass")
    # The first pass is over when the status is that of its end; another one begins 0.5 s later at the earliest.
    first = _comparable(list(rrwatch.events))
    rrwatch.stop()
    assert (first, *_files(bird.folder, state)) == once


def _comparable(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    passed = (event for event in events if event["event"] not in _OF_THE_DAEMON)
    return [_without_time(event) for event in passed]


def _without_time(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_time(member) for name, member in value.items() if name not in _OF_TIME}
    return [_without_time(member) for member in value] if isinstance(value, list) else value


def _files(bird: Path, state: Path) -> tuple[dict[str, str], list[Any], Any]:
    """The configurations, the history and the baseline."""
    configurations = {path.name: path.read_text() for path in bird.glob("*.cfg")}
    history = state / "history.jsonl"
    lines = history.read_text().splitlines() if history.exists() else []
    baseline = json.loads((state / "baseline.json").read_text())["roles"]
    for role in baseline.values():
        role.pop("index")  # etcd's counter, which went on
    return configurations, [_without_time(json.loads(line)) for line in lines], _without_time(baseline)

"""Measures single changes, from the write to etcd until BIRD shows the session, and BIRD's own share of that."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.host import Control, Host, cpu_seconds, host, memory_mib, scheduled_seconds, session_of
from benchmarks.writer import Source, address_of
from lab.bird import Release
from lab.process import wait_until


@dataclass(frozen=True, slots=True)
class Changes:
    """The figures for one number of nodes: medians, in milliseconds unless stated otherwise.

    Attributes:
        floor: `configure` by hand, from the file being in place until BIRD shows the new session.
        change: from the write to etcd until BIRD shows it.
        cpu: CPU time of the watcher for one change.
        first: from the start of the watcher until BIRD has all sessions.
        bird_start: from the start of BIRD alone with the same file until it answers.
        bare_list: one list of all keys.
        memory: peak memory of the watcher in MiB.
        idle: share of one core while nothing changes; rrwatch asks BIRD for the state of its sessions every 5 s.
        poll: CPU time of BIRD for one such answer.
    """

    nodes: int
    floor: float
    change: float
    slowest: float
    cpu: float
    first: float
    bird_start: float
    bare_list: float
    memory: float
    idle: float
    poll: float

    @property
    def ratio(self) -> float:
        """The time of a change divided by that of BIRD alone."""
        return self.change / self.floor


def measure(
    folder: Path, release: Release, source: Source, nodes: int, rounds: int, watcher: str | None, settle: float
) -> Changes:
    """Measures one number of nodes.

    Args:
        folder: for everything that the programs write.
        release: the release of BIRD.
        source: where the keys are.
        nodes: the number of nodes.
        rounds: how many single changes, and how many configures by hand, to measure.
        watcher: a command that runs another watcher than rrwatch.
        settle: seconds between two changes.
    """
    with host(folder, release, source) as there:
        there.writer.put_cluster()
        for number in range(nodes):
            there.writer.put_node(number)
        bare_list = _timed(lambda: there.etcd.items("/calico"))
        control = Control(there.bird.socket)
        began = time.perf_counter()
        with there.watcher(watcher) as process:
            control.wait_for(session_of(address_of(nodes - 1)), 600)
            first = (time.perf_counter() - began) * 1000  # BIRD applies a configuration as a whole
            wait_until(lambda: control.sessions() == nodes, "all sessions", 600)
            # After five seconds BIRD starts to connect, and with thousands of sessions it is busy with that. All
            # measurements, here and below, are made before.
            took, cpu = _changes(there, control, process.pid, rounds, settle)
            idle = _idle(process.pid)
            poll = _poll(control, there.bird.process.pid)
            memory = memory_mib(process.pid)
        control.close()
        bird_start = _bird_start(there)
        control = Control(there.bird.socket)
        floor = _floor(there, control, rounds)
        control.close()
    return Changes(
        nodes, floor, statistics.median(took), max(took), cpu, first, bird_start, bare_list * 1000, memory, idle, poll
    )


def _changes(there: Host, control: Control, pid: int, rounds: int, settle: float) -> tuple[list[float], float]:
    took = []
    before = cpu_seconds(pid)
    for number in range(rounds + 1):
        address = f"10.250.0.{number + 1}"
        began = time.perf_counter()
        there.writer.put_node(number * 7, address)
        control.wait_for(session_of(address))
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(settle)
    # The first one also proves to rrwatch that this BIRD reads this file.
    return took[1:], (cpu_seconds(pid) - before) / (rounds + 1) * 1000


def _floor(there: Host, control: Control, rounds: int) -> float:
    config, took = there.bird.config, []
    text = config.read_text()
    for number in range(rounds):
        options = f"local as 65100; neighbor 10.251.0.{number + 1} as 65100;"
        more = f"protocol bgp Floor_{number} from bgp_template {{ {options} }}\n"
        new = config.with_name("new")
        new.write_text(text + more)
        new.replace(config)
        began = time.perf_counter()
        control.ask("configure")
        control.wait_for(f"Floor_{number}")
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def _bird_start(there: Host) -> float:
    there.bird.stop()
    began = time.perf_counter()
    there.bird.start()
    return (time.perf_counter() - began) * 1000


def _idle(pid: int, seconds: float = 30) -> float:
    time.sleep(15)  # rrwatch writes its baseline some seconds after the last change
    before = scheduled_seconds(pid)
    time.sleep(seconds)
    return (scheduled_seconds(pid) - before) / seconds


def _poll(control: Control, pid: int, rounds: int = 10) -> float:
    before = scheduled_seconds(pid)
    for _ in range(rounds):
        control.ask("show protocols")
    return (scheduled_seconds(pid) - before) / rounds * 1000


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began

"""Measures many changes at once, one record that flaps, and a datastore that is busy with other keys."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.host import Control, cpu_seconds, host
from benchmarks.writer import Source, Writer
from lab.bird import Release
from lab.process import wait_until

_WRITERS = 4


@dataclass(frozen=True, slots=True)
class Storms:
    """The figures.

    Attributes:
        nodes: number of nodes that register at once.
        alone: seconds for their writes without a watcher.
        exact: seconds from the first write until BIRD has all sessions.
        configures: reconfigurations of BIRD in that time.
        flaps: writes of one record.
        flap_configures, flap_seconds: reconfigurations of BIRD meanwhile, and the time.
        foreign: writes each second to other keys.
        foreign_cpu: share of one core that these cost the watcher.
    """

    nodes: int
    alone: float
    exact: float
    configures: int
    flaps: int
    flap_configures: int
    flap_seconds: float
    foreign: float
    foreign_cpu: float


def measure(folder: Path, release: Release, source: Source, nodes: int, watcher: str | None) -> Storms:
    """Measures all three."""
    with host(folder / "alone", release, source) as there:
        there.writer.put_cluster()
        alone = _register(there.etcd.url, source, nodes)
    with host(folder / "watched", release, source) as there:
        there.writer.put_cluster()
        control = Control(there.bird.socket)
        with there.watcher(watcher) as process:
            wait_until(lambda: "172.17.42.40" in there.bird.config.read_text(), "the watcher's first file", 60)
            before = there.bird.reconfigurations()
            began = time.perf_counter()
            _register(there.etcd.url, source, nodes)
            wait_until(lambda: control.sessions() == nodes, "all sessions", 600)
            exact = time.perf_counter() - began
            configures = there.bird.reconfigurations() - before
            flaps, flap_configures, flap_seconds = _flap(there.writer, there.bird.reconfigurations)
            foreign, foreign_cpu = _foreign(there.etcd.url, source, process.pid)
        control.close()
    return Storms(nodes, alone, exact, configures, flaps, flap_configures, flap_seconds, foreign, foreign_cpu)


def _register(url: str, source: Source, nodes: int) -> float:
    def some(first: int) -> None:
        writer = Writer(url, source)
        for number in range(first, nodes, _WRITERS):
            writer.put_node(number)

    began = time.perf_counter()
    threads = [threading.Thread(target=some, args=(first,)) for first in range(_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _flap(writer: Writer, reconfigurations: Callable[[], int]) -> tuple[int, int, float]:
    before, began, flaps = reconfigurations(), time.perf_counter(), 0
    while time.perf_counter() < began + 5:
        flaps += 1
        writer.put_node(0, f"10.252.0.{flaps % 250 + 1}")
    seconds = time.perf_counter() - began
    time.sleep(1)
    return flaps, reconfigurations() - before, seconds


def _foreign(url: str, source: Source, pid: int, a_second: int = 1000, seconds: float = 10) -> tuple[float, float]:
    writer = Writer(url, source)
    before, began, count = cpu_seconds(pid), time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        count += 1
        writer.put(f"/elsewhere/{count % 100}", str(count))
        if (ahead := began + count / a_second - time.perf_counter()) > 0:
            time.sleep(ahead)
    took = time.perf_counter() - began
    return count / took, (cpu_seconds(pid) - before) / took

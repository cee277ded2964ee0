"""Measures what a change and a restart cost an etcd with many watchers in the node role."""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.host import cpu_seconds, memory_mib
from benchmarks.writer import Source, Writer, address_key
from lab.environment import environment, node
from lab.etcd import Etcd
from lab.process import Process, wait_until


@dataclass(frozen=True, slots=True)
class Fleet:
    """The figures. CPU time is that of etcd in milliseconds.

    Attributes:
        idle: share of one core while nothing happens.
        own: CPU time for a change of one node's record with the mesh off, which one watcher receives.
        everybody: CPU time for a change that all watchers receive.
        everybody_s: seconds until the last watcher has written its file after that.
        mesh_own, mesh_own_s: the same for a change of one node's record with the mesh on.
        restart: seconds after a restart of etcd until the last watcher has caught up.
        restart_cpu: CPU time of that.
        memory: memory of one watcher in MiB.
    """

    watchers: int
    idle: float
    own: float
    everybody: float
    everybody_s: float
    mesh_own: float
    mesh_own_s: float
    restart: float
    restart_cpu: float
    memory: float


def measure(folder: Path, source: Source, watchers: int, changes: int = 20) -> Fleet:
    """Measures that many watchers of keys of Calico v1. Each is a process of its own, without a BIRD."""
    with contextlib.ExitStack() as stack:
        etcd = source.etcd(folder / "etcd").start()
        stack.callback(etcd.stop)
        writer = Writer(etcd.url, source)
        writer.put_cluster()
        for number in range(watchers):
            writer.put_node(number)
        files = [folder / f"w{number}" / "bird.cfg" for number in range(watchers)]
        processes = [_start(stack, etcd, source, file, number) for number, file in enumerate(files)]
        _until_all_have(files, "protocol bgp Global_172_17_42_40 ", 600)
        before = cpu_seconds(etcd.process.pid)
        time.sleep(20)
        idle = (cpu_seconds(etcd.process.pid) - before) / 20

        def cost(write: Callable[[int], None]) -> float:
            began = cpu_seconds(etcd.process.pid)
            for number in range(changes):
                write(number)
                time.sleep(0.1)
            time.sleep(2)
            return (cpu_seconds(etcd.process.pid) - began - 2 * idle) / changes * 1000

        own = cost(lambda number: writer.put(address_key(0), f"10.253.0.{number + 1}"))
        everybody = cost(lambda number: writer.put("/calico/bgp/v1/global/as_num", str(65000 + number)))
        began = time.perf_counter()
        writer.put("/calico/bgp/v1/global/as_num", "65123")
        _until_all_have(files, "local as 65123;", 60)
        everybody_s = time.perf_counter() - began

        writer.put_cluster(mesh="true")
        writer.put(address_key(0), "10.253.0.200")
        _until_all_have(files[1:], "10.253.0.200", 600)
        mesh_own = cost(lambda number: writer.put(address_key(0), f"10.253.0.{number + 1}"))
        began = time.perf_counter()
        writer.put(address_key(0), "10.253.0.201")
        _until_all_have(files[1:], "10.253.0.201", 60)
        mesh_own_s = time.perf_counter() - began

        writer.put_cluster()
        _until_all_have(files, "", 60)
        etcd.stop()
        etcd.start()
        began, pid = time.perf_counter(), etcd.process.pid
        Writer(etcd.url, source).put("/calico/bgp/v1/global/as_num", "65124")
        _until_all_have(files, "local as 65124;", 120)
        restart = time.perf_counter() - began
        memory = memory_mib(processes[-1].pid, "VmRSS")
        return Fleet(
            watchers, idle, own, everybody, everybody_s, mesh_own, mesh_own_s, restart, cpu_seconds(pid) * 1000, memory
        )


def _start(stack: contextlib.ExitStack, etcd: Etcd, source: Source, file: Path, number: int) -> Process:
    file.parent.mkdir()
    variables = node(f"node{number:05d}") | {"RRWATCH_BIRD_VERSION": "2", "RRWATCH_STATUS_LISTEN": ""}
    variables |= source.settings
    del variables["RRWATCH_ETCD_SPREAD"]  # the default is measured
    settings = environment(file, file.with_name("bird.ctl"), file.parent / "state", etcd.url, **variables)
    process = Process([sys.executable, "-m", "rrwatch", "run"], file.with_name("log"), environment=settings)
    stack.callback(process.kill)
    return process


def _until_all_have(files: list[Path], words: str, seconds: float) -> None:
    missing = list(files)

    def done() -> bool:
        missing[:] = [file for file in missing if not file.exists() or words not in file.read_text()]
        return not missing

    wait_until(done, f"{words!r} in all files", seconds)

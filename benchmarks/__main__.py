"""Runs all benchmarks, and writes tables, JSON and an image: `make bench`."""

import argparse
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import changes, fleet, picture, storms
from benchmarks.changes import Changes
from benchmarks.writer import Source
from lab.bird import RELEASES


def main() -> None:
    """Runs the benchmarks that the options ask for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000, 5000, 20000], help="nodes of one reflector")
    parser.add_argument("--rounds", type=int, default=9, help="single changes at each size")
    parser.add_argument("--storm", type=int, default=5000, help="nodes that register at once; 0: none")
    parser.add_argument("--fleet", type=int, default=200, help="watchers in the node role on one etcd; 0: none")
    parser.add_argument("--bird", default="1.6", choices=[release.name for release in RELEASES])
    parser.add_argument("--datastore", default="etcdv2", choices=["etcdv2", "etcdv3"])
    parser.add_argument("--model", choices=["calico-v1", "calico-v3"], help="default: by the datastore, as for rrwatch")
    parser.add_argument("--watcher", action="append", default=[], metavar="NAME=COMMAND", help=(
        "measure another watcher too: a command that keeps $RRWATCH_CONFIG equal to $ETCD_ENDPOINTS and makes the BIRD "
        "on $RRWATCH_BIRD_SOCKET read it"
    ))  # fmt: skip
    parser.add_argument("--settle", type=float, default=0.3, help="seconds between two changes")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/latest.json"), help="file for the figures")
    parser.add_argument(
        "--picture", type=Path, default=Path("benchmarks/latest.svg"), help="file for the curves, .svg or .png"
    )
    given = parser.parse_args()

    console = Console()
    release = next(release for release in RELEASES if release.name == given.bird)
    source = Source(given.datastore, given.model or {"etcdv2": "calico-v1", "etcdv3": "calico-v3"}[given.datastore])
    if source == Source("etcdv2", "calico-v3"):
        parser.error("Calico keeps its v3 resources in etcd v3: use --datastore etcdv3")
    report: dict[str, Any] = {"machine": _machine(), "bird": given.bird, "source": str(source)}
    measured: dict[str, list[Changes]] = {}
    for name, command in {"rrwatch": None, **dict(text.split("=", 1) for text in given.watcher)}.items():
        measured[name] = []
        for nodes in given.sizes:
            console.print(f"{name}: {nodes} nodes...")
            with tempfile.TemporaryDirectory() as folder:
                size = changes.measure(Path(folder), release, source, nodes, given.rounds, command, given.settle)
            measured[name].append(size)
        report[name] = [dataclasses.asdict(size) | {"ratio": size.ratio} for size in measured[name]]
        _print(console, f"{name}, BIRD {given.bird}, {source}: one change", measured[name], ["ratio"])
    if given.storm:
        console.print(f"storm: {given.storm} nodes...")
        with tempfile.TemporaryDirectory() as folder:
            storm = storms.measure(Path(folder), release, source, given.storm, None)
        report["storm"] = dataclasses.asdict(storm)
        _print(console, "storms", [storm])
    if given.fleet and source.model == "calico-v1":  # rrwatch configures no node of v3
        console.print(f"fleet: {given.fleet} watchers...")
        with tempfile.TemporaryDirectory() as folder:
            some = fleet.measure(Path(folder), source, given.fleet)
        report["fleet"] = dataclasses.asdict(some)
        _print(console, "fleet", [some])
    given.json.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written to {given.json}")
    if given.sizes:
        picture.draw(given.picture, measured.pop("rrwatch"), measured)
        console.print(f"drawn in {given.picture}")


def _machine() -> str:
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown")  # fmt: skip
    return f"{os.cpu_count()} cores, {cpu}"


def _print(console: Console, title: str, rows: Iterable[Any], more: Iterable[str] = ()) -> None:
    rows = list(rows)
    if not rows:
        return
    # One figure in each line, to fit a terminal of 80 columns.
    first, *figures = [field.name for field in dataclasses.fields(rows[0])]
    table = Table(first, *(_number(getattr(row, first)) for row in rows), title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in (*figures, *more):
        table.add_row(name, *(_number(getattr(row, name)) for row in rows))
    console.print(table)


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1f}" if value >= 1 else f"{value:.4f}"


if __name__ == "__main__":
    main()

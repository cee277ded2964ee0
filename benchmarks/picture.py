"""Draws the curves of single changes."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.changes import Changes

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "rrwatch"  # the same image for the same figures


def draw(path: Path, measured: list[Changes], others: dict[str, list[Changes]]) -> None:
    """Draws latency and CPU time of a change over the number of nodes.

    Args:
        path: the image; its suffix determines the format.
        measured: the figures of rrwatch.
        others: the figures of other watchers by name.
    """
    figure, (latency, cpu) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    nodes = [size.nodes for size in measured]
    latency.plot(nodes, [size.floor for size in measured], "o--", color="0.5", label="BIRD itself: configure by hand")
    for name, sizes in {"rrwatch": measured, **others}.items():
        latency.plot([size.nodes for size in sizes], [size.change for size in sizes], "o-", label=name)
        cpu.plot([size.nodes for size in sizes], [size.cpu for size in sizes], "o-", label=name)
    latency.set(title="One change, from etcd to BIRD", xlabel="nodes", ylabel="ms, median", xscale="log", yscale="log")
    latency.set_xticks(nodes, [f"{count:,}" for count in nodes])
    latency.minorticks_off()
    latency.yaxis.set_major_formatter("{x:g}")
    # Linear axes show that the cost grows linearly.
    cpu.set(title="CPU of the watcher for it", xlabel="nodes", ylabel="ms", xlim=0, ylim=0)
    cpu.locator_params(axis="x", nbins=5)
    cpu.xaxis.set_major_formatter("{x:,.0f}")
    for axes in latency, cpu:
        axes.grid(which="major", alpha=0.3)
        axes.legend()
    figure.savefig(path, metadata={"Date": None})

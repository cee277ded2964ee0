"""The curves, as an image."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.changes import Changes

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "rrwatch"  # the same image for the same figures


def draw(path: Path, measured: list[Changes], others: dict[str, list[Changes]]) -> None:
    """Change latency and CPU over nodes.

    Args:
        path: of the image; its suffix is the format.
        others: other watchers' figures, by their names.
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
    # Not logarithmic: it is to be a straight line.
    cpu.set(title="CPU of the watcher for it", xlabel="nodes", ylabel="ms", xlim=0, ylim=0)
    cpu.locator_params(axis="x", nbins=5)
    cpu.xaxis.set_major_formatter("{x:,.0f}")
    for axes in latency, cpu:
        axes.grid(which="major", alpha=0.3)
        axes.legend()
    figure.savefig(path, metadata={"Date": None})

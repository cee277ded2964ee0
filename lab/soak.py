"""Runs random faults for a long time, and measures memory, threads and descriptors: `make soak`."""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lab.chaos import Chaos
from lab.process import wait_until

_SAMPLE = 10.0  # seconds between two samples


def main() -> None:
    """Runs the soak test, and prints a report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        chaos = Chaos(Path(folder), stack, given.seed, spare_rrwatch=True)
        samples = _run(chaos, given.minutes * 60)
        wanted = chaos.end()
        wait_until(lambda: chaos.bird.sessions() == wanted, "BIRD equal to etcd", 120)
        configured = len(chaos.rrwatch.all("configured"))
        faults = [event["reason"] for event in chaos.rrwatch.all("fault")]
    report = {
        "minutes": given.minutes,
        "seed": given.seed,
        "actions": dict(sorted(chaos.done.items())),
        "configured": configured,
        "unexpected_faults": faults,
        "sessions_at_the_end": len(wanted),
        **{name: _summary([sample[name] for sample in samples]) for name in ("rss_kib", "threads", "descriptors")},
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _run(chaos: Chaos, seconds: float) -> list[dict[str, int]]:
    end, due = time.monotonic() + seconds, 0.0
    samples = []
    while time.monotonic() < end:
        chaos.act()
        time.sleep(chaos.random.uniform(0, 0.4))
        if time.monotonic() >= due:
            due = time.monotonic() + _SAMPLE
            samples.append(_sample(chaos.rrwatch.process.pid))
    return samples


def _sample(pid: int) -> dict[str, int]:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    return {
        "rss_kib": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def _summary(values: list[int]) -> dict[str, Any]:
    """Returns the median of each sixth of the time, and the highest value."""
    size = max(1, len(values) // 6)
    parts = [values[at : at + size] for at in range(0, len(values), size)]
    return {"medians": [round(statistics.median(part)) for part in parts], "highest": max(values)}


if __name__ == "__main__":
    main()

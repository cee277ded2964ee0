"""The demonstrations run to their end, and leave nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, timeout=10, check=True).stdout
    return {line.split()[0] for line in listed.splitlines()}


@pytest.mark.parametrize(
    ("arguments", "steps"), [((), 10), (("--calico", "3"), 7)], ids=["keys of v1", "resources of Calico 3"]
)
def test_it_shows_every_step(arguments: tuple[str, ...], steps: int) -> None:
    command = [sys.executable, "-m", "lab.demo", "--fast", *arguments]
    environment = os.environ | {"COLUMNS": "120"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        try:
            shown, _ = demo.communicate(timeout=150)
        finally:
            demo.terminate()
    assert demo.returncode == 0, shown
    titles = [line for line in shown.splitlines() if line.endswith("──") and line[:1].isdigit()]
    assert [title.split(".")[0] for title in titles] == [str(number) for number in range(1, steps + 1)]
    assert "…" not in shown, "a title is too long"
    assert shown.splitlines()[-1] == "Everything is removed again."
    assert not {name for name in namespaces() if name.startswith(f"rrw-{demo.pid}-")}

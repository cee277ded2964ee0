"""What runs before a commit is what CI runs."""

import re
import subprocess
from pathlib import Path

from lab.process import program

ROOT = Path(__file__).parent.parent


def test_pre_commit_runs_what_make_check_runs() -> None:
    command = [program("make"), "--dry-run", "--no-print-directory", "--assume-old=.venv/.ready", "check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    hooks = re.findall(r"^ +entry: (.*)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert len(hooks) == 5
    assert hooks == done.stdout.splitlines()

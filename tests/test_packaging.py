"""What can be checked of the units and the image without installing them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.process import program

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "systemd"


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program("systemd-analyze"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_service_is_hardened() -> None:
    done = analyze("security", "--offline=true", "--no-pager", UNITS / "rrwatch.service")
    level = re.search(r"Overall exposure level for rrwatch.service: ([0-9.]+)", done.stdout)
    assert level, done.stderr
    assert float(level[1]) <= 2.0


@pytest.mark.parametrize(
    "name",
    ["rrwatch.service", "bird.service", "bird6.service", "rrwatch-handover@bird.path", "rrwatch-handover@bird.service"],
)
def test_units_are_valid(name: str, tmp_path: Path) -> None:
    for unit in UNITS.glob("rrwatch*"):
        # systemd looks for the program and the manual page, which a checkout does not install.
        text = unit.read_text().replace("ExecStart=rrwatch run", f"ExecStart={sys.executable} -m rrwatch run")
        (tmp_path / unit.name).write_text(re.sub("Documentation=.*\n", "", text))
    for daemon in "bird", "bird6":
        packaged = Path(f"/lib/systemd/system/{daemon}.service").read_text()
        (tmp_path / f"{daemon}.service").write_text(packaged)
        shutil.copytree(UNITS / f"{daemon}.service.d", tmp_path / f"{daemon}.service.d")

    done = analyze("verify", "--man=no", tmp_path / name)

    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_waits_for_etcd_or_bird_for_ever() -> None:
    assert "TimeoutStartSec" not in (UNITS / "rrwatch.service").read_text()


def test_bird_does_not_wait_for_rrwatch() -> None:
    for daemon in "bird", "bird6":
        drop_in = (UNITS / f"{daemon}.service.d" / "10-rrwatch.conf").read_text()
        assert not re.search(r"^(After|Requires|BindsTo|PartOf)=", drop_in, re.MULTILINE)
        assert f"/etc/bird/{daemon}.cfg" in drop_in
        assert f"/etc/bird/{daemon}.conf" in drop_in


def test_the_image_has_what_the_sidecar_needs() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert 'ENTRYPOINT ["rrwatch"]' in lines
    assert any(line.startswith("USER ") and "root" not in line for line in lines)
    assert any(line.startswith("HEALTHCHECK ") and '"status", "--health"' in line for line in lines)
    assert any("/usr/sbin/birdc " in line for line in lines)

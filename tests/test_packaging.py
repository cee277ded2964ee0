"""Units and image: what can be told without installing them."""

import re
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
    done = analyze("security", "--offline=true", "--no-pager", UNITS / "rrwatch.commands.service")
    level = re.search(r"Overall exposure level for rrwatch.commands.service: ([0-9.]+)", done.stdout)
    assert level, done.stderr
    assert float(level[1]) <= 2.0


@pytest.mark.parametrize("name", ["rrwatch.commands.service", "bird.service", "bird6.service"])
def test_units_are_valid(name: str, tmp_path: Path) -> None:
    # systemd looks for the program and the manual page, which are installed elsewhere in a checkout.
    unit = (UNITS / "rrwatch.commands.service").read_text().replace("/opt/rrwatch/bin/rrwatch", sys.executable)
    (tmp_path / "rrwatch.commands.service").write_text(re.sub("Documentation=.*\n", "", unit))
    for daemon in "bird", "bird6":
        packaged = Path(f"/lib/systemd/system/{daemon}.service").read_text()
        (tmp_path / f"{daemon}.service").write_text(packaged)
        folder = tmp_path / f"{daemon}.service.d"
        folder.mkdir()
        (folder / "rrwatch.conf").write_text((UNITS / folder.name / "rrwatch.conf").read_text())

    done = analyze("verify", "--man=no", tmp_path / name)

    assert (done.returncode, done.stderr) == (0, "")


def test_bird_does_not_wait_for_rrwatch() -> None:
    for daemon in "bird", "bird6":
        drop_in = (UNITS / f"{daemon}.service.d" / "rrwatch.conf").read_text()
        assert "Wants=rrwatch.commands.service" in drop_in
        assert not re.search(r"^(After|Requires|BindsTo|PartOf)=", drop_in, re.MULTILINE)
        assert f"-c /etc/bird/{daemon}.cfg -s /run/bird/{daemon}.ctl" in drop_in


def test_the_image_has_what_the_sidecar_needs() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert 'ENTRYPOINT ["rrwatch"]' in lines
    assert any(line.startswith("USER ") and "root" not in line for line in lines)
    assert any(line.startswith("HEALTHCHECK ") and '"status", "--health"' in line for line in lines)
    assert any("/usr/sbin/birdc " in line for line in lines)

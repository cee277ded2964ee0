"""The sdist and the wheel, built as for a release."""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.process import program
from scripts.generator import KINDS, generate

ROOT = Path(__file__).parent.parent


def build(source: Path, folder: Path) -> None:
    command = [str(ROOT / ".tools" / "bin" / "uv"), "build", "-q", "--no-build-isolation", "--python", sys.executable,
               "--out-dir", str(folder), str(source)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Mapping[str, str]:
    """The texts of the wheel's files by their names."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        # Files that are installed below the prefix, outside the package, are in a folder of their own.
        names = {re.sub(r"^rrwatch-[^/]*\.data/data/", "", name): name for name in archive.namelist()}
        return {name: archive.read(stored).decode() for name, stored in names.items()}


def test_the_sdist_has_every_file_that_git_does_not_ignore(built: Path, tmp_path: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = sorted(name.partition("/")[2] for name in archive.getnames())
    # A repository of its own, because an unpacked sdist is not one.
    subprocess.run([program("git"), "init", "-q", tmp_path], check=True, timeout=30)
    command = [program("git"), "--git-dir", str(tmp_path / ".git"), "--work-tree", str(ROOT), "ls-files", "--others",
               "--exclude-standard"]  # fmt: skip
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    there = set(listed.splitlines())
    assert {"uv.lock", "Makefile", "scripts/setup", "lab/bird.py", "tests/cases/calico.json"} <= there
    assert packed == sorted(there | {"PKG-INFO"})


def test_an_unpacked_sdist_builds_the_same(built: Path, tmp_path: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    build(unpacked, tmp_path / "again")
    assert {file.name for file in (tmp_path / "again").iterdir()} >= {file.name for file in built.iterdir()}
    for file in built.glob("rrwatch-*"):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


class TestWheel:
    def test_carries_the_package_its_page_and_the_templates_alone(self, wheel: Mapping[str, str]) -> None:
        code = {name for name in wheel if name.startswith("rrwatch/")}
        there = {f"rrwatch/{path.relative_to(ROOT / 'rrwatch')}" for path in (ROOT / "rrwatch").rglob("*.py")}
        there |= {f"rrwatch/templates/{path.name}" for path in (ROOT / "templates").iterdir()}
        pages = [path.relative_to(ROOT) for path in (ROOT / "rrwatch" / "report" / "assets").iterdir()]
        assert {path.suffix for path in pages} == {".j2", ".css", ".js"}
        assert code == there | set(map(str, pages))
        assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"rrwatch", "share"}

    def test_carries_the_units(self, wheel: Mapping[str, str]) -> None:
        units = {path.relative_to(ROOT): path.read_text() for path in (ROOT / "systemd").rglob("*") if path.is_file()}
        assert {path.parts[1] for path in units} >= {"rrwatch.service", "bird.service.d", "bird6.service.d"}
        for path, text in units.items():
            assert wheel[f"share/rrwatch/{path}"] == text

    def test_carries_what_is_generated(self, wheel: Mapping[str, str]) -> None:
        places = {
            "man": "share/man/man1/rrwatch.1",
            "settings": "share/rrwatch/rrwatch.toml",
            "bash": "share/bash-completion/completions/rrwatch",
            "zsh": "share/zsh/site-functions/_rrwatch",
            "fish": "share/fish/vendor_completions.d/rrwatch.fish",
        }
        assert {kind: wheel[place] for kind, place in places.items()} == {kind: generate(kind) for kind in KINDS}

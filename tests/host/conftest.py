"""Hosts that are booted for a test, and the package to install on them."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.host import Host
from lab.network import namespace
from tests.host.reflector import Reflector

ROOT = Path(__file__).parent.parent.parent

BIRDS = ("bird", "bird2")


@pytest.fixture(scope="session")
def tree() -> Path:
    """A minimal Debian."""
    done = subprocess.run([ROOT / "scripts" / "host-tree"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def package() -> Path:
    """The package of this checkout, as `make deb` built it."""
    version = re.findall(r'__version__ = "(.+)"', (ROOT / "rrwatch" / "__init__.py").read_text())[0]
    (built,) = (ROOT / "dist").glob(f"rrwatch_{version}_all.deb")
    return built


@pytest.fixture(scope="session")
def older(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same package with a lower version, which rrwatch prints too."""
    folder = tmp_path_factory.mktemp("older")
    unpacked = folder / "unpacked"
    subprocess.run(["dpkg-deb", "--raw-extract", package, unpacked], check=True, timeout=60)
    for path, old in (
        (unpacked / "DEBIAN/control", "Version: "),
        (unpacked / "usr/lib/rrwatch/rrwatch/__init__.py", '"'),
    ):
        text = path.read_text()
        assert old in text
        path.write_text(re.sub(rf'({old})\d[^"\n]*', r"\g<1>0.0.9", text))
    built = folder / "rrwatch_0.0.9_all.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(unpacked), str(built)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    shutil.rmtree(unpacked)
    return built


@pytest.fixture(scope="session", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in BIRDS])
def bird(request: pytest.FixtureRequest) -> str:
    """A package of BIRD in Debian."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def disks(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Disks of hosts with some packages installed, which are off; each choice is made once."""
    made: dict[tuple[str, ...], Path] = {}

    def disk(*packages: str) -> Path:
        if packages not in made:
            folder = tmp_path_factory.mktemp("-".join(packages))
            with namespace() as space:
                host = Host(folder, space, [tree])
                try:
                    host.boot().run("apt-get", "--yes", "install", *packages, timeout=120)
                    host.power_off()
                finally:
                    host.cut_power()
            made[packages] = host.disk
        return made[packages]

    return disk


@pytest.fixture
def bare(tmp_path: Path, tree: Path, package: Path) -> Iterator[Reflector]:
    """A host with a minimal Debian."""
    with contextlib.ExitStack() as stack:
        yield Reflector(tmp_path, [tree], package, stack)


@pytest.fixture
def fresh(tmp_path: Path, tree: Path, package: Path, disks: Callable[..., Path], bird: str) -> Iterator[Reflector]:
    """A running host with Debian's BIRD; what rrwatch depends on is installed, which saves time."""
    with contextlib.ExitStack() as stack:
        reflector = Reflector(tmp_path, [disks("ca-certificates", "python3", bird), tree], package, stack)
        reflector.host.boot()
        yield reflector


@pytest.fixture
def established(fresh: Reflector) -> Reflector:
    """The same host after the first hour: rrwatch runs, and the session is up."""
    fresh.start_cluster()
    fresh.install()
    fresh.configure()
    fresh.enable()
    fresh.wait_established()
    return fresh

"""Fixtures that start a real etcd, a real BIRD and a real rrwatch."""

import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hypothesis
import pytest
import trustme

from lab.bird import BIRD1, MINIMAL, RELEASES, Bird, Release
from lab.daemon import Rrwatch
from lab.environment import beside, environment, reflector
from lab.etcd import Etcd
from lab.network import Namespace, namespace
from lab.process import wait_until
from rrwatch.settings.table import SETTINGS
from tests.command import Run, run_command
from tests.keys import CLUSTER, REFLECTOR

# The time that an example takes depends more on the machine than on the code.
hypothesis.settings.register_profile("rrwatch", deadline=None)
hypothesis.settings.load_profile("rrwatch")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() & {variable for setting in SETTINGS for variable in setting.older}:
        monkeypatch.delenv(name)
    for name in [name for name in os.environ if name.startswith("RRWATCH_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _etcd_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    etcd = Etcd(tmp_path_factory.mktemp("etcd")).start()
    yield etcd
    etcd.stop()


@pytest.fixture
def etcd(_etcd_of_the_session: Etcd) -> Etcd:
    """A running etcd without Calico's keys, which a test may write to but not stop."""
    if _etcd_of_the_session.items("/calico"):
        _etcd_of_the_session.delete("/calico", recursive=True)
    return _etcd_of_the_session


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[Etcd]:
    """A running etcd that a test may also stop or wipe."""
    etcd = Etcd(tmp_path / "etcd").start()
    yield etcd
    etcd.stop()


@pytest.fixture(scope="session")
def etcd_without_v2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """A running etcd that serves only the v3 API, as is its default."""
    etcd = Etcd(tmp_path_factory.mktemp("etcd-v3"), flags=["--enable-v2=false"])
    etcd.launch()
    wait_until(etcd.serves_version, f"etcd on {etcd.url}", 30)
    yield etcd
    etcd.stop()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of PEM files: `ca` with its key, `server` and `client` with their keys, and `stranger`, another CA."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.private_key_pem.write_to_path(str(folder / "ca.key"))
    trustme.CA().cert_pem.write_to_path(str(folder / "stranger.pem"))
    for name, subject in ("server", "127.0.0.1"), ("client", "rrwatch.example"):
        leaf = authority.issue_cert(subject)
        leaf.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        leaf.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    return folder


@pytest.fixture
def tls_etcd(tmp_path: Path, tls: Path) -> Iterator[Etcd]:
    """A running etcd that accepts only clients with a certificate."""
    etcd = Etcd(tmp_path / "etcd", tls).start()
    yield etcd
    etcd.stop()


@pytest.fixture
def space() -> Iterator[Namespace]:
    """A network namespace."""
    with namespace() as made:
        yield made


@pytest.fixture(params=RELEASES, ids=str)
def release(request: pytest.FixtureRequest) -> Release:
    """Each BIRD that rrwatch is tested with."""
    chosen: Release = request.param
    return chosen


@pytest.fixture
def bird(tmp_path: Path, space: Namespace, release: Release) -> Iterator[Bird]:
    """A running BIRD that peers with nobody."""
    bird = Bird(tmp_path / "bird", space, release=release)
    bird.config.write_text(MINIMAL)
    bird.start()
    yield bird
    bird.stop()


@pytest.fixture
def bird6(bird: Bird, space: Namespace) -> Iterator[Bird]:
    """The BIRD with the sessions of IPv6: the same one, or with 1.6 a second one."""
    if not bird.release.one_for_each_family:
        yield bird
        return
    bird6 = Bird(bird.folder, space, "bird6", bird.release)
    bird6.config.write_text(MINIMAL)
    bird6.start()
    yield bird6
    bird6.stop()


@pytest.fixture
def start_rrwatch(tmp_path: Path) -> Iterator[Callable[..., Rrwatch]]:
    """Starts `rrwatch run` for a BIRD; called with etcd's URL, a BIRD, and settings as keywords."""
    started: list[Rrwatch] = []
    numbers = itertools.count(1)

    def start(
        endpoints: str,
        bird: Bird,
        *arguments: str,
        namespace: str | None = None,
        through: Sequence[str] = (),
        **variables: str,
    ) -> Rrwatch:
        settings = beside(bird, endpoints, tmp_path / "state", **reflector(REFLECTOR))
        folder = tmp_path / f"rrwatch{next(numbers)}"
        rrwatch = Rrwatch(folder, settings | variables, *arguments, namespace=namespace, through=through)
        started.append(rrwatch)
        return rrwatch

    yield start
    for rrwatch in started:
        rrwatch.kill()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command as a reflector, with further settings as keywords."""

    def run(
        *arguments: str, stdin: str = "", through: Sequence[str] = (), **variables: str
    ) -> subprocess.CompletedProcess[str]:
        role = reflector(REFLECTOR)
        settings = environment(
            tmp_path / "bird.cfg", tmp_path / "bird.ctl", tmp_path / "state", PATH=BIRD1.path, **role
        )
        return run_command(*arguments, environment=settings | variables, stdin=stdin, through=through)

    return run


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """A file with the cluster's keys."""
    (tmp_path / "keys.json").write_text(json.dumps(CLUSTER))
    return str(tmp_path / "keys.json")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write the golden configurations anew")

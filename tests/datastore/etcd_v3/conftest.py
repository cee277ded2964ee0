"""A real etcd with the v3 API, in every version that is there, and followers that end with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.etcd_v3 import PROGRAMS, EtcdV3
from lab.process import free_port
from rrwatch import http
from rrwatch.datastore import etcd_v3 as adapter
from rrwatch.datastore.access import Access
from tests.datastore.etcd_v2.following import Mirrored
from tests.datastore.etcd_v3.following import Follow, access_to
from tests.datastore.relay import Relay


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "LIST_TIMEOUT", "PROBE_TIMEOUT", "OPEN_TIMEOUT":
        monkeypatch.setattr(adapter, name, 2.0)
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 1.0)


@pytest.fixture(scope="session", params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    """Each program of etcd that tests can use."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="session")
def _etcd_of_the_session(tmp_path_factory: pytest.TempPathFactory, program: str) -> Iterator[EtcdV3]:
    etcd = EtcdV3(tmp_path_factory.mktemp("etcd"), program=program)
    etcd.start()
    yield etcd
    etcd.stop()


@pytest.fixture
def etcd(_etcd_of_the_session: EtcdV3) -> EtcdV3:
    """A running etcd without Calico's keys, which a test may write to but not stop."""
    _etcd_of_the_session.delete("/calico", recursive=True)
    return _etcd_of_the_session


@pytest.fixture
def own_etcd(tmp_path: Path, program: str) -> Iterator[EtcdV3]:
    """A running etcd that a test may also stop or wipe."""
    etcd = EtcdV3(tmp_path / "etcd", program=program)
    etcd.start()
    yield etcd
    etcd.stop()


@pytest.fixture
def members(tmp_path: Path, program: str) -> Iterator[list[EtcdV3]]:
    """Three members of one cluster that have elected a leader."""
    urls = {f"m{number}": f"http://127.0.0.1:{free_port()}" for number in range(3)}
    made = [
        EtcdV3(tmp_path / name, program=program, members=urls, name=name, flags=["--snapshot-count", "500"])
        for name in urls
    ]
    for member in made:
        member.launch()
    for member in made:
        member.start_of_service()
    yield made
    for member in made:
        member.kill()


@pytest.fixture
def relay(etcd: EtcdV3) -> Iterator[Relay]:
    """A relay in front of a running etcd."""
    relay = Relay(etcd.url)
    yield relay
    relay.close()


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Follows etcd until the test is over."""
    made: list[Mirrored] = []

    def follow(*endpoints: str, access: Access | None = None) -> Mirrored:
        made.append(Mirrored(access=access or access_to(*endpoints)))
        return made[-1]

    yield follow
    for mirrored in made:
        assert mirrored.follower.end(5)

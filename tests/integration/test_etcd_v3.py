"""All commands with the keys of Calico's data model v1 in etcd v3, on an etcd that serves no other API."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from lab.bird import BIRD2, Bird, Release
from lab.daemon import Rrwatch
from lab.environment import beside, node
from lab.etcd import Etcd
from lab.etcd_v3 import EtcdV3
from tests.command import Run
from tests.keys import CLUSTER, NODES, PREFIX, REFLECTOR, SESSIONS, host
from tests.waits import names, wait_for_sessions

V3 = {"RRWATCH_DATASTORE": "etcdv3", "RRWATCH_MODEL": "calico-v1"}


@pytest.fixture(params=[BIRD2], ids=str)
def release(request: pytest.FixtureRequest) -> Release:
    chosen: Release = request.param
    return chosen


def test_records(run: Run, etcd_v3: EtcdV3) -> None:
    def ask(*words: str) -> str:
        done = run(*words, ETCD_ENDPOINTS=etcd_v3.url, **V3)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert ask("node-mesh", "show") == "on\n"
    ask("node-mesh", "off")
    assert ask("node-mesh", "show") == "off\n"
    ask("rr", "add", REFLECTOR, "--cluster-id", "1.0.0.1")
    ask("peer", "add", REFLECTOR, "as", "65100")
    assert REFLECTOR in ask("rr", "list")
    assert REFLECTOR in ask("peer", "list")
    assert etcd_v3.items(PREFIX).keys() == {
        f"{PREFIX}/global/node_mesh",
        f"{PREFIX}/rr_v4/{REFLECTOR}",
        f"{PREFIX}/global/peer_v4/{REFLECTOR}",
    }
    ask("rr", "remove", REFLECTOR)
    ask("peer", "remove", REFLECTOR)
    assert etcd_v3.items(PREFIX).keys() == {f"{PREFIX}/global/node_mesh"}


def test_sessions_and_once_in_both_roles(run: Run, etcd_v3: EtcdV3, bird: Bird) -> None:
    etcd_v3.put_all(CLUSTER)
    for role in {}, node("kube-node1"):
        settings = beside(bird, etcd_v3.url) | V3 | role
        done = run("sessions", "--json", **settings)
        assert (done.returncode, done.stderr) == (0, "")
        wanted = {session["name"] for session in json.loads(done.stdout)["sessions"]}
        assert wanted
        assert run("once", **settings).returncode == 0
        wait_for_sessions(bird, wanted)


def test_the_daemon_follows(etcd_v3: EtcdV3, bird: Bird, start_rrwatch: Callable[..., Rrwatch]) -> None:
    etcd_v3.put_all(CLUSTER)
    rrwatch = start_rrwatch(etcd_v3.url, bird, **V3)
    rrwatch.wait_for("configured")
    wait_for_sessions(bird, SESSIONS)
    etcd_v3.apply(host("new", "172.17.42.50"), tuple(host("kube-node2", "")))
    wait_for_sessions(bird, SESSIONS - names(NODES["kube-node2"]) | names("172.17.42.50"))
    assert bird.reconfigurations() == 2


@pytest.mark.parametrize("variable", ["RRWATCH_DATASTORE", "DATASTORE_TYPE"])
def test_another_datastore_is_refused(run: Run, variable: str) -> None:
    done = run("sessions", **{variable: "kubernetes"})
    assert (done.returncode, done.stderr) == (2, f"rrwatch: {variable} is 'kubernetes': want etcdv2 or etcdv3\n")


def test_the_older_variable_chooses_it(run: Run, etcd_v3: EtcdV3) -> None:
    etcd_v3.put_all(CLUSTER)
    done = run("sessions", "--json", ETCD_ENDPOINTS=etcd_v3.url, DATASTORE_TYPE="etcdv3", RRWATCH_MODEL="calico-v1")
    assert len(json.loads(done.stdout)["sessions"]) == 3


class TestGuard:
    HOSTS: ClassVar = {
        key: value for number in range(1, 7) for key, value in host(f"n{number}", f"172.17.50.{number}").items()
    }
    SESSIONS = names(*(f"172.17.50.{number}" for number in range(1, 7)))
    KEYS: ClassVar = {key: value for key, value in CLUSTER.items() if "/host/" not in key} | HOSTS

    @pytest.fixture
    def own_etcd_v3(self, tmp_path: Path) -> Iterator[EtcdV3]:
        etcd = EtcdV3(tmp_path / "etcd")
        etcd.start()
        yield etcd
        etcd.stop()

    def test_all_nodes_deleted_at_once_and_one_by_one(
        self, etcd_v3: EtcdV3, bird: Bird, start_rrwatch: Callable[..., Rrwatch]
    ) -> None:
        etcd_v3.put_all(self.KEYS)
        rrwatch = start_rrwatch(etcd_v3.url, bird, **V3)
        wait_for_sessions(bird, self.SESSIONS)
        etcd_v3.delete(f"{PREFIX}/host", recursive=True)
        assert set(rrwatch.wait_for("held")["sessions_kept"]) == self.SESSIONS
        assert bird.sessions() == self.SESSIONS
        etcd_v3.put_all(self.HOSTS)
        rrwatch.wait_for("hold_ended")
        for number in range(1, 6):
            etcd_v3.delete(f"{PREFIX}/host/n{number}", recursive=True)
        wait_for_sessions(bird, names("172.17.50.6"))
        assert len(rrwatch.all("held")) == 1

    def test_an_etcd_that_comes_back_empty(
        self, own_etcd_v3: EtcdV3, bird: Bird, start_rrwatch: Callable[..., Rrwatch]
    ) -> None:
        own_etcd_v3.put_all(self.KEYS)
        rrwatch = start_rrwatch(own_etcd_v3.url, bird, **V3)
        wait_for_sessions(bird, self.SESSIONS)
        own_etcd_v3.stop()
        own_etcd_v3.wipe()
        own_etcd_v3.start()
        assert set(rrwatch.wait_for("held", seconds=40)["sessions_kept"]) == self.SESSIONS
        assert bird.sessions() == self.SESSIONS
        own_etcd_v3.put_all(self.KEYS)
        rrwatch.wait_for("hold_ended")
        assert bird.sessions() == self.SESSIONS

    def test_the_other_api_of_the_same_etcd_counts_as_another_cluster(
        self, run: Run, tmp_path: Path, bird: Bird
    ) -> None:
        both = BothApis(tmp_path / "both")
        both.start()
        settings = beside(bird, both.url)
        try:
            for key, value in self.KEYS.items():
                Etcd.put(both, key, value)
            assert run("once", **settings).returncode == 0
            wait_for_sessions(bird, self.SESSIONS)
            keys = {key: value for key, value in self.KEYS.items() if "/n1/" not in key}
            both.put_all(keys)
            for number in range(500):  # so that its revision is higher than the index of v2
                both.put("/elsewhere", str(number))
            done = run("once", **settings, **V3)
        finally:
            both.stop()
        assert "etcd is another cluster" in done.stderr
        assert bird.sessions() == self.SESSIONS


class TestWrongChoice:
    def test_an_etcd_that_serves_the_other_api_only(self, run: Run, etcd_v3: EtcdV3, bird: Bird) -> None:
        etcd_v3.put_all(CLUSTER)
        done = run("once", "--timeout", "5", **beside(bird, etcd_v3.url))
        assert done.returncode == 1
        assert "does not serve the v2 API: its v3 API has keys of Calico, set datastore to etcdv3" in done.stderr
        found = self.check(run, bird, etcd_v3)
        assert found["text"].endswith("does not serve the v2 API")
        assert found["hint"] == "its v3 API has keys of Calico, set datastore to etcdv3"

    def test_an_etcd_that_serves_both(self, run: Run, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER)
        found = self.check(run, bird, etcd, **V3)
        assert found["text"] == "no keys of Calico in etcdv3, but in etcdv2, which the same etcd serves"
        assert found["hint"] == "set datastore to etcdv2"

    def test_it_is_the_other_way_round(self, run: Run, tmp_path: Path, bird: Bird) -> None:
        both = BothApis(tmp_path / "both")
        both.start()
        try:
            both.put_all(CLUSTER)
            found = self.check(run, bird, both)
        finally:
            both.stop()
        assert found["text"] == "no keys of Calico in etcdv2, but in etcdv3, which the same etcd serves"
        assert found["hint"] == "set datastore to etcdv3 and model to calico-v1"

    def check(self, run: Run, bird: Bird, etcd: Etcd, **variables: str) -> dict[str, str]:
        settings = beside(bird, etcd.url, RRWATCH_STATUS_LISTEN="") | variables
        done = run("check", "--json", "--user", "root", **settings)
        assert done.returncode == 1
        found: dict[str, str] = next(one for one in json.loads(done.stdout) if one["subject"].startswith("etcd "))
        assert not found["good"]
        return found


class BothApis(EtcdV3):
    """An etcd 3.4 with both APIs."""

    def _program(self) -> list[str]:
        return ["etcd", "--enable-v2=true"]

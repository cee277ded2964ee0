"""The loop's own decisions, step by step; what it does with etcd and BIRD stands in `integration`."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.bird import MINIMAL, Bird
from lab.process import free_port, wait_until
from rrwatch.bgp.topology import Family
from rrwatch.bird.apply import State
from rrwatch.daemon.loop import Daemon
from rrwatch.datastore.follow import Follower
from rrwatch.datastore.port import Snapshot
from rrwatch.report.status import Status
from rrwatch.report.systemd import Notifier
from rrwatch.settings.model import settings_of
from rrwatch.settings.values import RoleName
from tests.keys import CLUSTER, PREFIX, SESSIONS, host

MESH = CLUSTER | {f"{PREFIX}/global/node_mesh": '{"enabled": true}'}
NODE = "kube-node1"

SESSION = (Path(__file__).parents[2] / "templates" / "session.cfg.j2").read_text()


class Loop:
    """A daemon whose loop a test turns by hand, told of etcd by the test alone."""

    def __init__(self, bird: Bird, **values: object) -> None:
        endpoint = f"http://127.0.0.1:{free_port()}"
        paths = {"config": bird.config, "bird_socket": bird.socket}
        settings = settings_of(
            {
                "etcd_endpoints": (endpoint,),
                "min_interval": 0.0,
                "state_dir": bird.folder.parent / "state",
                **paths,
                **values,
            }
        )
        self.statuses: list[Status] = []
        self.daemon = Daemon(settings, Notifier(None), self.statuses.append)
        self.following = self.daemon._following
        self.following.want(settings.role.prefixes(None))

    def hear(self, prefix: str, items: dict[str, str], index: int = 1) -> None:
        below = {key: value for key, value in items.items() if key.startswith(prefix + "/")}
        self.daemon._take(Snapshot(prefix, below, index, "c", "http://e"))

    def turn(self) -> None:
        self.daemon._due = 0.0
        self.daemon._turn()

    def state(self) -> State | None:
        outcome = self.daemon._outcome
        return next(iter(outcome.applied.values())).state if outcome else None


@pytest.fixture(autouse=True)
def _no_follower_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follower, "start", lambda _: None)
    monkeypatch.setattr("rrwatch.daemon.loop.TEMPLATE_REST", 0.0)


def test_a_node_under_a_mesh_does_nothing_before_it_knows_all_nodes(bird: Bird) -> None:
    loop = Loop(bird, role=RoleName.NODE, nodename=NODE, families=(Family.IPV4,))
    for prefix in loop.daemon._settings.role.prefixes(None):
        loop.turn()
        loop.hear(prefix, MESH)
    for _ in range(3):
        loop.turn()
    assert bird.reconfigurations() == 0

    loop.hear(f"{PREFIX}/host", MESH)
    loop.turn()
    assert bird.sessions() == {"Mesh_172_17_42_30", "Mesh_172_17_42_32", "Global_172_17_42_40"}

    off = MESH | {f"{PREFIX}/global/node_mesh": '{"enabled": false}'}
    loop.hear(f"{PREFIX}/global", off)
    for _ in range(3):
        loop.turn()
    assert len(bird.sessions()) == 3
    loop.hear(f"{PREFIX}/host/{NODE}", off)
    loop.turn()
    assert bird.sessions() == {"Global_172_17_42_40"}
    assert loop.following.size == 5
    assert set(loop.daemon._records.topology().hosts) == {NODE}


def test_new_templates_are_tried_again_after_bird_hung(
    bird: Bird, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    loop = Loop(bird, ip=IPv4Address("172.17.42.40"), templates=templates)
    loop.hear(PREFIX, CLUSTER)
    loop.turn()
    assert loop.state() is State.CONFIRMED

    (templates / "session.cfg.j2").write_text(f"# new\n{SESSION}")
    with monkeypatch.context() as patch, bird.process.frozen():
        patch.setattr("rrwatch.bird.apply.TIMEOUT", 0.3)
        loop.turn()
        assert loop.state() is State.FAILED
    loop.turn()
    assert loop.state() is State.CONFIRMED
    assert "# new" in bird.config.read_text()


def test_templates_that_failed_get_another_chance_with_other_records(bird: Bird, tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    loop = Loop(bird, ip=IPv4Address("172.17.42.40"), templates=templates)
    loop.hear(PREFIX, CLUSTER | host("odd", "172.17.42.50"))
    loop.turn()
    (templates / "session.cfg.j2").write_text(
        f"# new\n{SESSION}{{% if session.node == 'odd' %}}\nnonsense\n{{% endif %}}\n"
    )
    loop.turn()
    assert loop.statuses[-1].template_error.startswith("refused: ")
    assert "Global_172_17_42_50" in bird.sessions()
    loop.turn()
    assert "# new" not in bird.config.read_text()

    loop.hear(PREFIX, CLUSTER)
    loop.turn()
    assert "# new" in bird.config.read_text()
    assert loop.statuses[-1].template_error == ""


def test_templates_are_read_when_their_folder_is_still(
    bird: Bird, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rrwatch.daemon.loop.TEMPLATE_REST", 0.2)
    templates = tmp_path / "templates"
    templates.mkdir()
    loop = Loop(bird, ip=IPv4Address("172.17.42.40"), templates=templates)
    loop.hear(PREFIX, CLUSTER)
    loop.turn()
    template = templates / "session.cfg.j2"
    for text in ("", SESSION[:20], "# half\n" + SESSION):
        template.write_text(text)
        loop.turn()
        assert loop.statuses[-1].template_error == ""
        assert "# half" not in bird.config.read_text()

    def taken_up() -> bool:
        loop.daemon._turn()
        return "# half" in bird.config.read_text()

    wait_until(taken_up, "the templates at rest", 2)
    assert bird.sessions() == SESSIONS


def test_a_fault_is_told_and_tried_again(bird: Bird, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(bird, ip=IPv4Address("172.17.42.40"))
    loop.hear(PREFIX, CLUSTER)
    with monkeypatch.context() as patch:
        patch.setattr("rrwatch.daemon.loop.apply_all", lambda *_: 1 / 0)
        loop.turn()
    assert loop.state() is None
    assert loop.statuses[-1].unready()
    loop.turn()
    assert loop.state() is State.CONFIRMED
    assert {bird.config, bird.socket} <= set(loop.daemon._look)


def test_bird_may_start_with_anything_until_its_version_is_known(bird: Bird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrwatch.bird.program.version", lambda _: None)
    bird.stop()
    bird.config.unlink()
    loop = Loop(bird, ip=IPv4Address("172.17.42.40"))
    loop.hear(PREFIX, CLUSTER)
    loop.turn()
    assert loop.state() is State.WAITING
    assert "waiting" in loop.statuses[-1].unready()
    assert not bird.release.refuses(bird.config)

    bird.start()
    loop.turn()
    assert loop.state() is State.CONFIRMED
    assert bird.sessions() == SESSIONS


def test_somebody_elses_file_stays_until_the_version_is_known(bird: Bird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrwatch.bird.program.version", lambda _: None)
    bird.stop()
    loop = Loop(bird, ip=IPv4Address("172.17.42.40"))
    loop.hear(PREFIX, CLUSTER)
    loop.turn()
    assert loop.state() is State.WAITING
    assert bird.config.read_text() == MINIMAL
    bird.start()
    loop.turn()
    assert bird.sessions() == SESSIONS

"""Sessions end where somebody asked for their end, and nowhere else."""

import http.client
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, Bird, Release
from lab.daemon import Rrwatch
from lab.environment import beside, node, reflector
from lab.etcd import Etcd
from lab.process import wait_until
from tests.command import run_command
from tests.keys import CLUSTER, PREFIX, REFLECTOR, block, global_peer, host, pool
from tests.keys import reflector as reflector_record
from tests.waits import names, wait_for_sessions

Start = Callable[..., Rrwatch]

ADDRESSES = [f"172.17.50.{number}" for number in range(1, 7)]
NODES = {f"n{number}": address for number, address in enumerate(ADDRESSES, start=1)}
HOSTS = {key: value for name, address in NODES.items() for key, value in host(name, address).items()}
GLOBAL = {key: value for key, value in CLUSTER.items() if f"{PREFIX}/host/" not in key}
SIX = GLOBAL | HOSTS
SESSIONS = names(*ADDRESSES)
NOBODY = 65534


@pytest.fixture
def release() -> Release:
    """Where nothing depends on the release, one is enough."""
    return BIRD1


def command(bird: Bird, etcd: Etcd, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command(*words, environment=beside(bird, etcd.url, folder / "state", **reflector(REFLECTOR)))


def begin(etcd: Etcd, bird: Bird, start: Start, **settings: str) -> Rrwatch:
    etcd.put_all(SIX)
    rrwatch = start(etcd.url, bird, **settings)
    rrwatch.wait_for("configured")
    wait_for_sessions(bird, SESSIONS)
    return rrwatch


@pytest.mark.parametrize(("release", "token"), [(BIRD1, "rrwatch-lab"), (BIRD2, "another")])
def test_an_etcd_that_comes_back_empty(own_etcd: Etcd, bird: Bird, start_rrwatch: Start, token: str) -> None:
    rrwatch = begin(own_etcd, bird, start_rrwatch)
    own_etcd.stop()
    own_etcd.wipe()
    own_etcd.token = token
    own_etcd.start()

    held = rrwatch.wait_for("held", seconds=40)
    assert set(held["sessions_kept"]) == SESSIONS
    assert held["nodes_gone"] == sorted(NODES)
    assert bird.sessions() == SESSIONS

    own_etcd.put_all(SIX)
    rrwatch.wait_for("hold_ended")
    assert bird.sessions() == SESSIONS
    assert bird.reconfigurations() == 1
    own_etcd.put_all(host("n7", "172.17.50.7"))
    wait_for_sessions(bird, SESSIONS | names("172.17.50.7"))


def test_an_older_backup_that_lacks_one_node_and_a_release(
    own_etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    own_etcd.put_all({key: value for key, value in SIX.items() if "/n6/" not in key})
    own_etcd.stop()
    own_etcd.save()
    own_etcd.start()
    rrwatch = begin(own_etcd, bird, start_rrwatch)
    for number in range(20):
        own_etcd.put("/elsewhere", str(number))

    own_etcd.stop()
    own_etcd.restore()
    own_etcd.start()

    held = rrwatch.wait_for("held", seconds=40)
    assert held["sessions_kept"] == ["Global_172_17_50_6"]
    assert "older backup" in held["reason"]
    assert bird.sessions() == SESSIONS
    assert command(bird, own_etcd, tmp_path, "once").returncode == 1  # the daemon has the file

    assert "released; 1 sessions to end" in command(bird, own_etcd, tmp_path, "release").stdout
    wait_for_sessions(bird, SESSIONS - names("172.17.50.6"))
    rrwatch.wait_for("hold_ended")
    assert command(bird, own_etcd, tmp_path, "release").stdout == "nothing is held\n"


def test_a_host_tree_deleted_by_mistake_through_restarts(
    etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch)
    etcd.delete(f"{PREFIX}/host", recursive=True)
    held = rrwatch.wait_for("held")
    assert "6 of 6 sessions would end" in held["reason"]
    rrwatch.kill()

    # Held is what was held, whoever restarts; and the rest of the work goes on.
    again = start_rrwatch(etcd.url, bird)
    again.wait_for("held")
    again.wait_for("confirmed")
    whole = bird.config.read_text()
    bird.config.write_text(whole[: len(whole) // 2])
    wait_until(lambda: bird.config.read_text() == whole, "the whole file")
    assert bird.sessions() == SESSIONS

    # Some nodes are back: the others still count as gone.
    for name, address in list(NODES.items())[:4]:
        etcd.put_all(host(name, address))
    again.stop()
    third = start_rrwatch(etcd.url, bird)
    assert third.wait_for("held")["nodes_gone"] == ["n5", "n6"]
    asked = ("--status-listen", third.status_address)
    wait_until(lambda: command(bird, etcd, tmp_path, "status", *asked).returncode == 4, "held")
    assert bird.sessions() == SESSIONS

    etcd.put_all(HOSTS)
    third.wait_for("hold_ended")
    wait_for_sessions(bird, SESSIONS)
    assert bird.reconfigurations() == 2  # the second for the damaged file


def test_while_it_is_held_a_damaged_file_is_put_right(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch)
    etcd.delete(f"{PREFIX}/host", recursive=True)
    rrwatch.wait_for("held")
    whole = bird.config.read_text()
    bird.config.write_text(whole[: len(whole) // 2])
    wait_until(lambda: bird.config.read_text() == whole, "the whole file")
    rrwatch.wait_for("drift_found")


@pytest.mark.parametrize(("release", "text"), [(BIRD1, None), (BIRD2, "")])
def test_a_file_that_is_lost_as_well_ends_no_hold(
    etcd: Etcd, bird: Bird, start_rrwatch: Start, text: str | None
) -> None:
    def lose() -> None:
        bird.config.unlink() if text is None else bird.config.write_text(text)

    rrwatch = begin(etcd, bird, start_rrwatch)
    whole = bird.config.read_text()
    etcd.delete(f"{PREFIX}/host", recursive=True)
    rrwatch.wait_for("held")
    rrwatch.stop()

    # It comes up with the file as it was, and then that is lost, and BIRD with it.
    again = start_rrwatch(etcd.url, bird)
    again.wait_for("confirmed")
    bird.kill()
    lose()
    wait_until(lambda: bird.config.exists() and bird.config.read_text() == whole, "the whole file")
    bird.start()
    wait_for_sessions(bird, SESSIONS)
    again.stop()

    # What was wanted is in no file any more: BIRD alone knows.
    lose()
    third = start_rrwatch(etcd.url, bird)
    assert third.wait_for("held")["sessions_kept"] == sorted(SESSIONS)
    assert bird.sessions() == SESSIONS
    etcd.put_all(HOSTS)
    third.wait_for("hold_ended")
    wait_until(lambda: bird.config.exists() and bird.config.read_text() == whole, "the whole file")
    assert bird.sessions() == SESSIONS


@pytest.mark.parametrize("release", [BIRD1, BIRD2], ids=str)
def test_what_is_learned_of_bird_ends_no_hold(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    mesh = {f"Mesh_{address.replace('.', '_')}" for address in ADDRESSES[1:]}
    keys = HOSTS | pool("192.168.0.0/16", "tunl0") | {f"{PREFIX}/global/as_num": "65100"}
    etcd.put_all(keys)
    rrwatch = start_rrwatch(etcd.url, bird, **node("n1"))
    wait_for_sessions(bird, mesh)
    rrwatch.stop()
    bird.stop()
    for name in list(NODES)[1:]:
        etcd.delete(f"{PREFIX}/host/{name}", recursive=True)

    # Whether it has tunnels, only a BIRD that runs can say.
    again = start_rrwatch(etcd.url, bird, **node("n1"))
    again.wait_for("held")
    again.wait_for("waiting_for_bird")
    bird.start()
    wait_for_sessions(bird, mesh)
    assert again.all("held")
    assert not again.all("hold_ended")


def test_what_somebody_asked_for_is_never_held(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch, RRWATCH_MIN_INTERVAL="2")
    etcd.delete(f"{PREFIX}/global/peer_v4/{REFLECTOR}")
    wait_for_sessions(bird, set())
    etcd.put_all(GLOBAL)
    wait_for_sessions(bird, SESSIONS)
    for name in list(NODES)[:5]:  # one by one, though all within one pass
        etcd.delete(f"{PREFIX}/host/{name}", recursive=True)
    wait_for_sessions(bird, names(ADDRESSES[5]))
    etcd.put(f"{PREFIX}/host/n6/ip_addr_v4", "")
    wait_for_sessions(bird, set())
    assert not rrwatch.all("held")


def test_nodes_under_other_names_are_no_nodes_that_are_gone(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch, RRWATCH_MIN_INTERVAL="2")
    etcd.delete(f"{PREFIX}/host", recursive=True)
    for name, address in NODES.items():
        etcd.put_all(host(f"{name}.example", address))
    etcd.put_all(host("marker", "172.17.50.99"))
    wait_for_sessions(bird, SESSIONS | names("172.17.50.99"))
    assert not rrwatch.all("configured", sessions_removed=sorted(SESSIONS))


def test_by_settings_it_is_off(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch, RRWATCH_GUARD_PERCENT="0")
    etcd.delete("/calico", recursive=True)
    wait_for_sessions(bird, set())
    assert not rrwatch.all("held")


@pytest.mark.parametrize(("percent", "minimum", "gone", "held"), [
    ("50", "5", 3, False), ("49", "5", 3, True), ("50", "7", 6, False), ("99", "5", 6, True),
])  # fmt: skip
def test_the_share(
    own_etcd: Etcd, bird: Bird, start_rrwatch: Start, percent: str, minimum: str, gone: int, held: bool
) -> None:
    guard = {"RRWATCH_GUARD_PERCENT": percent, "RRWATCH_GUARD_MIN": minimum}
    rrwatch = begin(own_etcd, bird, start_rrwatch, **guard)
    # While rrwatch is away, nobody can tell how they went.
    assert rrwatch.stop() == 0
    for name in list(NODES)[:gone]:
        own_etcd.delete(f"{PREFIX}/host/{name}", recursive=True)
    again = start_rrwatch(own_etcd.url, bird, **guard)
    if held:
        again.wait_for("held")
        assert bird.sessions() == SESSIONS
    else:
        wait_for_sessions(bird, names(*ADDRESSES[gone:]))


def test_once_is_held_too(etcd: Etcd, bird: Bird, tmp_path: Path) -> None:
    etcd.put_all(SIX)
    assert command(bird, etcd, tmp_path, "once").returncode == 0
    etcd.delete(f"{PREFIX}/host", recursive=True)
    done = command(bird, etcd, tmp_path, "once")
    assert done.returncode == 4
    assert '"held"' in done.stderr
    assert bird.sessions() == SESSIONS

    assert "when it starts" in command(bird, etcd, tmp_path, "release").stdout
    assert command(bird, etcd, tmp_path, "once").returncode == 0
    assert bird.sessions() == set()


def test_without_a_folder_for_its_state_it_says_so_and_works(
    etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    rrwatch = begin(etcd, bird, start_rrwatch, RRWATCH_STATE_DIR=str(tmp_path / "file" / "state"))
    etcd.delete(f"{PREFIX}/host", recursive=True)
    rrwatch.wait_for("held")
    assert len(rrwatch.all("state_lost")) == 1
    assert bird.sessions() == SESSIONS


def test_an_orderly_end_remembers_the_latest_nodes(
    etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch)
    etcd.put_all(host("n7", "172.17.50.7"))
    wait_for_sessions(bird, SESSIONS | names("172.17.50.7"))
    rrwatch.wait_for("configured", after=1)
    assert rrwatch.stop() == 0
    assert "/host/n7/" in (tmp_path / "state" / "baseline.json").read_text()


class TestAnotherUser:
    @pytest.fixture
    def tmp_path(self) -> Iterator[Path]:
        """A folder that every user can reach; pytest's own are for root alone."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Path(folder)

    def test_a_release_by_root_reaches_a_service_of_another_user(
        self, etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path
    ) -> None:
        state = tmp_path / "state"
        state.mkdir()
        for path in (state, bird.folder, bird.config, bird.socket):
            os.chown(path, NOBODY, NOBODY)
        as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        strict = ["sh", "-c", 'umask 027; exec "$@"', "sh"]
        etcd.put_all(SIX)
        settings = beside(bird, etcd.url, state, **reflector(REFLECTOR))
        assert run_command("once", environment=settings, through=strict).returncode == 0
        rrwatch = start_rrwatch(etcd.url, bird, through=as_nobody)
        rrwatch.wait_for("confirmed")
        etcd.delete(f"{PREFIX}/host", recursive=True)
        rrwatch.wait_for("held")
        assert not rrwatch.all("state_lost")
        assert run_command("release", environment=settings, through=strict).stdout.startswith("released; 6 sessions")
        wait_for_sessions(bird, set())


def test_writing_all_records_again_does_not_blind_it(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch)
    etcd.put_all(HOSTS)  # a restart of all nodes
    etcd.put(f"{PREFIX}/host/n1/peer_v4/10.9.9.9", "")
    etcd.delete(f"{PREFIX}/host/n1/peer_v4", recursive=True)
    etcd.delete(f"{PREFIX}/host", recursive=True)
    assert set(rrwatch.wait_for("held")["sessions_kept"]) == SESSIONS
    assert bird.sessions() == SESSIONS


def test_new_nodes_get_sessions_while_others_are_held(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch)
    etcd.delete(f"{PREFIX}/host", recursive=True)
    rrwatch.wait_for("held")
    etcd.put_all(host("n7", "172.17.50.7"))
    wait_for_sessions(bird, SESSIONS | names("172.17.50.7"))
    etcd.put_all(host("n1", ADDRESSES[0]))
    etcd.delete(f"{PREFIX}/host/n1", recursive=True)
    wait_for_sessions(bird, SESSIONS - names(ADDRESSES[0]) | names("172.17.50.7"))


@pytest.mark.parametrize("how", ["run", "once"])
@pytest.mark.parametrize("count", [3, 6])
def test_an_etcd_that_was_emptied_while_rrwatch_was_away(
    etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path, how: str, count: int
) -> None:
    etcd.put_all(
        GLOBAL | {key: value for name in list(NODES)[:count] for key, value in host(name, NODES[name]).items()}
    )
    assert command(bird, etcd, tmp_path, "once").returncode == 0
    etcd.delete(PREFIX, recursive=True)
    if how == "run":
        held = start_rrwatch(etcd.url, bird).wait_for("held")
        assert f"{PREFIX} is empty" in held["reason"]
    else:
        assert command(bird, etcd, tmp_path, "once").returncode == 4
    assert bird.sessions() == names(*ADDRESSES[:count])


def test_an_older_backup_restored_while_rrwatch_was_away(own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    own_etcd.put_all(SIX)
    own_etcd.delete(f"{PREFIX}/global/peer_v4/{REFLECTOR}")
    own_etcd.stop()
    own_etcd.save()
    own_etcd.start()
    rrwatch = begin(own_etcd, bird, start_rrwatch)
    assert rrwatch.stop() == 0
    own_etcd.stop()
    own_etcd.restore()
    own_etcd.start()
    held = start_rrwatch(own_etcd.url, bird).wait_for("held")
    assert "went back" in held["reason"]
    assert bird.sessions() == SESSIONS


@pytest.mark.parametrize("how", ["run", "once"])
@pytest.mark.parametrize(
    "damage", ["", "{", '{"format": 99}', '{"format": 1, "viewer": "reflector 172.17.42.40", "nodes": {}}']
)
def test_a_baseline_that_cannot_be_read_ends_no_session(
    etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path, how: str, damage: str
) -> None:
    etcd.put_all(SIX)
    assert command(bird, etcd, tmp_path, "once").returncode == 0
    (tmp_path / "state" / "baseline.json").write_text(damage)
    for name in list(NODES)[:2]:  # less than the share
        etcd.delete(f"{PREFIX}/host/{name}", recursive=True)
    if how == "run":
        rrwatch = start_rrwatch(etcd.url, bird)
        assert rrwatch.wait_for("held")["sessions_kept"] == sorted(names(*ADDRESSES[:2]))
        rrwatch.wait_for("state_lost")
    else:
        done = command(bird, etcd, tmp_path, "once")
        assert done.returncode == 4
        assert '"state_lost"' in done.stderr
    assert bird.sessions() == SESSIONS


TYPOS = {
    "the peer": f"{PREFIX}/global/peer_v4/{REFLECTOR}",
    "the AS": f"{PREFIX}/global/as_num",
    "another reflector": f"{PREFIX}/rr_v4/172.17.42.41",
    "its own record": f"{PREFIX}/rr_v4/{REFLECTOR}",
    "a node": f"{PREFIX}/host/n1/ip_addr_v4",
}


@pytest.mark.parametrize("key", TYPOS.values(), ids=TYPOS)
def test_a_typo_ends_no_session(etcd: Etcd, bird: Bird, start_rrwatch: Start, key: str) -> None:
    etcd.put_all(SIX | reflector_record("172.17.42.41"))
    all_sessions = SESSIONS | {"Mesh_172_17_42_41"}
    rrwatch = start_rrwatch(etcd.url, bird)
    wait_for_sessions(bird, all_sessions)
    etcd.put(key, '{"ip": "172.17.42.4')
    rejected = rrwatch.wait_for("record_rejected", key=key)
    assert rejected["reason"].endswith("its last readable value stays in force")
    assert (bird.sessions(), bird.reconfigurations()) == (all_sessions, 1)

    assert rrwatch.stop() == 0
    again = start_rrwatch(etcd.url, bird)
    again.wait_for("confirmed")
    again.wait_for("record_rejected", key=key)
    assert (bird.sessions(), bird.reconfigurations()) == (all_sessions, 1)

    etcd.delete(key)
    wait_until(lambda: bird.reconfigurations() == 2, "what somebody asked for")
    assert not again.all("held")


def test_a_typo_in_the_switch_of_the_mesh_starts_no_session(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    etcd.put_all(SIX)
    rrwatch = start_rrwatch(etcd.url, bird, **node("n1"))
    wait_for_sessions(bird, {"Global_172_17_42_40"})
    etcd.put(f"{PREFIX}/global/node_mesh", '{"enabled": fals')
    rrwatch.wait_for("record_rejected", key=f"{PREFIX}/global/node_mesh")
    assert bird.sessions() == {"Global_172_17_42_40"}


@pytest.mark.parametrize("folder", [f"{PREFIX}/global", f"{PREFIX}/global/peer_v4"])
def test_the_global_records_deleted_as_a_whole(etcd: Etcd, bird: Bird, start_rrwatch: Start, folder: str) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch)
    etcd.delete(folder, recursive=True)
    assert set(rrwatch.wait_for("held")["sessions_kept"]) == SESSIONS
    assert (bird.sessions(), bird.reconfigurations()) == (SESSIONS, 1)


def test_two_reflectors_that_share_a_directory_do_not_blind_each_other(
    etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    begin(etcd, bird, start_rrwatch).stop()
    other = {"IP": "172.17.42.41", "RRWATCH_CONFIG": str(tmp_path / "other" / "bird.cfg")}
    (tmp_path / "other").mkdir()
    etcd.put_all(global_peer("172.17.42.41"))
    second = start_rrwatch(etcd.url, bird, **other, RRWATCH_BIRD_SOCKET=str(tmp_path / "other" / "bird.ctl"))
    second.wait_for("installed")
    second.stop()
    etcd.delete(f"{PREFIX}/host", recursive=True)
    assert set(start_rrwatch(etcd.url, bird).wait_for("held")["sessions_kept"]) == SESSIONS
    assert bird.sessions() == SESSIONS


def test_a_hold_survives_that_another_family_is_switched_on(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch)
    etcd.delete(f"{PREFIX}/host", recursive=True)
    rrwatch.wait_for("held")
    assert rrwatch.stop() == 0
    again = start_rrwatch(etcd.url, bird, IP6="fd00::40")
    again.wait_for("held")  # logged when BIRD has its configuration
    assert bird.sessions() == SESSIONS


@pytest.mark.parametrize("folder", ["/calico/v1/ipam", "/calico/ipam/v2/host/n1"])
def test_a_nodes_pools_and_blocks_count(etcd: Etcd, bird: Bird, start_rrwatch: Start, folder: str) -> None:
    etcd.put_all(SIX | pool("192.168.0.0/16") | block("n1", "192.168.1.0/26"))
    rrwatch = start_rrwatch(etcd.url, bird, **node("n1"))
    wait_for_sessions(bird, {"Global_172_17_42_40"})
    whole = bird.config.read_text()
    assert "192.168.1.0/26" in whole
    etcd.delete(folder, recursive=True)
    held = rrwatch.wait_for("held")
    assert "1 of 2 blocks and pools are gone that nobody deleted" in held["reason"]
    assert bird.config.read_text() == whole
    etcd.put_all(pool("192.168.0.0/16") | block("n1", "192.168.1.0/26"))
    rrwatch.wait_for("hold_ended")
    assert bird.config.read_text() == whole


def test_what_is_held_is_seen(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch)
    assert page(rrwatch, "/readyz") == (200, "ready\n")
    etcd.delete(f"{PREFIX}/host", recursive=True)
    rrwatch.wait_for("held")
    wait_until(lambda: page(rrwatch, "/readyz")[0] == 503, "the status")

    assert "6 of 6 sessions would end" in page(rrwatch, "/readyz")[1]
    assert "`rrwatch release` lets the held change go ahead" in page(rrwatch, "/readyz")[1]
    status = json.loads(page(rrwatch, "/status")[1])
    assert status["ready"] is False
    assert set(status["held"]["sessions"]) == SESSIONS
    rows = json.loads(page(rrwatch, "/sessions")[1])["sessions"]
    assert {row["name"] for row in rows if not row["derived"]} == SESSIONS
    assert {row["key"] for row in rows} == {f"{PREFIX}/global/peer_v4/{REFLECTOR}"}
    daemon = status["daemons"]["bird"]
    assert daemon["wanted_generation"] == daemon["installed_generation"] == daemon["confirmed_generation"]
    assert daemon["confirmed_generation"] == bird.generation()
    assert status["recent"][-1]["added"] == 6
    assert status["etcd"]["last_answer_age_s"] < 30
    metrics = page(rrwatch, "/metrics")[1].splitlines()
    for line in (
        "rrwatch_held 1.0",
        "rrwatch_held_nodes 6.0",
        "rrwatch_ready 0.0",
        'rrwatch_sessions{daemon="bird"} 6.0',
    ):
        assert line in metrics


def page(rrwatch: Rrwatch, path: str) -> tuple[int, str]:
    host, port = rrwatch.status_address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()

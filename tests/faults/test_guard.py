"""Nodes that vanish all at once are held, and what somebody asked for is not."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, Bird, Release
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.process import wait_until
from tests.keys import CLUSTER, PREFIX, REFLECTOR, host, pool
from tests.waits import names, wait_for_sessions

Start = Callable[..., Rrwatch]

ADDRESSES = [f"172.17.50.{number}" for number in range(1, 7)]
NODES = {f"n{number}": address for number, address in enumerate(ADDRESSES, start=1)}
HOSTS = {key: value for name, address in NODES.items() for key, value in host(name, address).items()}
GLOBAL = {key: value for key, value in CLUSTER.items() if f"{PREFIX}/host/" not in key}
SIX = GLOBAL | HOSTS
SESSIONS = names(*ADDRESSES)


@pytest.fixture(params=[BIRD1, BIRD2], ids=str)
def release(request: pytest.FixtureRequest) -> Release:
    """Nothing here depends on more."""
    chosen: Release = request.param
    return chosen


def command(bird: Bird, etcd: Etcd, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "PATH": os.environ["PATH"],
        "IP": REFLECTOR,
        "ETCD_ENDPOINTS": etcd.url,
        "RRWATCH_CONFIG": str(bird.config),
        "RRWATCH_BIRD_SOCKET": str(bird.socket),
        "RRWATCH_STATE_DIR": str(folder / "state"),
    }
    words = (sys.executable, "-m", "rrwatch", *words)
    return subprocess.run(words, env=settings, capture_output=True, text=True, timeout=60, check=False)


def begin(etcd: Etcd, bird: Bird, start: Start, **settings: str) -> Rrwatch:
    etcd.put_all(SIX)
    rrwatch = start(etcd.url, bird, **settings)
    rrwatch.wait_for("configured")
    wait_for_sessions(bird, SESSIONS)
    return rrwatch


@pytest.mark.parametrize("token", ["rrwatch-lab", "another"])
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
    assert command(bird, etcd, tmp_path, "status").returncode == 1
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


@pytest.mark.parametrize("text", [None, ""])
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


def test_what_is_learned_of_bird_ends_no_hold(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    node = {"RRWATCH_ROLE": "node", "NODENAME": "n1", "IP": "", "RRWATCH_ETCD_SPREAD": "0"}
    mesh = {f"Mesh_{address.replace('.', '_')}" for address in ADDRESSES[1:]}
    keys = HOSTS | pool("192.168.0.0/16", "tunl0") | {f"{PREFIX}/global/as_num": "65100"}
    etcd.put_all(keys)
    rrwatch = start_rrwatch(etcd.url, bird, **node)
    wait_for_sessions(bird, mesh)
    rrwatch.stop()
    bird.stop()
    for name in list(NODES)[1:]:
        etcd.delete(f"{PREFIX}/host/{name}", recursive=True)

    # Whether it has tunnels, only a BIRD that runs can say.
    again = start_rrwatch(etcd.url, bird, **node)
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


def test_what_is_held_is_seen(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    rrwatch = begin(etcd, bird, start_rrwatch)
    assert page(rrwatch, "/readyz") == (200, "ready\n")
    etcd.delete(f"{PREFIX}/host", recursive=True)
    rrwatch.wait_for("held")
    wait_until(lambda: page(rrwatch, "/readyz")[0] == 503, "the status")

    assert "6 of 6 sessions would end" in page(rrwatch, "/readyz")[1]
    status = json.loads(page(rrwatch, "/status")[1])
    assert status["ready"] is False
    assert set(status["held"]["sessions"]) == SESSIONS
    assert {session["key"] for session in status["sessions"]} == {f"{PREFIX}/global/peer_v4/{REFLECTOR}"}
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

"""`rrwatch run` and the sessions that its BIRD really has: a BIRD at the other end, which goes and comes."""

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.bird import BIRD1, BIRD2, Bird, Release
from lab.daemon import Rrwatch
from lab.environment import beside
from lab.etcd import Etcd
from lab.network import Namespace, join, namespace
from lab.process import wait_until
from tests.command import Run
from tests.keys import CLUSTER, NODES, PREFIX, REFLECTOR, SESSIONS
from tests.schemas import validate

NODE = "kube-node1"
NAME = "Global_172_17_42_31"
SHUTDOWN = "Received: Administrative shutdown"

Start = Callable[..., Rrwatch]


@pytest.fixture
def node(space: Namespace, tmp_path: Path, release: Release) -> Iterator[Bird]:
    """The BIRD of a node, not started yet, which peers with the reflector."""
    with namespace() as other:
        join(space, f"{REFLECTOR}/24", other, f"{NODES[NODE]}/24")
        bird = Bird(tmp_path / "node" / "bird", other, release=release)
        bird.config.write_text(
            f"router id {NODES[NODE]};\nprotocol device {{ scan time 2; }}\n"
            f"protocol bgp reflector {{ local {NODES[NODE]} as 65100; neighbor {REFLECTOR} as 65100; "
            f"connect delay time 1; connect retry time 1; error wait time 1, 2; "
            f"{'' if release is BIRD1 else 'ipv4 { import all; export all; };'} }}\n"
        )
        yield bird
        bird.stop()


def get(rrwatch: Rrwatch, page: str) -> tuple[int, str]:
    host, port = rrwatch.status_address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def rows(rrwatch: Rrwatch, query: str = "") -> dict[str, dict[str, Any]]:
    code, text = get(rrwatch, f"/sessions?{query}")
    return {row["name"]: row for row in json.loads(text)["sessions"]} if code == 200 else {}  # before the first turn


@pytest.mark.parametrize("release", [BIRD1, BIRD2], ids=str)
def test_a_session_comes_is_lost_and_its_history_survives(
    etcd: Etcd, bird: Bird, node: Bird, start_rrwatch: Start, run: Run
) -> None:
    etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(etcd.url, bird)
    rrwatch.wait_for("configured")
    node.start()

    wait_until(lambda: rows(rrwatch, "state=up"), "a session that is up", 30)
    assert rows(rrwatch).keys() == SESSIONS
    row = rows(rrwatch, f"node={NODE}")[NAME]
    assert (row["state"], row["last_error"], row["losses"], row["daemon"]) == ("Established", None, 0, "bird")
    expected = {"up": 1, "down": 2, "losses_total": 0, "losses_last_hour": 0, "poll_error": None}
    assert expected.items() <= daemon_of(rrwatch).items()
    status = json.loads(get(rrwatch, "/status")[1])
    assert {one["name"] for one in status["down_longest"]} == SESSIONS - {NAME}

    settings = beside(bird, etcd.url, RRWATCH_STATUS_LISTEN=rrwatch.status_address)
    found = {one["name"]: one for one in json.loads(run("sessions", "--json", **settings).stdout)["sessions"]}
    assert (found[NAME]["state"], found[NAME]["since"]) == ("Established", row["since"])

    node.stop()
    lost = rrwatch.wait_for("session_lost")
    assert (lost["session"], lost["node"], lost["last_error"], lost["daemon"]) == (NAME, NODE, SHUTDOWN, "bird")
    row = rows(rrwatch, f"text={NODE}&state=down")[NAME]
    assert (row["last_error"], row["losses"], row["losses_last_hour"]) == (SHUTDOWN, 1, 1)
    wait_until(lambda: "Socket: " in bird.protocols()[NAME].info, "BIRD shows a later error", 30)
    polled = daemon_of(rrwatch)["polled_at"]
    wait_until(lambda: daemon_of(rrwatch)["polled_at"] > polled, "another poll")
    assert rows(rrwatch)[NAME]["last_error"] == SHUTDOWN

    node.start()
    rrwatch.wait_for("session_up", 30, after=1, session=NAME, node=NODE)
    since = rows(rrwatch)[NAME]["since"]
    text = get(rrwatch, "/metrics")[1]
    assert 'rrwatch_bgp_sessions{daemon="bird",state="Established"} 1.0' in text
    assert 'rrwatch_bgp_session_losses_total{daemon="bird"} 1.0' in text
    assert "rrwatch_not_ready_since_timestamp_seconds 0.0" in text
    assert "rrwatch_bgp_session_up" not in text

    assert rrwatch.stop() == 0
    rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_SESSION_METRICS="on")
    wait_until(lambda: daemon_of(rrwatch).get("up"), "the first poll", 15)
    assert rows(rrwatch)[NAME].items() >= {"since": since, "losses": 1, "last_error": SHUTDOWN}.items()
    text = get(rrwatch, "/metrics")[1]
    assert f'session_up{{daemon="bird",node="{NODE}",session="{NAME}"}} 1.0' in text
    # What is remembered may be older than what a scrape has seen: the counter begins anew.
    assert 'rrwatch_bgp_session_losses_total{daemon="bird"} 0.0' in text

    etcd.delete(f"{PREFIX}/host/{NODE}", recursive=True)
    wait_until(lambda: NAME not in rows(rrwatch), "the row is gone")
    etcd.put_all(CLUSTER)
    rrwatch.wait_for("session_up", 30, session=NAME)
    assert not rrwatch.all("session_lost")

    code, line = get(rrwatch, "/sessions?state=upp")
    assert (code, line.count("\n")) == (400, 1)
    bird.kill()
    assert rrwatch.wait_for("session_lost")["last_error"] == "BIRD stopped"
    assert rows(rrwatch)[NAME]["state"] is None
    assert daemon_of(rrwatch)["down"] == 3


def daemon_of(rrwatch: Rrwatch) -> dict[str, Any]:
    code, text = get(rrwatch, "/status")
    daemons: dict[str, dict[str, Any]] = json.loads(text)["daemons"] if code == 200 else {}
    return daemons.get("bird", {})


@pytest.mark.parametrize("release", [BIRD2], ids=str)
def test_a_loss_is_told_to_hooks(etcd: Etcd, bird: Bird, node: Bird, start_rrwatch: Start, tmp_path: Path) -> None:
    hook = f"sh -c 'cat >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/told'"
    etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_HOOK_COMMAND=hook)
    rrwatch.wait_for("configured")
    node.start()
    rrwatch.wait_for("session_up", 30)
    node.stop()
    wait_until((tmp_path / "told").exists, "the hook")
    told = json.loads((tmp_path / "told").read_text())
    validate("event", told)
    expected = {"event": "session_lost", "daemon": "bird", "session": NAME, "node": NODE, "last_error": SHUTDOWN}
    assert told.items() >= expected.items()

"""A single etcd that fails, under rrwatch and BIRD; three members stand in `test_etcd_cluster.py`."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from lab.bird import BIRD2, MINIMAL, Bird
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.network import Switch
from lab.process import wait_until
from tests.datastore.relay import Relay
from tests.datastore.server import Request, Server, answer
from tests.keys import CLUSTER, PREFIX, SESSIONS, host
from tests.waits import names, wait_for_sessions

Start = Callable[..., Rrwatch]


def storm(etcd: Etcd, keys: list[str], seconds: float) -> None:
    """Writes as fast as one connection goes."""
    where = urlsplit(etcd.url)
    line = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    end = time.monotonic() + seconds
    with contextlib.closing(line):
        number = 0
        while time.monotonic() < end:
            key = keys[number % len(keys)]
            number += 1
            body = f"value=172.17.70.{number % 250 + 1}"
            line.request("PUT", f"/v2/keys{key}", body, {"Content-Type": "application/x-www-form-urlencoded"})
            line.getresponse().read()


def test_writes_without_a_pause(own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    own_etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(own_etcd.url, bird)
    wait_for_sessions(bird, SESSIONS)
    foreign = [f"/elsewhere/{number}" for number in range(50)]
    own = [f"{PREFIX}/host/flapping/ip_addr_v4"]
    writers = [threading.Thread(target=storm, args=(own_etcd, keys, 6)) for keys in (foreign, foreign, foreign, own)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    own_etcd.put_all(host("flapping", "172.17.42.50"))
    wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))
    # 0.25 s lie between two configures.
    assert len(rrwatch.all("configured")) < 40


def test_sigterm_and_back(own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    own_etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(own_etcd.url, bird)
    wait_for_sessions(bird, SESSIONS)
    own_etcd.stop()
    rrwatch.wait_for("etcd_lost", seconds=30)
    own_etcd.start()
    own_etcd.put_all(host("new", "172.17.42.50"))
    wait_for_sessions(bird, SESSIONS | names("172.17.42.50"))
    assert not rrwatch.all("etcd_alarm")


def test_it_hangs_before_it_is_asked(own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    own_etcd.put_all(CLUSTER)
    with own_etcd.process.frozen():
        rrwatch = start_rrwatch(own_etcd.url, bird)
        rrwatch.wait_for("etcd_lost", seconds=30)
        assert bird.sessions() == set()
    wait_for_sessions(bird, SESSIONS, 30)


def test_a_connection_of_which_only_one_end_is_left(tmp_path: Path, start_rrwatch: Start) -> None:
    with contextlib.ExitStack() as stack:
        switch = Switch(stack)
        there, here = switch.plug("10.99.1.1/24"), switch.plug("10.99.1.2/24")
        etcd = Etcd(tmp_path / "etcd", namespace=there.name, address="10.99.1.1").start()
        stack.callback(etcd.stop)
        bird = Bird(tmp_path / "bird", here, release=BIRD2)
        bird.config.write_text(MINIMAL)
        bird.start()
        stack.callback(bird.stop)
        etcd.put_all(CLUSTER)
        rrwatch = start_rrwatch(etcd.url, bird, namespace=here.name)
        stack.callback(rrwatch.kill)
        wait_for_sessions(bird, SESSIONS)

        here.ip("link", "set", "eth0", "down")
        etcd.put_all(host("new", "172.17.42.50"))
        # Its own end of the connection goes, and no word of that gets through.
        there.ip("link", "set", "eth0", "down")
        etcd.process.kill()
        there.ip("link", "set", "eth0", "up")
        etcd.start()
        here.ip("link", "set", "eth0", "up")
        wait_for_sessions(bird, SESSIONS | names("172.17.42.50"), 60)


def test_nodes_deleted_one_by_one_while_the_connection_is_cut(own_etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
    nodes = {f"n{number}": f"172.17.43.{number}" for number in range(1, 9)}
    own_etcd.put_all(CLUSTER)
    for name, address in nodes.items():
        own_etcd.put_all(host(name, address))
    relay = Relay(own_etcd.url)
    rrwatch = start_rrwatch(relay.url, bird)
    wait_for_sessions(bird, SESSIONS | names(*nodes.values()))
    with relay.cut():
        rrwatch.wait_for("etcd_lost", seconds=30)
        for name in list(nodes)[:7]:
            own_etcd.delete(f"{PREFIX}/host/{name}", recursive=True)
        own_etcd.put_all(host("new", "172.17.42.50"))
        # By then a list is due, which does not say how the nodes went.
        refused = relay.refused
        wait_until(lambda: relay.refused > refused + 6, "more attempts", 30)
    wait_for_sessions(bird, SESSIONS | names(nodes["n8"], "172.17.42.50"))
    assert not rrwatch.all("held")
    rrwatch.kill()
    relay.close()


def test_lists_work_and_watches_fail(bird: Bird, start_rrwatch: Start) -> None:
    """As behind a proxy that does not know watches."""
    nodes = [{"key": key, "value": value} for key, value in CLUSTER.items()]
    listing = answer("200 OK", json.dumps({"node": {"key": PREFIX, "dir": True, "nodes": nodes}}).encode())

    def reply(request: Request) -> bytes:
        return answer("503 Service Unavailable", b"") if "wait=true" in request.target else listing

    with Server(reply) as server:
        rrwatch = start_rrwatch(server.url, bird)
        wait_for_sessions(bird, SESSIONS)
        first = len(server.requests)
        wait_until(lambda: len(server.requests) > first + 10, "ten more attempts", 60)
        lists = [request for request in server.requests if "wait=true" not in request.target]
        assert len(lists) <= 6
        assert len(rrwatch.all("etcd_lost")) == 1
        assert len(rrwatch.all("etcd_synced")) <= 2
        assert not rrwatch.all("fault")
        rrwatch.kill()

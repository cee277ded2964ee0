"""The status page of a daemon with a real etcd and a real BIRD."""

import http.client
from collections.abc import Callable

import pytest

from lab.bird import BIRD2, Bird
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.process import wait_until
from tests.keys import CLUSTER, PREFIX, SESSIONS


def page(rrwatch: Rrwatch, query: str = "") -> str:
    connection = http.client.HTTPConnection(rrwatch.status_address, timeout=5)
    try:
        connection.request("GET", f"/{query}")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("release", [BIRD2], ids=str)
def test_it_shows_what_a_daemon_knows(etcd: Etcd, bird: Bird, start_rrwatch: Callable[..., Rrwatch]) -> None:
    etcd.put_all({**CLUSTER, f"{PREFIX}/host/<script>alert(1)<script>/ip_addr_v4": "<b>"})
    rrwatch = start_rrwatch(etcd.url, bird)
    rrwatch.wait_for("configured")

    wait_until(lambda: "0 of 3 up" in page(rrwatch, "?state=down"), "what BIRD says about its sessions", 20)

    text = page(rrwatch)
    assert "<strong>READY</strong>" in text
    assert all(f">{name}</th>" in text for name in SESSIONS)
    assert "Rejected (1)" in text
    assert "host/&lt;script&gt;alert(1)" in text
    assert text.count("<script") == 1
    assert etcd.url in text
    assert str(bird.config) in text
    bird.stop()
    wait_until(lambda: "NOT READY" in page(rrwatch), "the end of BIRD", 20)
    assert "start BIRD; rrwatch configures it as soon as it runs" in page(rrwatch)

"""What a BIRD understands, asked of it."""

import threading
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab.bird import Bird
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.store import RecordStore
from rrwatch.bgp.topology import Family, Topology
from rrwatch.bird import dialect, templates
from rrwatch.bird.config import Dialect
from rrwatch.bird.dialect import Interpreter
from rrwatch.bird.target import Target
from rrwatch.view import NodeView
from tests.bird.conftest import Play
from tests.keys import CLUSTER, PREFIX, pool

TUNNELS = CLUSTER | pool("192.168.0.0/16", "tunl0") | pool("10.0.0.0/8", "tunl0", "cross-subnet") | pool("11.0.0.0/8")


def topology(items: dict[str, str]) -> Topology:
    return RecordStore.of(items).topology()


def interpreter(config: Path, socket: Path) -> Interpreter:
    return Interpreter([Target(Family.IPV4, config, socket)], threading.Event())


def filters(**texts: str) -> dict[str, str]:
    return {f"{PREFIX}/global/custom_filters/v4/{name}": text for name, text in texts.items()}


def test_debians_bird_has_no_tunnels(bird: Bird) -> None:
    asking = interpreter(bird.config, bird.socket)
    assert asking.learn(topology(TUNNELS), filters=False) == Dialect(tunnels=False)
    assert asking.learn(topology(CLUSTER), filters=False) == Dialect(tunnels=None)
    assert [path.name for path in bird.folder.iterdir() if "probe" in path.name] == []
    assert bird.reconfigurations() == 0


def test_a_bird_that_takes_the_statement_has_them(play: Play, tmp_path: Path) -> None:
    path = play(b"0001 BIRD 1.6.8 ready.\n", b"0020 Configuration OK\n")
    assert interpreter(tmp_path / "bird.cfg", path).learn(topology(TUNNELS), filters=False).tunnels is True


def test_a_bird_is_asked_once_in_its_life(bird: Bird, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    ask = dialect._ask

    def counted(*arguments: Any) -> str | None:
        asked.append(1)
        return ask(*arguments)

    monkeypatch.setattr(dialect, "_ask", counted)
    asking = interpreter(bird.config, bird.socket)
    for _ in range(3):
        asking.learn(topology(TUNNELS), filters=False)
    assert len(asked) == 1
    bird.stop()
    bird.start()
    for _ in range(3):
        asking.learn(topology(TUNNELS), filters=False)
    assert len(asked) == 2


def test_a_bird_that_may_not_read_the_question_tells_nothing(play: Play, tmp_path: Path) -> None:
    path = play(b"0001 BIRD 1.6.8 ready.\n", b"8002 /x/.bird.cfg-probe.rrwatch-new: Permission denied\n")
    assert interpreter(tmp_path / "bird.cfg", path).learn(topology(TUNNELS), filters=False).tunnels is None


def test_while_bird_is_away_its_last_answer_counts(bird: Bird) -> None:
    asking = interpreter(bird.config, bird.socket)
    asking.learn(topology(TUNNELS), filters=False)
    bird.stop()
    assert asking.learn(topology(TUNNELS), filters=False).tunnels is False
    assert interpreter(bird.config, bird.socket).learn(topology(TUNNELS), filters=False).tunnels is None


def test_filters_are_checked_one_by_one(bird: Bird) -> None:
    items = CLUSTER | filters(good="if net = 0.0.0.0/0 then reject;", bad="nonsense;", worse="}")
    items |= filters(deadly=f'print "{"x" * 5000}";', open='print "')
    learned = interpreter(bird.config, bird.socket).learn(topology(items), filters=True)
    reasons = {remark.key.rsplit("/", 1)[1]: remark.reason for remark in learned.refused}
    assert set(reasons) == {"bad", "deadly", "open", "worse"}
    assert "a string of 5000 bytes" in reasons["deadly"]
    assert "BIRD does not take it: line 5:" in reasons["bad"]
    assert interpreter(bird.config, bird.socket).learn(topology(items), filters=False).refused == ()


def rendered(items: dict[str, str], understood: Dialect) -> tuple[str, Derived]:
    view, known = NodeView("kube-node1"), topology(items)
    derived = view.derive(known, understood)
    config = view.config(known, derived, Family.IPV4, understood)
    assert config.router_id == IPv4Address("172.17.42.31")
    return templates.load(None).render(config).text, derived


CROSS = """\
  if ( net ~ 10.0.0.0/8 ) then {
    if defined(bgp_next_hop) && ( bgp_next_hop ~ 172.17.0.0/16 ) then
      krt_tunnel = "";
    else
      krt_tunnel = "tunl0";
    accept;
  }
"""
ALWAYS = """\
  if ( net ~ 192.168.0.0/16 ) then {
    krt_tunnel = "tunl0";
    accept;
  }
"""


def test_tunnels_where_bird_has_them() -> None:
    items = TUNNELS | {f"{PREFIX}/host/kube-node1/network_v4": str(IPv4Network("172.17.0.0/16"))}
    text, derived = rendered(items, Dialect(tunnels=True))
    assert f"filter calico_ipip {{\n{CROSS}{ALWAYS}  accept;\n}}\n" in text
    assert derived.warnings == ()


def test_a_cross_subnet_pool_of_a_node_without_subnet_always_uses_its_tunnel() -> None:
    text, _ = rendered(TUNNELS, Dialect(tunnels=True))
    assert text.count('    krt_tunnel = "tunl0";\n    accept;\n') == 2


def test_pools_that_want_tunnels_are_told_where_bird_has_none() -> None:
    text, derived = rendered(TUNNELS, Dialect(tunnels=False))
    assert "krt_tunnel" not in text
    assert [remark.key for remark in derived.warnings] == [
        "/calico/v1/ipam/v4/pool/10.0.0.0-8",
        "/calico/v1/ipam/v4/pool/192.168.0.0-16",
    ]
    assert "asks for IP in IP through tunl0, which this BIRD does not have" in derived.warnings[0].reason


@pytest.mark.parametrize("tunnels", [None, False])
def test_nothing_is_told_of_pools_without(tunnels: bool | None) -> None:
    assert rendered(CLUSTER | pool("11.0.0.0/8"), Dialect(tunnels))[1].warnings == ()

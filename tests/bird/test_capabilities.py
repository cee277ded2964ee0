"""What a BIRD supports."""

import threading
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab.bird import BIRD1, BIRD2, Bird
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Family, Topology
from rrwatch.bird import capabilities, templates
from rrwatch.bird.capabilities import CapabilityProbe
from rrwatch.bird.config import Capabilities, NodeConfig
from rrwatch.bird.target import BirdPaths
from rrwatch.bird.version import Grammar
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.roles import NodeRole, derive
from tests.bird.conftest import BUSY, GREETING, IDLE, Play
from tests.keys import CLUSTER, PREFIX, pool

TUNNELS = CLUSTER | pool("192.168.0.0/16", "tunl0") | pool("10.0.0.0/8", "tunl0", "cross-subnet") | pool("11.0.0.0/8")

ROLE = NodeRole("kube-node1", V1)


def topology(items: dict[str, str]) -> Topology:
    return RecordStore.of(items, V1).topology()


def probe(config: Path, socket: Path) -> CapabilityProbe:
    bird_paths = BirdPaths((Family.IPV4,), config, socket, config.with_name("bird6.cfg"), socket.with_name("ctl6"))
    return CapabilityProbe(bird_paths, None, threading.Event())


def learned(asking: CapabilityProbe, items: dict[str, str], *, filters: bool = False) -> Capabilities:
    found = asking.learn(topology(items), filters=filters)
    assert found
    return found


def filters(**texts: str) -> dict[str, str]:
    return {f"{PREFIX}/global/custom_filters/v4/{name}": text for name, text in texts.items()}


def test_tunnels_of_debians_birds(bird: Bird) -> None:
    asking = probe(bird.config, bird.socket)
    grammar = Grammar.BIRD1 if bird.release is BIRD1 else Grammar.BIRD2
    found = learned(asking, TUNNELS)
    assert found.grammar is grammar
    if bird.release in (BIRD1, BIRD2):
        assert found.tunnels is (bird.release is BIRD2)
    assert learned(asking, CLUSTER) == Capabilities(grammar, tunnels=None)
    assert [path.name for path in bird.folder.iterdir() if "probe" in path.name] == []
    assert bird.reconfigurations() == 0


def test_a_bird_that_takes_the_statement_has_them(play: Play, tmp_path: Path) -> None:
    path = play(GREETING, b"0020 Configuration OK\n", greetings=3)
    assert learned(probe(tmp_path / "bird.cfg", path), TUNNELS).tunnels is True


def test_a_busy_bird_is_not_asked(play: Play, tmp_path: Path) -> None:
    heard: list[str] = []
    path = play(GREETING, b"0020 OK\n", status=[BUSY, BUSY, IDLE], greetings=3, heard=heard)
    assert learned(probe(tmp_path / "bird.cfg", path), TUNNELS).tunnels is True
    assert [command.partition('"')[0] for command in heard] == ["show status"] * 3 + ["configure check "]


def test_a_bird_is_asked_once_in_its_life(bird: Bird, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    ask = capabilities._ask

    def counted(*arguments: Any) -> str | None:
        asked.append(1)
        return ask(*arguments)

    monkeypatch.setattr(capabilities, "_ask", counted)
    asking = probe(bird.config, bird.socket)
    for _ in range(3):
        learned(asking, TUNNELS)
    assert len(asked) == 1
    bird.stop()
    bird.start()
    for _ in range(3):
        learned(asking, TUNNELS)
    assert len(asked) == 2


def test_a_bird_that_may_not_read_the_question_tells_nothing(play: Play, tmp_path: Path) -> None:
    refusal = b"8002 /x/.bird.cfg-probe.rrwatch-new: Permission denied\n"
    path = play(GREETING, refusal, greetings=3)
    assert learned(probe(tmp_path / "bird.cfg", path), TUNNELS).tunnels is None


def test_while_bird_is_away_its_last_answer_counts(bird: Bird) -> None:
    asking = probe(bird.config, bird.socket)
    told = learned(asking, TUNNELS)
    bird.stop()
    assert learned(asking, TUNNELS) == told
    assert told.tunnels is not None
    bird.config.write_text(templates.load(None).render(config_of(told)).text)
    assert learned(probe(bird.config, bird.socket), TUNNELS).tunnels is None


def test_filters_are_checked_one_by_one(bird: Bird) -> None:
    items = CLUSTER | filters(good="if net = 0.0.0.0/0 then reject;", bad="nonsense;", worse="}")
    items |= filters(deadly=f'print "{"x" * 5000}";', open='print "')
    found = learned(probe(bird.config, bird.socket), items, filters=True)
    reasons = {remark.key.rsplit("/", 1)[1]: remark.reason for remark in found.refused}
    assert set(reasons) == {"bad", "deadly", "open", "worse"}
    assert "a string of 5000 bytes" in reasons["deadly"]
    assert "BIRD rejects it: line 5:" in reasons["bad"]
    assert learned(probe(bird.config, bird.socket), items).refused == ()


def config_of(capabilities: Capabilities, items: dict[str, str] = CLUSTER) -> NodeConfig:
    known = topology(items)
    return ROLE.config(known, derive(ROLE, known, capabilities), [Family.IPV4], capabilities)


def rendered(items: dict[str, str], capabilities: Capabilities) -> tuple[str, Derived]:
    return templates.load(None).render(config_of(capabilities, items)).text, derive(ROLE, topology(items), capabilities)


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
    text, derived = rendered(items, Capabilities(Grammar.BIRD1, tunnels=True))
    assert f"filter calico_ipip {{\n{CROSS}{ALWAYS}  accept;\n}}\n" in text
    assert derived.warnings == ()


CROSS2 = """\
  if ( net ~ 10.0.0.0/8 ) then {
    if defined(bgp_next_hop) && !( bgp_next_hop ~ 172.17.0.0/16 ) then {
      ifname = "tunl0";
      onlink = true;
      gw = bgp_next_hop;
      onlink = true;
    }
    accept;
  }
"""


def test_tunnels_of_bird_2() -> None:
    items = TUNNELS | {f"{PREFIX}/host/kube-node1/network_v4": "172.17.0.0/16"}
    text, _ = rendered(items, Capabilities(Grammar.BIRD2, tunnels=True))
    assert f"filter calico_ipip {{\n  if source = RTS_DEVICE then reject;\n{CROSS2}" in text
    assert "krt_tunnel" not in text


def test_a_cross_subnet_pool_of_a_node_without_subnet_always_uses_its_tunnel() -> None:
    text, _ = rendered(TUNNELS, Capabilities(Grammar.BIRD1, tunnels=True))
    assert text.count('    krt_tunnel = "tunl0";\n    accept;\n') == 2


def test_pools_that_want_tunnels_are_told_where_bird_has_none() -> None:
    text, derived = rendered(TUNNELS, Capabilities(Grammar.BIRD1, tunnels=False))
    assert "krt_tunnel" not in text
    assert [remark.key for remark in derived.warnings] == [
        "/calico/v1/ipam/v4/pool/10.0.0.0-8",
        "/calico/v1/ipam/v4/pool/192.168.0.0-16",
    ]
    assert "asks for IP in IP through tunl0, which this BIRD does not have" in derived.warnings[0].reason


@pytest.mark.parametrize("tunnels", [None, False])
def test_nothing_is_told_of_pools_without(tunnels: bool | None) -> None:
    assert rendered(CLUSTER | pool("11.0.0.0/8"), Capabilities(Grammar.BIRD1, tunnels))[1].warnings == ()

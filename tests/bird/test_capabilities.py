"""What a BIRD supports."""

import threading
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, Bird
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Family, Topology
from rrwatch.bird import capabilities, templates
from rrwatch.bird.apply import Applier
from rrwatch.bird.capabilities import CapabilityProbe
from rrwatch.bird.config import Capabilities, NodeConfig
from rrwatch.bird.control import Connection
from rrwatch.bird.target import BirdPaths, Target
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


def probe(config: Path, socket: Path, pinned: Grammar | None = None) -> CapabilityProbe:
    bird_paths = BirdPaths((Family.IPV4,), config, socket, config.with_name("bird6.cfg"), socket.with_name("ctl6"))
    return CapabilityProbe(bird_paths, pinned, threading.Event())


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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The configurations that BIRD was asked to check."""
    asked: list[Path] = []
    check = Connection.check

    def counted(self: Connection, file: Path) -> None:
        asked.append(file)
        check(self, file)

    monkeypatch.setattr(Connection, "check", counted)
    return asked


def test_a_bird_is_asked_once_in_its_life(bird: Bird, asked: list[Path]) -> None:
    asking = probe(bird.config, bird.socket)
    for _ in range(3):
        learned(asking, TUNNELS)
    assert len(asked) == 1
    bird.socket.chmod(0o600)
    learned(asking, TUNNELS)
    assert len(asked) == 1
    bird.stop()
    bird.start()
    for _ in range(3):
        learned(asking, TUNNELS)
    assert len(asked) == 2


@pytest.mark.parametrize("greeting", [b"", GREETING])
def test_a_hanging_bird_has_one_timeout_for_all_questions(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    monkeypatch.setattr(capabilities, "_TIMEOUT", 0.5)
    path = play(greeting, greetings=20)
    asking = probe(tmp_path / "bird.cfg", path, pinned=Grammar.BIRD1)
    began = time.monotonic()
    found = learned(asking, TUNNELS | filters(**{f"f{number}": "accept;" for number in range(7)}), filters=True)
    assert time.monotonic() - began < 1.5
    assert (found.tunnels, found.refused) == (None, ())


def test_answers_that_are_not_needed_any_more_are_forgotten(bird: Bird) -> None:
    asking = probe(bird.config, bird.socket)
    for number in range(20):
        learned(asking, CLUSTER | filters(one=f"# {number}", two="accept;"), filters=True)
    assert len(asking._answers) == 3


def test_a_bird_that_may_not_read_the_question_tells_nothing(play: Play, tmp_path: Path) -> None:
    refusal = b"8002 /x/.bird.cfg.rrwatch-probe-1: Permission denied\n"
    path = play(GREETING, refusal, greetings=3)
    assert learned(probe(tmp_path / "bird.cfg", path), TUNNELS).tunnels is None


def test_a_filter_that_includes_a_file(bird: Bird) -> None:
    other = bird.folder / "other.cfg"
    other.write_text("nonsense;\n")
    found = learned(probe(bird.config, bird.socket), CLUSTER | filters(a=f'include "{other}";'), filters=True)
    assert found.refused[0].reason.startswith(f"BIRD rejects it: {other}:1:")


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
    assert reasons["bad"].startswith("BIRD rejects it: line 1: syntax error")
    assert learned(probe(bird.config, bird.socket), items).refused == ()


def conflicting(bird: Bird) -> str:
    """A filter that BIRD accepts once in a function, and not twice."""
    return "} function twice () {" if bird.release is BIRD1 else "int x;\nx = 1;"


def names(found: Capabilities) -> list[str]:
    return [remark.key.rsplit("/", 1)[1] for remark in found.refused]


@pytest.mark.parametrize("places", [(0, 1), (3, 16), (15, 16), (2, 7, 11)])
def test_the_filter_that_breaks_the_set_is_left_out(bird: Bird, asked: list[Path], places: tuple[int, ...]) -> None:
    texts = {f"f{number:02}": "if net = 10.0.0.0/8 then reject;\n# more\n" for number in range(17)}
    texts |= {f"f{number:02}": f"# first\n{conflicting(bird)}" for number in places}
    items = CLUSTER | filters(**texts)
    found = learned(probe(bird.config, bird.socket), items, filters=True)
    assert names(found) == [f"f{number:02}" for number in places[1:]]
    for remark in found.refused:
        assert "BIRD rejects it together with f00, f01" in remark.reason or places == (0, 1)
        assert ": line 2: " in remark.reason
    culprits = len(places) - 1
    assert len(asked) <= 17 + 1 + culprits * (1 + 5)
    config = bird.folder / "whole.cfg"
    config.write_text(templates.load(None).render(config_of(found, items)).text)
    assert bird.release.refuses(config) == ""
    assert [path.name for path in bird.folder.iterdir() if "probe" in path.name] == []


def test_a_probe_that_a_killed_process_left_is_removed(bird: Bird) -> None:
    left = bird.folder / ".bird.cfg.rrwatch-probe-12345"
    left.write_text("int x;")
    rendered = templates.load(None).starter()
    bird.config.unlink()
    Applier(threading.Event()).apply(Target("bird", (Family.IPV4,), bird.config, bird.socket), rendered)
    assert not left.exists()


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

"""Hostile keys and values, through all of it: no exception, no foreign syntax, and all that is valid still served."""

import json
import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lab.bird import BIRD1, BIRD2, Release
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import Address, Family
from rrwatch.bird import templates
from rrwatch.bird.config import Capabilities
from rrwatch.bird.lint import lint, require_sessions
from rrwatch.bird.version import Grammar
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.roles import NodeRole, ReflectorRole, Role, derive
from tests.fuzz import EXAMPLES
from tests.keys import CLUSTER, NODES, PREFIX, REFLECTOR, block, pool

BOTH: dict[Family, Address] = {Family.IPV4: IPv4Address(REFLECTOR), Family.IPV6: IPv6Address("fd00::28")}
REFLECTOR_ROLE = ReflectorRole(IPv4Address(REFLECTOR), Speaker(BOTH), V1)
NODE_ROLE = NodeRole("kube-node1", V1, (Family.IPV4, Family.IPV6))
VALID = CLUSTER | pool("192.168.0.0/16") | block("kube-node1", "192.168.0.0/26")
SHIPPED = templates.load(None)

# Every line that the shipped templates can give, but for comments; a word in capitals stands for a value.
_VALUES = {"WORD": r"[A-Za-z0-9_]+", "NET": r"[0-9a-f.:]+/[0-9]+", "ADDRESS": r"[0-9a-f.:]+", "NUMBER": r"[0-9]+",
           "DEVICE": r'"[A-Za-z0-9_.-]{1,15}"'}  # fmt: skip
_STATEMENTS = r"""
define rrwatch_generation = NUMBER;
router id ADDRESS;
filter WORD \{
function WORD \(\)
\{
\}|  \};|  \}|    \}
protocol (device|direct|kernel|static)( WORD)? \{
protocol bgp WORD from WORD \{
template bgp WORD \{
  (  )?(local as NUMBER|neighbor ADDRESS as NUMBER|rr client|rr cluster id ADDRESS|source address ADDRESS);
  (  )?(scan time 2|multihop|learn|persist|graceful restart|metric 0|next hop self|gateway recursive|add paths on);
  (  )?(debug (off|all|\{ states \})|description "Connection to BGP peer"|interface -"cali\*", "\*");
  (  )?(import all|export (all|filter calico_(pools6?|ipip)|where source != RTS_DEVICE));
  ipv[46]( \{|;)
  route NET blackhole;
  if \( net [=~] NET \) then \{( (accept|reject); \})?
  (  )?(accept|reject);
  calico_aggr6?\(\);
  if source = RTS_DEVICE then reject;
    if defined\(bgp_next_hop\)( && !\( bgp_next_hop ~ NET \))? then \{
      (ifname = DEVICE|onlink = true|gw = bgp_next_hop|krt_tunnel = (DEVICE|""));
    if defined\(bgp_next_hop\) && \( bgp_next_hop ~ NET \) then
    else
    krt_tunnel = DEVICE;
"""
_LINES = re.compile(
    "|".join(
        re.sub(r"\b[A-Z]{3,}\b", lambda word: _VALUES.get(word[0], word[0]), line)
        for line in _STATEMENTS.split("\n")
        if line
    )
)

_syntax = st.sampled_from(list("\"'{}[]();#\\/*\n\r\t\0 \x7f\x1b\u2028é٣")) | st.characters()
_text = st.text(_syntax, max_size=40) | st.sampled_from(
    ["x" * 5000, "}" * 300, '";', "*/", "\ud7ff", "\uff11\uff17\uff12.17.42.31"]
)
_address = st.sampled_from([*NODES.values(), REFLECTOR, "fd00::28", "FD00:0::31", "::1", "0.0.0.0", "255.255.255.255"])
_address |= st.ip_addresses().map(str)
_number = (
    st.integers(-1, 1 << 40)
    | st.integers(0, 65535).map(str)
    | st.sampled_from(["1.10", "0x10", "1e3", " 7", True, 1.5])
)
_name = _text | st.sampled_from([*NODES, "n1", "..", ".", "_hidden", "kube-node1 ", "x" * 300])
_scalar = _text | _address | _number | st.none() | st.booleans() | st.floats()
_field = st.sampled_from(["ip", "as_num", "cluster_id", "enabled", "cidr", "ipip", "ipip_mode", "id"]) | _text
_document = st.dictionaries(
    _field, st.recursive(_scalar, lambda inner: st.lists(inner, max_size=3), max_leaves=8), max_size=5
)
_json = _document.map(json.dumps) | st.sampled_from(
    ["[" * 5000, "{" * 3000, '{"ip":' * 900, "9" * 5000, "[1" + ",1" * 40000 + "]"]
)
_value = _json | _text | _address | _number.map(str) | st.just("")
_leaf = st.sampled_from([
    "global/as_num", "global/node_mesh", "global/loglevel", "global/peer_v4/{}", "global/peer_v6/{}",
    "rr_v4/{}", "rr_v6/{}", "host/{}/ip_addr_v4", "host/{}/ip_addr_v6", "host/{}/as_num", "host/{}/network_v4",
    "host/{}/peer_v4/{}", "host/{}/{}", "{}",
])  # fmt: skip
_other = st.sampled_from(
    ["/calico/v1/ipam/v4/pool/{}", "/calico/v1/ipam/v6/pool/{}", "/calico/ipam/v2/host/{}/ipv4/block/{}"]
)


@st.composite
def _key(draw: st.DrawFn) -> str:
    key = draw(_leaf.map(lambda leaf: f"{PREFIX}/{leaf}") | _other)
    while "{}" in key:
        key = key.replace("{}", draw(_name | _address).replace("{}", ""), 1)
    return key


_items = st.dictionaries(_key(), _value, max_size=12)


def hostile(items: dict[str, str]) -> dict[str, str]:
    """Those keys, but for the ones that say something else where a valid one speaks."""
    assume(not any(key in items for key in VALID))
    return VALID | items


def texts(role: Role, items: dict[str, str], grammar: Grammar) -> list[str]:
    topology = RecordStore.of(items, V1).topology()
    capabilities = Capabilities(grammar, tunnels=True)
    derived = derive(role, topology, capabilities)
    found = []
    families = [tuple(Family)] if grammar is Grammar.BIRD2 else [(Family.IPV4,), (Family.IPV6,)]
    for some in families:
        rendered = SHIPPED.render(role.config(topology, derived, some, capabilities))
        lint(rendered.text)
        require_sessions(rendered.text, rendered.blocks)
        found.append(rendered.text)
    return found


@pytest.mark.parametrize("grammar", Grammar)
@given(_items)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_value_becomes_syntax_and_all_that_is_valid_is_served(grammar: Grammar, items: dict[str, str]) -> None:
    everything = hostile(items)
    for role in REFLECTOR_ROLE, NODE_ROLE:
        for text in texts(role, everything, grammar):
            for line in text.splitlines():
                code = line.partition("#")[0].rstrip() if line.lstrip().startswith("#") else line
                assert not code or _LINES.fullmatch(code), repr(line)
            assert text.isascii()
    derived = derive(REFLECTOR_ROLE, RecordStore.of(everything, V1).topology())
    neighbors = {str(session.neighbor) for session in derived.sessions}
    assert neighbors >= set(NODES.values())
    assert len(neighbors) == len({session.name for session in derived.sessions}) == len(derived.sessions)
    assert all(remark.reason and "\n" not in remark.reason for remark in derived.rejected)


@pytest.mark.parametrize("release", [BIRD1, BIRD2], ids=str)
@given(items=_items)
@settings(
    max_examples=max(1, EXAMPLES // 3), deadline=None, suppress_health_check=list(HealthCheck)
)  # a process for each text
def test_bird_takes_what_comes_of_it(
    release: Release, tmp_path_factory: pytest.TempPathFactory, items: dict[str, str]
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    for number, text in enumerate(
        texts(REFLECTOR_ROLE, hostile(items), Grammar.BIRD1 if release is BIRD1 else Grammar.BIRD2)
    ):
        config = folder / ("bird6.cfg" if number else "bird.cfg")
        config.write_text(text)
        assert release.refuses(config) == ""

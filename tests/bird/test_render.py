"""Rendering: typed, deterministic, with errors that name file and line."""

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrwatch.bgp.rules_v1 import reflector_sessions
from rrwatch.bgp.sessions import Session
from rrwatch.bgp.speaker import Speaker
from rrwatch.bgp.topology import AsNumber, Block, CustomFilter, Debug, Family, Pool, TunnelUse
from rrwatch.bird import templates
from rrwatch.bird.config import NodeConfig, NodeFamily, ReflectorConfig
from rrwatch.bird.render import Source, Templates, generation_in, installed
from rrwatch.bird.version import Grammar
from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from rrwatch.errors import TemplateError
from tests.keys import CLUSTER, PREFIX, REFLECTOR, SESSIONS, host

Write = Callable[..., Path]

OWN = IPv4Address(REFLECTOR)
SHIPPED = templates.load(None)


def config(items: dict[str, str] = CLUSTER) -> ReflectorConfig:
    topology = RecordStore.of(items, V1).topology()
    sessions = reflector_sessions(topology, Speaker({Family.IPV4: OWN})).sessions
    return ReflectorConfig(Grammar.BIRD1, OWN, (OWN,), topology.debug or Debug.OFF, sessions)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes templates, given by name without suffix, and returns their directory."""

    def write(**texts: str) -> Path:
        for name, text in texts.items():
            (tmp_path / f"{name}.cfg.j2").write_text(text)
        return tmp_path

    return write


def test_the_same_sessions_give_the_same_text() -> None:
    shipped = templates.load(None)
    assert shipped.render(config()) == templates.load(None).render(config())


def test_the_generation_follows_the_text() -> None:
    shipped = templates.load(None)
    one, other = shipped.render(config()), shipped.render(config(CLUSTER | host("n", "10.0.0.1")))
    assert one.generation != other.generation
    assert 0 < one.generation < 1 << 31
    assert f"define rrwatch_generation = {one.generation};" in one.text


@pytest.mark.parametrize(("level", "statement"), [("none", "off"), ("debug", "all"), ("info", "{ states }")])
def test_log_level(level: str, statement: str) -> None:
    text = templates.load(None).render(config(CLUSTER | {f"{PREFIX}/global/loglevel": level})).text
    assert f"debug {statement};" in text


def test_an_operators_template_wins_and_others_stay(write: Write) -> None:
    text = templates.load(write(session="# mine {{ session.name }}\n")).render(config()).text
    assert "# mine Global_172_17_42_30" in text
    assert "template bgp bgp_template" in text


def test_an_operators_template_can_include_another(write: Write) -> None:
    folder = write(
        session='{% include "mine.cfg.j2" %}\n', mine="protocol bgp {{ session.name }} { # {{ session.neighbor }}\n}\n"
    )
    assert "# 172.17.42.30" in templates.load(folder).render(config()).text


def test_other_files_in_the_directory_are_ignored(write: Write) -> None:
    folder = write()
    (folder / "session.cfg.j2~").write_text("{% broken")
    (folder / ".session.cfg.j2.swp").write_bytes(b"\xff")
    templates.load(folder)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("fine\n{% if %}\n", 2, "Expected an expression"),
        ("fine\n\n{{ session.nonsense }}\n", 3, "nonsense"),
        ("{{ nonsense }}\n", 1, "'nonsense' is undefined"),
        ("x\n{{ session.local_as / 0 }}\n", 2, "ZeroDivisionError"),
        ('x\n{% include "nowhere.cfg.j2" %}\n', 2, "there is no template 'nowhere.cfg.j2'"),
        ("x\n{{ session.name | nofilter }}\n", 2, "nofilter"),
    ],
)
def test_errors_name_file_and_line(write: Write, text: str, line: int, words: str) -> None:
    folder = write(session=text)

    with pytest.raises(TemplateError) as caught:
        templates.load(folder).render(config())

    assert caught.value.path == folder / "session.cfg.j2"
    assert caught.value.line == line
    assert words in caught.value.reason


def test_a_block_may_say_what_all_sessions_have_in_common(write: Write) -> None:
    folder = write(session="protocol bgp {{ session.name }} {  # {{ debug }}\n}\n")
    one, other = config(), replace(config(), debug=Debug.ALL)
    loaded = templates.load(folder)
    assert one.debug is not other.debug
    assert other.sessions == one.sessions
    assert loaded.render(one) != loaded.render(replace(one, debug=other.debug))
    assert loaded.render(replace(one, debug=other.debug)) == templates.load(folder).render(other)


def test_the_names_of_all_sessions_are_returned_with_the_text() -> None:
    assert templates.load(None).render(config()).blocks.keys() == SESSIONS


def test_the_sessions_of_an_installed_file_in_another_layout(write: Write) -> None:
    folder = write(session="   protocol bgp {{ session.name }} from bgp_template { # {{ session.neighbor }}\n }\n")
    text = templates.load(folder).render(config()).text
    found = installed(text)
    assert found
    assert found.blocks.keys() == SESSIONS


def test_a_generation_of_too_many_digits() -> None:
    assert generation_in("define rrwatch_generation = 2147483647;\n\nx") == 2147483647
    assert generation_in(f"define rrwatch_generation = {'9' * 5000};\n\nx") is None


def test_a_reason_is_printable_and_not_too_long(write: Write) -> None:
    folder = write(session="{{ session['\x1b[31m' ~ 'x' * 100000] }}")
    with pytest.raises(TemplateError) as caught:
        templates.load(folder).render(config())
    assert r"\x1b[31mxxx" in caught.value.reason
    assert len(caught.value.reason) < 1100


def test_an_installed_file_that_is_not_utf8_is_not_rrwatchs() -> None:
    text = templates.load(None).render(config()).text
    assert installed(text)
    assert installed(text + "# \udcff\n") is None


def test_unreadable_template(write: Write) -> None:
    folder = write()
    (folder / "session.cfg.j2").write_bytes(b"\xff\xfe")
    with pytest.raises(TemplateError, match="cannot be read"):
        templates.load(folder)


def test_the_fingerprint_changes_with_the_files(write: Write, tmp_path: Path) -> None:
    assert templates.fingerprint(None) == templates.fingerprint(None)
    before = templates.fingerprint(write(session="one"))
    assert templates.fingerprint(tmp_path) == before
    assert templates.fingerprint(write(session="another")) != before
    assert "gone" in str(templates.fingerprint(tmp_path / "gone"))


@given(st.text(min_size=1))
def test_no_text_of_a_node_becomes_syntax(text: str) -> None:
    network = IPv4Network("10.0.0.0/8")
    part = NodeFamily(
        family=Family.IPV4,
        source_address=OWN,
        blocks=(Block(text, text, network),),
        pools=(Pool(text, network, None, TunnelUse.ALWAYS),),
        subnet=None,
        custom_filters=(CustomFilter(text, Family.IPV4, text, "accept;"),),
    )
    node = NodeConfig(
        grammar=Grammar.BIRD1,
        router_id=OWN,
        local_as=AsNumber(65100),
        debug=Debug.OFF,
        families=(part,),
        sessions=(),
        tunnels=False,
    )
    template = (
        "{% set part = families[0] %}{% for item in part.blocks + part.pools + part.custom_filters %}\n"
        "{{ item.key }}|{{ item.host | default }}\n{% endfor %}\n{{ part.custom_filters[0].name }}\n"
    )
    sources = {"node.cfg.j2": Source(Path("x"), template), "session.cfg.j2": Source(Path("y"), "")}
    printed = Templates(sources).render(node).text.splitlines()[3:]
    assert len(printed) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_.:/?|-]*", line) for line in printed)


@given(st.text(min_size=1), st.text())
def test_no_text_from_etcd_becomes_syntax(node: str, key: str) -> None:
    session = config().sessions[0]
    hostile: Session = replace(session, node=node, key=key)

    text = SHIPPED.render(replace(config(), sessions=(hostile,))).text

    plain = SHIPPED.render(replace(config(), sessions=(replace(session, node="n", key="k"),))).text
    uncommented = [re.sub(r"(#.*|define.*)", "", printed) for printed in (text, plain)]
    assert uncommented[0] == uncommented[1]
    assert text.isascii()
    assert len(text.splitlines()) == len(plain.splitlines())

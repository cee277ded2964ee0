"""The terms of sessions in the configuration of a reflector: port, password, GTSM, timers, next hop."""

import itertools
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.bird import Release
from rrwatch.bgp.sessions import Kind, Session, session_name
from rrwatch.bgp.topology import Address, AsNumber, Debug, Family, Password
from rrwatch.bird import templates
from rrwatch.bird.config import NodeConfig, ReflectorConfig
from rrwatch.bird.render import Rendered, Source, Templates, generation_in, installed
from rrwatch.bird.syntax import hide_passwords, session_passwords
from rrwatch.bird.version import Grammar
from rrwatch.errors import TemplateError

OWN: dict[Family, Address] = {Family.IPV4: IPv4Address("172.17.42.40"), Family.IPV6: IPv6Address("fd00::40")}
IBGP, EBGP = AsNumber(65100), AsNumber(65200)
SHIPPED = templates.load(None)

TERMS: dict[str, Any] = {
    "port": 1790,
    "passive": True,
    "ttl_security": 2,
    "password": Password("bgp-secrets", "rr1", "pass # word;"),
    "graceful_restart_time": 240,
    "keepalive_time": 20,
    "remote_as": EBGP,
}


def session(neighbor: Address, **terms: Any) -> Session:
    known: dict[str, Any] = {"local_as": IBGP, "remote_as": IBGP} | terms
    known |= {"rr_client": known["remote_as"] == IBGP, "cluster_id": IPv4Address("1.0.0.1")}
    name = session_name(Kind.GLOBAL, neighbor, known.get("port"))
    return Session(name, Kind.GLOBAL, Family(neighbor.version), neighbor, node="n", key="/k", **known)


def config(grammar: Grammar, *sessions: Session, port: int | None = None) -> ReflectorConfig:
    families = sorted({session.family for session in sessions})
    addresses = tuple(OWN[family] for family in families)
    own = IPv4Address("172.17.42.40")
    return ReflectorConfig(grammar, own, addresses, Debug.OFF, sessions, port)


def every_combination(family: Family) -> tuple[Session, ...]:
    first = {Family.IPV4: IPv4Address("10.0.0.1"), Family.IPV6: IPv6Address("fd00::1:1")}[family]
    chosen = itertools.product((False, True), repeat=len(TERMS))
    return tuple(
        session(
            ip_address(int(first) + number), **{name: TERMS[name] for name, on in zip(TERMS, choice, strict=True) if on}
        )
        for number, choice in enumerate(chosen)
    )


class TestBlock:
    @pytest.mark.parametrize(
        ("grammar", "next_hop"),
        [(Grammar.BIRD1, "  next hop keep;\n"), (Grammar.BIRD2, "  ipv4 {\n    next hop keep;\n  };\n")],
    )
    def test_with_all_terms(self, grammar: Grammar, next_hop: str) -> None:
        one = session(IPv4Address("10.0.0.1"), **TERMS)
        assert SHIPPED.render(config(grammar, one)).blocks[one.name] == (
            "\n# n: /k\n"
            "protocol bgp Global_10_0_0_1_port_1790 from bgp_template {\n"
            "  local as 65100;\n"
            "  neighbor 10.0.0.1 port 1790 as 65200;\n"
            "  passive on;\n"
            "  ttl security on;\n"
            "  multihop 2;\n"
            '  password "pass # word;";\n'
            "  graceful restart time 240;\n"
            "  keepalive time 20;\n"
            f"{next_hop}"
            "}\n"
        )

    def test_a_node_leaves_the_next_hop_as_its_template_says(self) -> None:
        own = IPv4Address("10.0.0.9")
        sessions = (session(IPv4Address("10.0.0.1"), remote_as=EBGP),)
        node = NodeConfig(Grammar.BIRD2, own, IBGP, Debug.OFF, (), sessions, tunnels=False)
        assert "next hop" not in SHIPPED.render(node).text

    @pytest.mark.parametrize("grammar", Grammar)
    def test_the_port_of_the_reflector(self, grammar: Grammar) -> None:
        sessions = tuple(session(IPv4Address("10.0.0.1") + number) for number in range(3))
        with_port = SHIPPED.render(config(grammar, *sessions, port=1179)).text.splitlines()
        without = SHIPPED.render(config(grammar, *sessions)).text.splitlines()
        statement = {Grammar.BIRD1: "listen bgp port 1179;", Grammar.BIRD2: "  local port 1179;"}[grammar]
        assert [line for line in with_port if line not in without and "generation" not in line] == [statement]

    def test_keepalives_come_at_least_twice_in_birds_hold_time(self) -> None:
        rare = session(IPv4Address("10.0.0.1"), keepalive_time=300)
        assert "keepalive time 120;" in SHIPPED.render(config(Grammar.BIRD2, rare)).text


@pytest.mark.parametrize("family", Family)
def test_bird_takes_every_combination(tmp_path: Path, release: Release, family: Family) -> None:
    grammar = Grammar.BIRD1 if release.one_for_each_family else Grammar.BIRD2
    path = tmp_path / ("bird6.cfg" if family is Family.IPV6 else "bird.cfg")
    sessions = every_combination(family)
    longest = session(OWN[family] + 1, password=Password("s", "k", "x" * 80), keepalive_time=21845, ttl_security=255)
    text = SHIPPED.render(config(grammar, *sessions, longest, port=1179)).text
    path.write_text(text)
    assert len(sessions) == 128
    assert text.count("protocol bgp") == 129
    assert release.refuses(path) == ""


@pytest.mark.parametrize("grammar", Grammar)
def test_a_restart_time_of_zero_is_not_the_default(grammar: Grammar) -> None:
    text = SHIPPED.render(config(grammar, session(IPv4Address("10.0.0.1"), graceful_restart_time=0))).text
    assert "  graceful restart time 0;\n" in text


class TestPassword:
    ONE = session(IPv4Address("10.0.0.1"), password=Password("s", "k", "hunter2"))
    OTHER = session(IPv4Address("10.0.0.2"), password=Password("s", "k", "xyzzy"))

    @given(st.text(), st.text(), st.text(min_size=1))
    def test_no_text_becomes_syntax(self, secret: str, key: str, text: str) -> None:
        hostile = session(IPv4Address("10.0.0.1"), password=Password(secret, key, text))
        sources = {"session.cfg.j2": Source(Path("x"), '# {{ session.password }}\n"{{ session.password.text }}"'),
                   "reflector.cfg.j2": Source(Path("y"), "{{ session_blocks }}")}  # fmt: skip
        if any(char == '"' or not " " <= char <= "~" for char in text):
            with pytest.raises(TemplateError, match="leaves out the password of Global_10_0_0_1"):
                Templates(sources).render(config(Grammar.BIRD2, hostile))
        else:
            block = Templates(sources).render(config(Grammar.BIRD2, hostile)).blocks[hostile.name]
            assert block.split("\n", 2)[2] == f'"{text}"'
            assert len(block.splitlines()) == 3

    def test_it_is_in_no_representation(self) -> None:
        rendered = SHIPPED.render(config(Grammar.BIRD2, self.ONE))
        assert "hunter2" in rendered.text
        for value in rendered, config(Grammar.BIRD2, self.ONE), self.ONE:
            assert "hunter2" not in f"{value!r}{value!s}"
        assert "hunter2" not in repr(Rendered(rendered.text, 1, None, rendered.blocks, rendered.text))

    @pytest.mark.parametrize(
        "template",
        [
            "{{ {}[session.password.text] }}",
            "x\n{{ session.password.text.nothing.more }}{{ session.password.text | int / 0 }}",
            "{% include session.password.text %}",
        ],
    )
    @pytest.mark.parametrize("text", ["hunter2", "hunt\\er2", "hunt'er2"])
    def test_it_is_in_no_error_of_a_template(self, template: str, text: str) -> None:
        sources = {"session.cfg.j2": Source(Path("x"), template), "reflector.cfg.j2": Source(Path("y"), "")}
        with pytest.raises(TemplateError) as caught:
            Templates(sources).render(config(Grammar.BIRD2, replace(self.ONE, password=Password("s", "k", text))))
        assert "er2" not in str(caught.value)
        assert caught.value.path == Path("x")

    @pytest.mark.parametrize("length", range(950, 975))
    def test_it_is_in_no_error_that_ends_in_the_middle_of_it(self, length: int) -> None:
        template = f"{{{{ {{}}['{'x' * length}' ~ session.password.text] }}}}"
        sources = {"session.cfg.j2": Source(Path("x"), template), "reflector.cfg.j2": Source(Path("y"), "")}
        with pytest.raises(TemplateError) as caught:
            Templates(sources).render(config(Grammar.BIRD2, self.ONE))
        assert "x" * 900 in str(caught.value)
        assert "h" not in str(caught.value).partition("x" * 900)[2].replace("(hidden)", "").replace(
            "has no attribute", ""
        )

    @pytest.mark.parametrize("template", ["protocol bgp {{ session.name }} {}", "{{ session.password.text[1:] }}"])
    def test_a_template_must_not_leave_it_out(self, template: str) -> None:
        sources = {"session.cfg.j2": Source(Path("x"), template), "reflector.cfg.j2": Source(Path("y"), "")}
        with pytest.raises(TemplateError, match="leaves out the password of Global_10_0_0_1"):
            Templates(sources).render(config(Grammar.BIRD2, self.ONE))

    @pytest.mark.parametrize("text", ["neighbor", "10.0.0.1"])
    def test_a_password_that_is_part_of_another_word_is_not_the_password(self, text: str) -> None:
        template = "protocol bgp {{ session.name }} { neighbor {{ session.neighbor }} as 1; }"
        sources = {"session.cfg.j2": Source(Path("x"), template), "reflector.cfg.j2": Source(Path("y"), "")}
        with pytest.raises(TemplateError, match="leaves out the password of Global_10_0_0_1"):
            Templates(sources).render(config(Grammar.BIRD2, replace(self.ONE, password=Password("s", "k", text))))

    def test_a_session_whose_password_is_not_known_is_not_rendered_without_one(self) -> None:
        unknown = session(IPv4Address("10.0.0.1"), password=Password("s", "k"))
        with pytest.raises(TemplateError, match="leaves out the password"):
            SHIPPED.render(config(Grammar.BIRD2, unknown))


class TestGeneration:
    ONE, OTHER = TestPassword.ONE, TestPassword.OTHER

    @staticmethod
    def of(*sessions: Session) -> int:
        return SHIPPED.render(config(Grammar.BIRD2, *sessions)).generation

    def test_it_changes_with_a_password(self) -> None:
        assert self.of(self.ONE) != self.of(replace(self.ONE, password=Password("s", "k", "hunter3")))

    def test_it_changes_if_two_sessions_swap_their_passwords(self) -> None:
        swapped = (
            replace(self.ONE, password=self.OTHER.password),
            replace(self.OTHER, password=self.ONE.password),
        )
        assert len({self.of(self.ONE, self.OTHER), self.of(*swapped)}) == 2

    def test_an_installed_text_has_the_same(self) -> None:
        text = SHIPPED.render(config(Grammar.BIRD2, self.ONE, self.OTHER)).text
        found = installed(text)
        assert found
        assert found.generation == generation_in(text)
        assert installed(text.replace("hunter2", "hunter3")) is None


class TestHidden:
    def test_in_a_configuration(self) -> None:
        text = SHIPPED.render(config(Grammar.BIRD2, TestPassword.ONE, TestPassword.OTHER)).text
        hidden = hide_passwords(text)
        assert "hunter2" not in hidden
        assert "xyzzy" not in hidden
        assert hidden == text.replace("hunter2", "(hidden)").replace("xyzzy", "(hidden)")

    @pytest.mark.parametrize(
        "text",
        [
            'password "S";', 'password"S";', 'password\n\t"S";', "'password' \"S\";", '# password "S"',
            'password /* a\nb */ "S";', 'password # "\n "S";', 'password "S', 'password "a"; password "S";',
        ],
    )  # fmt: skip
    def test_in_whatever_bird_reads(self, text: str) -> None:
        assert "S" not in hide_passwords(text).replace("SECTION", "")

    def test_a_long_comment_takes_no_time(self) -> None:
        assert hide_passwords("password " + "#" * 100_000).endswith("#")

    def test_passwords_of_sessions(self) -> None:
        text = (
            'protocol bgp a { password "one"; }\n# password "comment"\nprotocol bgp b { # password "comment"\n'
            'description "password"; }\nprotocol bgp c { /* x */ password\n"two"; }\n'
        )
        assert session_passwords(text) == {"a": "one", "c": "two"}
        assert session_passwords("protocol bgp a { }") == {}

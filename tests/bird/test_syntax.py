"""The sessions in a text, compared with those that a real BIRD makes of it."""

import itertools
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from lab.bird import MINIMAL, RELEASES, Bird, Release
from lab.network import namespace
from rrwatch.bird.control import connect
from rrwatch.bird.syntax import session_blocks, session_names
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdRefused

LAYOUTS = [
    "protocol bgp A {%s}",
    "   protocol bgp A {%s}",
    "\tprotocol\tbgp\tA\t{%s}",
    "protocol\nbgp\nA\n{%s}",
    "protocol/* x */bgp # why\n/**/A/* { */{%s}",
    "protocol /* ** / \n */ bgp A {%s}",
    "protocol /* # */ bgp A {%s}",
    "protocol # /*\n bgp A {%s}",
    "protocol bgp 'A' {%s}",
    "protocol bgp'a-b.c:d'{%s}",
    "protocol bgp '1a' {%s}",
    "'protocol' 'bgp' A {%s}",
    "protocol'bgp'A{%s}",
    "protocol bgp _a {%s}",
    "protocol bgp abc {%s}",
    "protocol bgp " + "n" * 64 + " {%s}",
    "protocol bgp A {%s} protocol bgp B {%s}",
    "protocol bgp A {%s} protocol bgp a {%s};;",
    "define x = 1;protocol bgp A {%s}",
    "protocol bgp {%s}",
    "protocol bgp{%s}protocol bgp {%s}",
    "template bgp T { local as 1; %c }\nprotocol bgp A from T {%s}",
    "template bgp 'T-1' { local as 1; %c }\nprotocol bgp A from 'T-1'{%s}",
    "template bgp T { local as 1; %c }\nprotocol bgp from T {%s}",
    "template bgp T { local as 1; neighbor 10.1.0.1 as 1; %c }\nprotocol bgp A from T {}",
    "template bgp { local as 1; %c }\nprotocol bgp {%s}",
    "define bgp1 = 1; protocol bgp {%s}",
    "filter bgp1 { accept; } filter bgp2 { accept; } protocol bgp {%s}",
    "function bgp1 () { return 1; } protocol bgp {%s}",
    "filter f\nint bgp1;\n{ accept; } protocol bgp {%s}",
    "protocol static bgp1 { %c } protocol bgp {%s}",
    "protocol bgp bgp1 {%s} protocol bgp {%s}",
    "protocol bgp {%s} protocol bgp bgp2 {%s} protocol bgp {%s}",
    'protocol static S { description "bgp1"; %c } # bgp1\nprotocol bgp {%s}',
    'protocol static S { description "protocol bgp Z {"; %c }',
    "# protocol bgp Z {\n/* protocol bgp Y { } */",
    'protocol static S { description "it\'s /* "; %c }protocol bgp A {%s}',
    'protocol static S { description "no \\"; %c }\nprotocol bgp A {%s} # "\n',
    "# it's \"\nprotocol bgp A {%s}",
    "protocol bgp A {%s} # the end",
    "timeformat protocol iso long; protocol bgp A {%s}",
    "protocol bgp A { disabled; %s}",
    "template bgp T { local as 1; %c }\nprotocol bgp A from T {%s}\nprotocol static protocol_bgp_Z { %c }",
    "filter f { if net = 0.0.0.0/0 then { accept; } else { reject; } } protocol bgp A {%s}",
]
"""Texts that BIRD accepts: `%s` is what a session needs, `%c` what any protocol of BIRD 2 needs."""


class Real:
    """A real BIRD that says which sessions it makes of a text."""

    def __init__(self, bird: Bird) -> None:
        self._bird = bird

    @property
    def release(self) -> Release:
        return self._bird.release

    def complete(self, text: str) -> str:
        """The text with what its protocols need."""
        channel = "" if self.release.one_for_each_family else "ipv4;"
        numbers = itertools.count(1)
        text = re.sub("%s", lambda _: f" local as 1; neighbor 10.0.0.{next(numbers)} as 1; {channel} ", text)
        return MINIMAL + text.replace("%c", channel) + "\n"

    def sessions(self, text: str) -> list[str]:
        """The sessions of the text, sorted.

        Raises:
            BirdRefused: BIRD rejects it.
        """
        self._bird.config.write_text(text)
        with connect(self._bird.socket, Deadline(10, threading.Event())) as control:
            control.configure()
            control.wait_until_idle()
            rows = control.ask("show protocols").whole.splitlines()
        found = [row[5:] if row.startswith("1002-") else row[1:] for row in rows]
        return sorted(row.split()[0] for row in found if row.split()[1:2] == ["BGP"])


@pytest.fixture(scope="module", params=RELEASES, ids=str)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder: Path = tmp_path_factory.mktemp("syntax")
    with namespace() as space:
        bird = Bird(folder / "bird", space, release=request.param)
        bird.config.write_text(MINIMAL)
        bird.start()
        yield Real(bird)
        bird.stop()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_sessions_that_bird_has(real: Real, layout: str) -> None:
    text = real.complete(layout)
    assert sorted(session_names(text)) == real.sessions(text)


separators = st.lists(
    st.sampled_from([" ", "\t", "\n", "/* protocol bgp Z { */", "# ' } \" protocol bgp Y {\n", "/**/"]), max_size=3
).map("".join)
symbols = st.from_regex(r"[A-Z][A-Za-z0-9_]{0,8}|bgp[1-4]", fullmatch=True)
quoted = st.from_regex(r"'([A-Z0-9][A-Za-z0-9_.:-]{0,8}|bgp[1-4])'", fullmatch=True)


@st.composite
def protocols(draw: st.DrawFn) -> str:
    """One `protocol bgp` or `template bgp` in any layout."""
    kind = draw(st.sampled_from(["protocol", "protocol", "'protocol'", "template"]))
    name = draw(st.one_of(symbols, quoted, st.just("")))
    first, second, third, last = (draw(separators) for _ in range(4))
    source = draw(st.sampled_from(["", "", " from BASE", "\nfrom\t'BASE'"]))
    return f"{kind}{first or ' '}bgp{second or ' '}{name}{third}{source}{third}{{{last}%s}}"


others = st.sampled_from(
    [
        "define D%n = 1;",
        'protocol static S%n { description "protocol bgp Z { "; %c }',
        "filter F%n { if net = 0.0.0.0/0 then { accept; } reject; }",
        "function G%n () { return 1; }",
        "filter H%n\nint bgp1;\n{ accept; }",
        "# protocol bgp C {",
        "/* protocol bgp {\n} */",
        "protocol direct bgp%n { %c }",
        "define bgp%n = 1;",
    ]
)


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sessions_that_bird_has_in_any_layout(real: Real, data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.one_of(protocols(), others), min_size=1, max_size=7))
    numbered = [part.replace("%n", str(number)) for number, part in enumerate(parts, start=1)]
    ends = [data.draw(st.sampled_from(["\n", "\n", ";\n", "" if "#" not in part else "\n"])) for part in parts]
    body = "".join(itertools.chain.from_iterable(zip(numbered, ends, strict=True)))
    text = real.complete("template bgp BASE { local as 1; %c }\n" + body)
    try:
        expected = real.sessions(text)
    except BirdRefused:
        event("refused")  # a name that is used twice
        return
    event(f"{len(expected)} sessions")
    assert sorted(session_names(text)) == expected


def test_blocks_end_with_their_braces() -> None:
    text = (
        'protocol bgp A { import filter { if x then { accept; } }; # }\n d "}"; } x; protocol bgp B {} protocol bgp C'
    )
    assert [text[block.start : block.end] for block in session_blocks(text)] == [
        'protocol bgp A { import filter { if x then { accept; } }; # }\n d "}"; }',
        "protocol bgp B {}",
        "protocol bgp C",
    ]


@given(st.text(alphabet="protcl bg'\"#/*{}\nAn1_-from", max_size=60))
def test_any_text_has_blocks_in_order(text: str) -> None:
    blocks = session_blocks(text)
    assert [block.name for block in blocks] == session_names(text)
    edges = [edge for block in blocks for edge in (block.start, block.end)]
    assert edges == sorted(edges)
    assert all(text[block.start :].startswith("protocol") for block in blocks)


@pytest.mark.parametrize(
    "text", ["protocol bgp\n" * 20_000, "protocol bgp {}\n" * 20_000, "/*" * 100_000, "protocol bgp A" + "{" * 200_000]
)
def test_the_time_grows_with_the_size_alone(text: str) -> None:
    # A quadratic scan of these would take minutes.
    session_blocks(text)

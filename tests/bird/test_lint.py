"""Checks before BIRD reads a text."""

import pytest

from rrwatch.bird.lint import lint, require_sessions
from rrwatch.errors import LintError


@pytest.mark.parametrize(
    "text",
    [
        'description "' + "x" * 4095 + '";',
        'description "";',
        "# an apostrophe's comment, and a \" quote\nrouter id 1.2.3.4;",
        '/* " \n */ router id 1.2.3.4;',
        "n" * 64,
        "# " + "n" * 65,
        'description "' + "n" * 65 + '";',
    ],
)
def test_fine(text: str) -> None:
    lint(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('\n\ndescription "' + "x" * 4096 + '";', "line 3: a string of 4096 bytes"),
        ('description "' + "ö" * 2048 + '";', "a string of 4096 bytes"),
        ('description "no end\n";', "a string without an end"),
        ('description "no end', "a string without an end"),
        ("a\0b", "line 1: a NUL"),
        ("a\n\ud800b", "line 2: a character that UTF-8 cannot encode"),
        ("protocol bgp '' {}", "an empty name"),
        ("one\n" + "n" * 65, "line 2: the name nnnnnnnnnnnnnnnnnnnn... has 65 characters"),
    ],
)
def test_told_with_its_line(text: str, words: str) -> None:
    with pytest.raises(LintError, match=words):
        lint(text)


def test_sessions_that_are_all_there() -> None:
    require_sessions("", frozenset())
    require_sessions("protocol bgp A {}\n  protocol  bgp\tB from t {\n}\nprotocol bgp mine {}", frozenset({"A", "B"}))
    require_sessions("protocol bgp A {} protocol/**/bgp 'B'{}", frozenset({"A", "B"}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "protocol bgp A {}",
        "protocol bgp A {}\n# protocol bgp B {}",
        'protocol bgp A { d "protocol bgp B"; }',
        "protocol bgp AB {}",
    ],
)
def test_a_session_that_is_left_out(text: str) -> None:
    with pytest.raises(LintError, match=r"the templates give no `protocol bgp` for [AB], one of [12] such"):
        require_sessions(text, frozenset({"A", "B"}))

"""The difference of two configurations, which makes the new one of the old one."""

import difflib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwatch.bird import diff as module
from rrwatch.bird.diff import unified
from tests.fuzz import EXAMPLES

NAMES = ("a", "b")

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_HUNK = re.compile(r"@@ -([0-9]+)(?:,([0-9]+))? \+([0-9]+)(?:,([0-9]+))? @@\n")


def session(number: int, *options: str) -> str:
    """Returns the block of a session, with a comment above it."""
    return "\n".join([f"# n{number}", f"protocol bgp s{number} {{", *(f"  {option};" for option in options), "}", ""])


def patched(old: str, difference: str) -> str:
    """Applies a unified diff, as the program patch does, and returns the new text."""
    lines, new, at = _LINES.findall(old), [], 0
    added = False
    for line in _LINES.findall(difference)[2:]:
        if head := _HUNK.fullmatch(line):
            first, length = int(head[1]), int(head[2] or 1)
            start = first - 1 if length else first
            new += lines[at:start]
            at = start
            assert len(new) == int(head[3]) - (head[4] != "0")
        elif line.startswith("\\"):
            new[-1:] = [line.removesuffix("\n") if added else line for line in new[-1:]]
        else:
            added = line[0] in "+ "
            if line[0] in "- ":
                assert line[1:].removesuffix("\n") == lines[at].removesuffix("\n")
                at += 1
            if added:
                new.append(line[1:])
    return "".join([*new, *lines[at:]])


def changes(difference: str) -> list[str]:
    """Returns the lines that are added and removed."""
    return [line for line in difference.splitlines() if line[:1] in "+-" and line[:4] not in ("--- ", "+++ ")]


_sessions = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from([(), ("passive",), ("passive", "local as 1"), ("local as 1",)])),
    max_size=7,
).map(lambda some: "".join(session(number, *options) for number, options in some))
_pieces = st.sampled_from(
    ["router id 10.0.0.1;\n", "\n", "#\n", "}", "{\n", "protocol bgp s1 { } protocol bgp s2 {\n", "x", "\r\n", "\x0c"]
)
_texts = st.lists(st.one_of(_sessions, _pieces), max_size=5).map("".join)


@given(old=_texts, new=_texts, comparable=st.sampled_from([0, 250_000]))
@settings(max_examples=4 * EXAMPLES, deadline=None)
def test_it_makes_the_new_text_of_the_old_one(old: str, new: str, comparable: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_COMPARABLE", comparable)
        difference = unified(old, new, NAMES)
    if old == new:
        assert difference == ""
    else:
        assert difference.startswith("--- a\n+++ b\n@@ -")
        assert patched(old, difference) == new


def test_a_session_that_is_added_removed_changed_and_moved() -> None:
    old = "".join(session(number, "passive") for number in (1, 2, 3, 4, 9))
    new = "".join([session(9, "passive"), session(1, "passive"), session(5), session(2), session(4, "passive")])
    assert sorted(changes(unified(old, new, NAMES))) == sorted(
        [
            *(f"+{line}" for line in session(9, "passive").splitlines()),
            "-  passive;",
            *(f"-{line}" for line in session(3, "passive").splitlines()),
            *(f"-{line}" for line in session(9, "passive").splitlines()),
            *(f"+{line}" for line in session(5).splitlines()),
        ]
    )


def test_what_does_not_change_is_only_context() -> None:
    old = "".join(session(number, "passive") for number in range(100))
    difference = unified(old, old.replace("s50 {", "s50 { # here"), NAMES)
    assert changes(difference) == ["-protocol bgp s50 {", "+protocol bgp s50 { # here"]
    assert difference.count("\n") == 2 + 1 + 8


def test_other_line_ends_and_a_missing_one_are_differences() -> None:
    assert changes(unified("a\nb\n", "a\r\nb\n", NAMES)) == ["-a", "+a"]
    assert unified("a\n", "a", NAMES).endswith("-a\n+a\n\\ No newline at end of file\n")


def test_thousands_of_changed_sessions_are_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs difflib a handful of lines, so that the whole cannot become quadratic."""
    compared: list[int] = []
    real = difflib.SequenceMatcher

    class Counting(real[str]):  # type: ignore[misc,valid-type]
        def set_seqs(self, a: str, b: str) -> None:
            compared.append(len(a) * len(b))
            super().set_seqs(a, b)

    monkeypatch.setattr(difflib, "SequenceMatcher", Counting)
    old, new = ("".join(session(number, *options) for number in range(3000)) for options in ((), ("passive",)))
    assert changes(unified(old, new, NAMES)) == ["+  passive;"] * 3000
    assert max(compared) < 50


def test_long_texts_without_a_common_session_are_replaced_as_a_whole() -> None:
    old, new = (["same\n", *(f"{name}{number}\n" for number in range(600)), "same\n"] for name in NAMES)
    assert len(changes(unified("".join(old), "".join(new), NAMES))) == len(old) + len(new)

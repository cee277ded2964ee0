"""Columns of plain text: aligned, cut where a terminal has no room, and without control characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrwatch.cli.columns import cells, columns, cut, cut_front

_TEXTS = st.text(max_size=40)


def test_aligns() -> None:
    assert columns(("name", "ms", "x"), [("a", 1, None), ("long-name", 1234, "y")], right=("ms",)) == [
        "name         ms  x",
        "a             1",
        "long-name  1234  y",
    ]


def test_letters_of_two_cells() -> None:
    assert columns(("a", "b"), [("日本", "x"), ("abcd", "y")]) == ["a     b", "日本  x", "abcd  y"]
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"


def test_cuts_the_widest_column_and_keeps_fixed_ones() -> None:
    row = ("Global_172_17_42_31", "Established", "Received: Administrative shutdown")
    title, line = columns(("session", "state", "last error"), [row], 50, fixed=("session", "state"))
    assert line == "Global_172_17_42_31  Established  Received: Admin…"
    assert title == "session              state        last error"


def test_a_column_stays_wide_enough_to_tell_its_cells_apart() -> None:
    _, line = columns(("a", "b", "c"), [("a" * 30, "b" * 30, "c" * 30)], 24)
    assert line == "aaaaaaa…  bbbbbbb…  ccc…"


def test_of_a_key_the_end_is_kept() -> None:
    assert cut_front("/calico/bgp/v1/host/n7/ip_addr_v4", 15) == "…/n7/ip_addr_v4"
    title, line = columns(("key", "reason"), [("/calico/bgp/v1/host/n7/ip_addr_v4", "no")], 30, keys=("key",))
    assert line.endswith("/n7/ip_addr_v4  no")
    assert line.startswith("…")
    assert title.startswith("key ")


@pytest.mark.parametrize(("width", "shown"), [(None, "abcdef"), (6, "abcdef"), (5, "abcd…"), (1, "…"), (0, "")])
def test_cut(width: int | None, shown: str) -> None:
    assert cut("abcdef", width) == shown


@given(rows=st.lists(st.tuples(_TEXTS, _TEXTS, _TEXTS), max_size=5), width=st.integers(1, 120))
def test_any_text_fits_and_is_printable(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = columns(("a", "b", "c"), rows, width, right=("b",), fixed=("a",), keys=("c",))
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() and cells(line) <= width for line in lines)

"""The summary of a difference."""

from rrwatch.bird.diff import Difference
from rrwatch.cli.differences import summary

FILE = "/etc/bird/bird.cfg"
SIDES = ("installed", "wanted")


def block(name: str, body: str = "") -> str:
    return f"protocol bgp {name} {{{body}}}\n"


def test_names_are_limited() -> None:
    wanted = "".join(block(f"s{number}") for number in range(30))
    lines = summary(Difference(FILE, SIDES, block("old") + block("s0", " passive; "), wanted)).splitlines()
    assert lines[0] == f"{FILE}: 29 sessions added, 1 session removed, 1 session changed"
    assert lines[1:] == [*(f"+ s{number}" for number in range(1, 21)), "and 11 more"]


def test_twenty_are_not_shortened() -> None:
    lines = summary(Difference(FILE, SIDES, "", "".join(block(f"s{number}") for number in range(20)))).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "+ s19"


def test_a_password_counts_and_is_not_shown() -> None:
    old, new = (block("s", f' password "{password}"; ') for password in ("secret", "secrets"))
    assert summary(Difference(FILE, SIDES, old, new)) == f"{FILE}: 1 session changed\n~ s\n"


def test_what_is_not_a_session() -> None:
    told = summary(Difference(FILE, SIDES, block("a") + block("b"), block("b") + block("a")))
    assert told == f"{FILE}: only comments or the order of sessions differ\n"
    assert summary(Difference(FILE, SIDES, block("a"), "#\n" + block("a"))) == told
    assert summary(Difference(FILE, SIDES, "#", "x")) == f"{FILE}: the text outside of sessions differs\n"
    assert summary(Difference(FILE, SIDES, "#\n", "#\n")) == f"{FILE}: no difference\n"
    assert summary(Difference("/\x1b", SIDES, "", "#")).startswith("/\\x1b: ")


def test_the_generation_is_not_told() -> None:
    old, new = f"define rrwatch_generation = 1;\n{block('a')}", f"define rrwatch_generation = 2;\n{block('b')}"
    told = summary(Difference(FILE, SIDES, old, new))
    assert told == f"{FILE}: 1 session added, 1 session removed\n+ b\n- a\n"

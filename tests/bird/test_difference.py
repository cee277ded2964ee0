"""The difference between two configurations, by sessions first."""

import difflib
from typing import Any

import pytest

from rrwatch.bird.difference import difference

FRAME = "# BIRD 2\ndefine rrwatch_generation = {};\n\nrouter id 1.1.1.1;\n\ntemplate bgp t {{\n  multihop;\n}}\n"


def session(number: int, extra: str = "") -> str:
    return f"\n# n{number}: /key\nprotocol bgp S{number} from t {{\n  neighbor 10.0.0.1 as {number};\n{extra}}}\n"


def text(*sessions: str, generation: int = 1, frame: str = FRAME) -> str:
    return frame.format(generation) + "".join(sessions)


def test_the_same_text_differs_in_nothing() -> None:
    found = difference(text(session(1)), text(session(1)))
    assert found.plan.is_empty
    assert found.lines == ()


def test_sessions_that_come_and_go_and_change() -> None:
    found = difference(
        text(session(1), session(2), session(3)), text(session(1), session(3, "  passive;\n"), session(4), generation=2)
    )
    plan = found.plan
    assert (plan.added, plan.removed, plan.changed, plan.rest) == (("S4",), ("S2",), ("S3",), False)
    assert found.lines == (
        "@@ S2 removed @@", "-# n2: /key", "-protocol bgp S2 from t {", "-  neighbor 10.0.0.1 as 2;", "-}",
        "@@ S3 changed @@", " # n3: /key", " protocol bgp S3 from t {", "   neighbor 10.0.0.1 as 3;",
        "+  passive;", " }",
        "@@ S4 added @@", "+# n4: /key", "+protocol bgp S4 from t {", "+  neighbor 10.0.0.1 as 4;", "+}",
    )  # fmt: skip


def test_what_is_outside_of_the_sessions() -> None:
    found = difference(text(session(1)), text(session(1), frame=FRAME.replace("multihop", "direct")))
    assert (found.plan.rest, found.plan.changed) == (True, ())
    assert {"-  multihop;", "+  direct;"} <= set(found.lines)


def test_only_the_order_or_empty_lines() -> None:
    for other in (text(session(2), session(1)), text(session(1), "\n", session(2))):
        found = difference(text(session(1), session(2)), other)
        assert found.plan.rest
        assert found.lines == ("@@ only empty lines, or the order of sessions @@",)


def test_passwords_are_hidden_and_their_change_shows() -> None:
    one, other = (text(session(1, f'  password "{word}";\n')) for word in ("s3cret", "0ther"))
    found = difference(one, other)
    assert found.plan.changed == ("S1",)
    assert {'-  password "(hidden)";', '+  password "(hidden)";'} <= set(found.lines)
    assert not {"s3cret", "0ther", "\0"} & set("".join(found.lines).split('"'))
    assert difference(one, one).plan.is_empty
    assert '-  password "s3cret";' in difference(one, other, passwords=True).lines


def test_a_file_that_somebody_else_wrote() -> None:
    found = difference("protocol device { }\n", text(session(1)))
    assert found.plan.added == ("S1",)
    assert "-protocol device { }" in found.lines
    assert difference("", "").plan.is_empty


def test_only_what_differs_is_compared_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    real = difflib.unified_diff

    def counted(old: Any, new: Any, **keywords: Any) -> Any:
        compared.append(len(old) + len(new))
        return real(old, new, **keywords)

    monkeypatch.setattr(difflib, "unified_diff", counted)
    old = text(*(session(number) for number in range(500)))
    new = text(*(session(number, "  passive;\n" * (number % 100 == 0)) for number in range(500)))
    assert len(difference(old, new).plan.changed) == 5
    assert len(compared) == 6
    assert max(compared) < 20

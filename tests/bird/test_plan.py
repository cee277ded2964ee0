"""The installed text compared with the wanted one."""

from rrwatch.bird.plan import NOTHING, Plan, plan

A = "# why\nprotocol bgp A from t {\n  neighbor 1.1.1.1 as 1;\n}\n"
B = "protocol bgp B from t {\n  neighbor 2.2.2.2 as 1;\n}\n"


def test_nothing() -> None:
    assert plan(A, A) is NOTHING
    assert NOTHING.is_empty


def test_no_file_yet() -> None:
    assert plan(None, "x;\n" + A) == Plan(("A",), (), (), True)


def test_added_removed_changed() -> None:
    changed = A.replace("1.1.1.1", "3.3.3.3")
    assert plan(A + B, changed + B.replace(" B ", " C ")) == Plan(("C",), ("B",), ("A",), False)


def test_the_rest() -> None:
    assert plan("x;\n" + A, "y;\n" + A) == Plan((), (), (), True)
    assert not plan("x;\n" + A, "y;\n" + A).is_empty


def test_a_file_in_another_layout() -> None:
    assert plan("protocol bgp A{neighbor 1.1.1.1 as 1;}", A) == Plan((), (), ("A",), True)
    assert plan("x;\n\tprotocol /* that one */ bgp 'B-1'\n{ a { b; } } y;", A) == Plan(("A",), ("B-1",), (), True)

"""The table of `rrwatch sessions` on a terminal."""

from typing import Any

from rrwatch.cli.session_screen import session_lines
from rrwatch.commands.derived_sessions import derived_list
from tests.cli.test_tables import DERIVED

NAME = "Global_172_17_100_250"


def document(*states: tuple[str | None, str | None], source: str = "daemon") -> dict[str, Any]:
    found = derived_list(DERIVED, {}, source)
    (row,) = found["sessions"]
    more = {"name": NAME, "node": "kube-node1", "last_error": None, "kept_by": None}
    rows = [row | more | {"state": state, "since": since} for state, since in states]
    return found | {"now": "2026-11-29T12:00:00Z", "total": len(rows), "sessions": rows}


def test_a_session_that_bird_lacks_is_absent_and_down() -> None:
    lost, new = (None, "2026-11-29T11:00:00Z"), (None, None)
    shown = [*session_lines(document(("Established", "2026-11-28T11:00:00Z"), lost, new), 80, wide=False)]
    assert [line.split()[2:] for line in shown[1:4]] == [
        ["Established", "11-28", "11:00"], ["absent", "11:00:00"], ["absent"],
    ]  # fmt: skip
    assert shown[4] == "3 sessions: 1 up, 2 down"


def test_of_a_bird_that_has_not_told_nothing_is_known() -> None:
    known, unknown = document(("Established", "2026-11-28T11:00:00Z")), document((None, None))
    rows = [known["sessions"][0] | {"daemon": "bird"}, unknown["sessions"][0] | {"daemon": "bird6"}]
    shown = [*session_lines(known | {"sessions": rows, "total": 2}, 80, wide=False)]
    assert shown[2].split()[2:] == []
    assert shown[3] == "2 sessions: 1 up, 0 down, 1 without a state"


def test_times_are_whole_where_nothing_needs_to_be_cut() -> None:
    found = document(("Active", "2026-11-29T11:00:00Z"))
    found["sessions"][0] |= {"losses": 0, "losses_last_hour": 0, "daemon": "bird"}
    for wide, width in (False, None), (True, 80):
        assert "2026-11-29T11:00:00Z" in "\n".join(session_lines(found, width, wide=wide))


def test_names_are_whole_without_a_daemon() -> None:
    shown = [*session_lines(document((None, None), source="etcd"), 80, wide=False)]
    assert shown[1].startswith(f"{NAME}  10.0.0.1 ")
    assert "cluster id" not in shown[0]
    assert "cluster id" in next(session_lines(document((None, None), source="etcd"), None, wide=False))

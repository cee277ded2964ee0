"""How things were said, and what is remembered of it."""

from pathlib import Path

import pytest

from rrwatch.calico.v1 import PREFIX, V1
from rrwatch.datastore.follow import Alarm
from rrwatch.datastore.port import Change, Changes, Snapshot
from rrwatch.errors import StateError
from rrwatch.guard.baseline import StateFolder
from rrwatch.guard.guard import Guard
from rrwatch.guard.rule import Limits, Nodes
from tests.guard.test_rule import node

KEY = f"{PREFIX}/host/n1/ip_addr_v4"


def nodes(count: int) -> Nodes:
    return {f"n{number}": node(f"n{number}", f"10.0.0.{number}") for number in range(1, count + 1)}


def guard(folder: Path, viewer: str = "me", laments: list[StateError] | None = None) -> Guard:
    tell = laments.append if laments is not None else lambda _: None
    return Guard(StateFolder(folder), Limits(50, 5), viewer, V1, tell)


def snapshot(index: int, cluster: str = "c", prefix: str = PREFIX, items: int = 1) -> Snapshot:
    return Snapshot(prefix, {f"{prefix}/k{number}": "" for number in range(items)}, index, cluster, "http://e")


def gone(key: str, index: int = 11) -> Changes:
    return Changes(PREFIX, (Change(key, None, subtree=True),), index)


def holds(subject: Guard, now: Nodes) -> bool:
    return subject.weigh(now, lambda: ["S"]) is not None


@pytest.fixture
def ten(tmp_path: Path) -> Guard:
    """It knows ten nodes."""
    subject = guard(tmp_path)
    subject.hear(snapshot(10), 0)
    assert not holds(subject, nodes(10))
    subject.keep()
    return subject


def test_one_by_one_is_not_all_at_once(ten: Guard) -> None:
    for number in range(4, 11):
        ten.hear(gone(f"{PREFIX}/host/n{number}"), 20)
    assert not holds(ten, nodes(3))


def test_a_node_that_came_back_is_not_one_that_was_deleted(ten: Guard) -> None:
    for number in range(4, 11):
        ten.hear(gone(f"{PREFIX}/host/n{number}"), 20)
        ten.hear(Changes(PREFIX, (Change(f"{PREFIX}/host/n{number}/ip_addr_v4", "10.0.0.1"),), 12), 20)
    assert holds(ten, nodes(3))


@pytest.mark.parametrize("key", [f"{PREFIX}/host", f"{PREFIX}", "/calico", "/calico/bgp"])
def test_a_tree_is(ten: Guard, key: str) -> None:
    ten.hear(gone(key), 20)
    assert holds(ten, {})


def test_the_whole_prefix_counts_as_an_alarm(ten: Guard) -> None:
    ten.hear(gone("/calico"), 20)
    assert holds(ten, nodes(10))
    assert ten.held
    assert "/calico was deleted as a whole" in ten.held.reason


@pytest.mark.parametrize("key", [f"{PREFIX}/global/peer_v4", f"{PREFIX}/global", "/calicoo", f"{PREFIX}2"])
def test_other_folders_do_not(ten: Guard, key: str) -> None:
    ten.hear(gone(key), 20)
    assert not holds(ten, nodes(10))


def test_an_alarm_waits_for_its_list(ten: Guard) -> None:
    ten.hear(Alarm(PREFIX, "http://e", "went back"), 0)
    assert not ten.weigh(nodes(10), list)
    ten.hear(snapshot(3), 20)
    assert holds(ten, nodes(10))


def test_an_empty_list_is_an_alarm(ten: Guard) -> None:
    ten.hear(snapshot(12, items=0), 20)
    assert holds(ten, nodes(10))


@pytest.mark.parametrize(("later", "held"), [(snapshot(9), True), (snapshot(11, "other"), True), (snapshot(10), False)])
def test_after_a_restart_etcd_is_compared_with_what_it_was(
    tmp_path: Path, ten: Guard, later: Snapshot, held: bool
) -> None:
    ten.close()
    again = guard(tmp_path)
    assert again.baseline.nodes == nodes(10)
    again.hear(later, 0)
    assert holds(again, nodes(10)) is held


def test_what_was_accepted_last_outlives_an_orderly_end(tmp_path: Path, ten: Guard) -> None:
    assert not holds(ten, nodes(12))
    ten.keep()
    assert guard(tmp_path).baseline.nodes == nodes(10)  # not yet: that is not worth a write for each node
    ten.close()
    assert guard(tmp_path).baseline.nodes == nodes(12)


def test_what_is_held_outlives_a_restart(tmp_path: Path, ten: Guard) -> None:
    ten.hear(snapshot(11), 20)
    assert holds(ten, nodes(3))
    before = ten.baseline
    again = guard(tmp_path)
    assert again.baseline == before
    again.hear(snapshot(12), 0)
    assert holds(again, nodes(9))
    assert not holds(again, nodes(10))
    assert guard(tmp_path).held is None


def test_a_release_is_for_what_was_held_then(tmp_path: Path, ten: Guard) -> None:
    folder = StateFolder(tmp_path)
    assert holds(ten, {})
    folder.ask_release("something of last week")
    assert holds(ten, {})
    assert not folder.release_file.exists()
    folder.ask_release(ten.baseline.held_id)
    assert not holds(ten, {})
    assert ten.baseline.nodes == {}
    assert not folder.release_file.exists()


def test_another_viewer_has_another_baseline(tmp_path: Path, ten: Guard) -> None:
    ten.close()
    assert guard(tmp_path, "somebody else").baseline.nodes == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 2}', '{"format": 1, "nodes": {"n": ["x"]}}', "\udcff"]
)
def test_a_damaged_file_is_no_baseline(tmp_path: Path, text: str) -> None:
    (tmp_path / "baseline.json").write_text(text, errors="surrogateescape")
    assert guard(tmp_path).baseline.nodes == {}


def test_nowhere_to_keep_it_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    laments: list[StateError] = []
    subject = guard(tmp_path / "file" / "state", laments=laments)
    subject.hear(snapshot(10), 0)
    for _ in range(3):
        subject.remember({"a": 1})
        assert not holds(subject, nodes(10))
    assert holds(subject, {})
    assert len(laments) == 1
    assert "want a folder that rrwatch may write in" in str(laments[0])


def test_a_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    laments: list[StateError] = []
    guard(tmp_path / "new", laments=laments).remember({"a": 1})
    assert (laments, StateFolder(tmp_path / "new").history(1)) == ([], [{"a": 1}])


def test_the_history_ends_somewhere_and_survives_a_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrwatch.guard.baseline._HISTORY_MAX", 2000)
    folder = StateFolder(tmp_path)
    for number in range(300):
        folder.remember({"number": number})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"number": 3')
    assert [entry["number"] for entry in folder.history(3)] == [298, 299]
    assert (tmp_path / "history.jsonl").stat().st_size < 2200
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]

"""What the guard makes of what it hears: which records are in force, what is held, and what survives a restart."""

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwatch.bird.lock import FolderLock
from rrwatch.datastore.follow import Alarm, UpToDate
from rrwatch.datastore.port import Change, Snapshot
from rrwatch.guard.baseline import StateFolder
from rrwatch.guard.rule import Limits
from tests.guard.clusters import GLOBAL, PEER, Host, cluster, names, node
from tests.keys import PREFIX

EIGHT = range(1, 9)


@pytest.fixture
def eight(tmp_path: Path) -> Host:
    """A host that runs sessions with eight nodes."""
    host = Host(tmp_path).list(cluster(*EIGHT))
    assert host.settle() == names(*EIGHT)
    host.guard.keep()
    return host


def restarted(host: Host, tmp_path: Path) -> Host:
    host.guard.close()
    return Host(tmp_path)


def test_nodes_deleted_one_by_one_go_at_once(eight: Host) -> None:
    for number in range(2, 9):
        eight.delete(f"{PREFIX}/host/n{number}")
    assert eight.settle() == names(1)
    assert not eight.guard.hold


def test_nodes_emptied_one_by_one_go_at_once(eight: Host) -> None:
    for number in range(2, 9):
        eight.put({f"{PREFIX}/host/n{number}/ip_addr_v4": ""})
    assert eight.settle() == names(1)


def test_a_peer_that_is_deleted_ends_all_its_sessions(eight: Host) -> None:
    assert eight.delete(PEER).settle() == set()
    assert not eight.guard.hold


@pytest.mark.parametrize(
    "folder", [f"{PREFIX}/host", f"{PREFIX}/global", f"{PREFIX}/global/peer_v4", PREFIX, "/calico"]
)
def test_a_folder_above_several_nodes_is_held(eight: Host, folder: str) -> None:
    assert eight.delete(folder).settle() == names(*EIGHT)
    assert "8 of 8 sessions would end" in eight.reason
    # What comes meanwhile takes effect, unless the records it depends on are missing too.
    eight.put(node(9))
    assert eight.settle() == names(*EIGHT, 9)


def test_writing_the_same_again_before_asks_for_nothing(eight: Host) -> None:
    for number in EIGHT:
        eight.put(node(number))
    eight.delete(f"{PREFIX}/host/n1/peer_v4")  # an empty folder
    assert eight.settle() == names(*EIGHT)
    assert eight.delete(f"{PREFIX}/host").settle() == names(*EIGHT)


def test_the_records_of_several_nodes_in_one_revision_are_not_one_by_one(eight: Host) -> None:
    keys = [key for number in range(1, 7) for key in node(number)]
    assert eight.change(*(Change(key, None) for key in keys)).settle() == names(*EIGHT)


def test_records_that_expire_are_not_deleted_by_anybody(eight: Host) -> None:
    for number in range(1, 7):
        eight.delete(f"{PREFIX}/host/n{number}", expired=True)
    assert eight.settle() == names(*EIGHT)


def test_a_few_nodes_missing_in_a_list_are_gone(eight: Host) -> None:
    assert eight.list(cluster(1, 2, 3, 4), 20).settle() == names(1, 2, 3, 4)


def test_many_nodes_missing_in_a_list_are_held_until_all_are_back(eight: Host) -> None:
    assert eight.list(cluster(1, 2, 3, 20), 20).settle() == names(*EIGHT, 20)
    assert eight.guard.hold
    assert eight.put(node(4) | node(5) | node(6) | node(7)).settle() == names(*EIGHT, 20)
    assert eight.guard.hold
    assert eight.put(node(8)).settle() == names(*EIGHT, 20)
    assert not eight.guard.hold


def test_while_some_are_held_others_still_go_on_request(eight: Host) -> None:
    eight.list(cluster(1, 2, 3), 20).settle()
    assert eight.delete(f"{PREFIX}/host/n1").settle() == names(*range(2, 9))
    # A node that is held comes back, and is then deleted.
    eight.put(node(8)).settle()
    assert eight.delete(f"{PREFIX}/host/n8").settle() == names(*range(2, 8))


def test_a_switch_that_is_readable_counts_while_something_is_held(eight: Host) -> None:
    eight.list(cluster(1, 2, 3), 20).settle()
    assert eight.delete(PEER).settle() == set()
    assert not eight.guard.hold


def test_nodes_under_other_names_are_not_gone(eight: Host) -> None:
    renamed = {key.replace("/n", "/renamed-n"): value for number in EIGHT for key, value in node(number).items()}
    assert eight.list(GLOBAL | renamed, 20).settle() == names(*EIGHT)
    assert not eight.guard.hold
    assert not any("/n1/" in key for key in eight.guard.settle(eight.mirror.items).items)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (PEER, "{"),
        (f"{PREFIX}/global/as_num", "x"),
        (f"{PREFIX}/host/n1/ip_addr_v4", "10.0.0"),
        (f"{PREFIX}/global/node_mesh", "?"),
    ],
)
def test_the_last_readable_value_of_a_record_stays_in_force(tmp_path: Path, eight: Host, key: str, value: str) -> None:
    before = eight.mirror.items[key]
    eight.put({key: value})
    for host in (eight, restarted(eight, tmp_path).list({**eight.mirror.items}, 40)):
        verdict = host.guard.settle(host.mirror.items)
        assert verdict.items[key] == before
        assert [one.key for one in verdict.unreadable] == [key]
        assert verdict.unreadable[0].reason.endswith("its last readable value stays in force")
        assert not host.guard.hold
    eight.put({key: before})
    assert eight.guard.settle(eight.mirror.items).unreadable == ()


def test_a_record_that_was_never_readable_is_as_it_is(eight: Host) -> None:
    key = f"{PREFIX}/host/n9/ip_addr_v4"
    verdict = eight.put({key: "x"}).guard.settle(eight.mirror.items)
    assert (verdict.items[key], verdict.unreadable) == ("x", ())


def test_a_record_deleted_while_it_is_unreadable_goes(eight: Host) -> None:
    eight.put({PEER: "{"}).settle()
    assert eight.delete(PEER).settle() == set()


def test_nothing_of_another_etcd_takes_effect_before_all_is_back(eight: Host) -> None:
    eight.alarm()
    assert eight.settle() == names(*EIGHT)
    assert not eight.guard.hold  # its list is still to come
    eight.list(cluster(1, 2, 3, 4, 5, 6, 7, 20), 5, "other")
    assert eight.settle() == names(*EIGHT)
    assert "etcd went back; 1 of 8 sessions" in eight.reason
    assert eight.put(node(8)).settle() == names(*EIGHT, 20)
    assert not eight.guard.hold
    assert eight.delete(f"{PREFIX}/host/n8").settle() == names(*range(1, 8), 20)


def test_an_etcd_that_went_back_to_the_same_records_is_no_alarm_for_what_comes_later(eight: Host) -> None:
    eight.alarm().list(dict(eight.mirror.items), 5)
    assert eight.settle() == names(*EIGHT)
    assert eight.delete(f"{PREFIX}/host/n8").settle() == names(*range(1, 8))


def test_an_alarm_of_each_folder_waits_for_its_own_list(tmp_path: Path) -> None:
    host = Host(tmp_path).list(cluster(*EIGHT))
    host.settle()
    host.guard.hear(Alarm("/calico/v1/ipam", "http://e", "etcd went back"))
    host.alarm()
    host.guard.hear(Snapshot("/calico/v1/ipam", {}, 3, "c", "http://e"))
    host.mirror.replace(Snapshot(PREFIX, {}, 3, "c", "http://e"))
    assert host.settle() == names(*EIGHT)
    assert not host.guard.hold


@pytest.mark.parametrize("count", [3, 8])
def test_a_prefix_that_is_empty_ends_no_session_whatever_the_number(tmp_path: Path, count: int) -> None:
    numbers = range(1, count + 1)
    host = Host(tmp_path).list(cluster(*numbers))
    host.settle()
    assert host.list({}, 20).settle() == names(*numbers)
    assert f"{PREFIX} is empty" in host.reason
    again = restarted(host, tmp_path).list({}, 30)
    assert again.settle() == names(*numbers)
    assert again.list(cluster(*numbers), 40).settle() == names(*numbers)
    assert not again.guard.hold


def test_a_prefix_that_was_empty_counts_although_some_keys_are_back_in_the_next_list(tmp_path: Path) -> None:
    host = Host(tmp_path).list(cluster(1, 2))
    host.settle()
    host.delete(PREFIX).put(node(1)).list(node(1), 20)
    assert host.settle() == names(1, 2)
    assert f"{PREFIX} was deleted as a whole" in host.reason


@pytest.mark.parametrize(
    ("index", "cluster_id", "reason"),
    [(9, "c", "went back from index 10 to 9"), (11, "other", "another cluster"), (10, "c", "")],
)
def test_after_a_restart_etcd_is_compared_with_what_it_was(
    tmp_path: Path, eight: Host, index: int, cluster_id: str, reason: str
) -> None:
    again = restarted(eight, tmp_path).list(cluster(*range(1, 8)), index, cluster_id)
    assert again.settle() == names(*(EIGHT if reason else range(1, 8)))
    assert reason in again.reason


def test_the_index_of_a_quiet_cluster_is_remembered_at_the_end(tmp_path: Path, eight: Host) -> None:
    eight.list(cluster(*EIGHT), 5000)
    assert restarted(eight, tmp_path).list(cluster(*range(1, 8)), 4000).settle() == names(*EIGHT)


def test_the_index_that_other_keys_move_on_counts_too(tmp_path: Path, eight: Host) -> None:
    for index in 900, 700:  # of two followers
        eight.guard.hear(UpToDate(PREFIX, index, "http://e"))
    assert restarted(eight, tmp_path).list(cluster(*range(1, 8)), 800).settle() == names(*EIGHT)


def test_an_empty_folder_that_is_deleted_is_no_alarm_for_what_comes_later(tmp_path: Path) -> None:
    host = Host(tmp_path).list({})
    host.settle()
    host.delete(PREFIX).settle()
    host.put(cluster(*EIGHT)).settle()
    assert host.list(cluster(*range(1, 8)), 50).settle() == names(*range(1, 8))


def test_a_release_waits_for_the_list_that_an_alarm_announces(eight: Host) -> None:
    eight.delete(f"{PREFIX}/host").settle()
    eight.release()
    eight.alarm()
    assert eight.settle() == names(*EIGHT)
    assert eight.list(cluster(1), 5).settle() == names(1)


def test_nodes_missing_after_a_restart_count(tmp_path: Path, eight: Host) -> None:
    again = restarted(eight, tmp_path).list(cluster(1, 2, 3), 30)
    assert again.settle() == names(*EIGHT)
    # What is held outlives the next restart, also one while it is only a few.
    third = restarted(again.put(node(4) | node(5) | node(6) | node(7)), tmp_path).list(cluster(*range(1, 8)), 50)
    assert third.settle() == names(*EIGHT)
    assert third.put(node(8)).settle() == names(*EIGHT)
    assert not third.guard.hold


def test_what_is_frozen_stays_so_after_a_restart_although_the_index_has_moved_on(tmp_path: Path, eight: Host) -> None:
    eight.alarm().list(cluster(1, 20), 3).settle()
    again = restarted(eight, tmp_path).list(cluster(1, 20), 900)
    assert again.settle() == names(*EIGHT)
    assert again.reason.count("etcd went back") == 1


def test_a_release_is_for_one_hold(eight: Host) -> None:
    eight.delete(f"{PREFIX}/host").settle()
    eight.folder.release_file.write_text("something of last week")
    assert eight.settle() == names(*EIGHT)
    eight.release()
    assert eight.settle() == set()
    assert not eight.folder.release_file.exists()
    assert not eight.guard.hold


def test_a_release_that_has_not_been_written_yet_is_not_lost(
    tmp_path: Path, eight: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    eight.delete(f"{PREFIX}/host").settle()
    eight.release()
    with monkeypatch.context() as patch:
        patch.setattr(StateFolder, "save", lambda *_: 1 / 0)  # killed in this moment
        with pytest.raises(ZeroDivisionError):
            eight.settle()
    assert Host(tmp_path).list(GLOBAL, 40).settle() == set()


def test_a_release_of_another_etcd_accepts_it(tmp_path: Path, eight: Host) -> None:
    eight.alarm().list(cluster(1, 20), 3, "other").settle()
    eight.release()
    assert eight.settle() == names(1, 20)
    again = restarted(eight, tmp_path).list(cluster(1, 20), 4, "other")
    assert again.settle() == names(1, 20)
    assert not again.guard.hold


@pytest.mark.parametrize(
    "damage",
    [
        "", "{", "[]", "null",
        '{"format": 3}', '{"format": 2}', '{"format": 1, "nodes": {"n": ["10.0.0.1"]}}', "\udcff",
        '{"format": 2, "roles": {"me": {"cluster_id": "c", "index": Infinity, "items": {}, "hold": null}}}',
        '{"format": 2, "roles": {"me": {"cluster_id": "c", "index": 1, "items": {"k": 5}, "hold": null}}}',
        '{"format": 2, "roles": {"me": {"cluster_id": "c", "index": 1, "items": {}, "hold": false}}}',
        *(
            '{"format": 2, "roles": {"me": {"cluster_id": "c", "index": 1, "items": {}, "hold": {"id": "1", "since": '
            + since
            + ', "frozen": "", "reason": "r", "nodes": [], "sessions": []}}}}'
            for since in ("1e20", "NaN", "-1e20")
        ),
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_baseline_that_cannot_be_read_is_not_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / "baseline.json").write_text(damage, errors="surrogateescape")
    host = Host(tmp_path, running=names(1, 2)).list(cluster(2, 3))
    assert len(host.errors) == 1
    verdict = host.guard.settle(host.mirror.items)
    assert verdict.keep_installed
    assert verdict.hold
    assert verdict.hold.loss.sessions == ("Global_10_0_0_1",)
    assert (tmp_path / "baseline.json.unreadable").read_text(errors="surrogateescape") == damage

    # The hold outlives a restart, and ends when the sessions are back.
    again = Host(tmp_path, running=names(1, 2)).list(cluster(2, 3))
    assert again.settle() == set()
    assert again.guard.hold
    assert again.put(node(1)).settle() == names(1, 2, 3)
    assert not again.guard.hold


def test_a_baseline_that_cannot_be_read_does_not_matter_where_nothing_would_end(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text("{")
    host = Host(tmp_path, running=names(1)).list(cluster(1, 2))
    assert host.settle() == names(1, 2)
    assert not host.guard.hold


def test_a_baseline_that_cannot_be_read_and_is_removed_meanwhile_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text("{")
    host = Host(tmp_path, running=names(1, 2))
    (tmp_path / "baseline.json").unlink()
    host.list(cluster(1, 2)).settle()
    host.guard.close()
    assert restarted(host, tmp_path).list({}, 20).settle() == names(1, 2)


def test_at_the_first_start_etcd_counts_unless_it_is_empty(tmp_path: Path) -> None:
    assert Host(tmp_path / "a", running=["handmade"]).list(cluster(1)).settle() == names(1)
    empty = Host(tmp_path / "b", running=["handmade"]).list({})
    assert empty.guard.settle({}).keep_installed
    assert empty.guard.hold
    assert Host(tmp_path / "c").list({}).guard.settle({}).hold is None


def test_roles_that_share_a_folder_do_not_share_a_baseline(tmp_path: Path, eight: Host) -> None:
    other = Host(tmp_path, role="another").list(cluster(1, 2, 3, 4, 5), 20)
    other.settle()
    other.guard.close()
    eight.put(node(9)).settle()
    eight.guard.close()
    again = Host(tmp_path).list(cluster(1), 30)
    assert again.settle() == names(*EIGHT, 9)
    assert Host(tmp_path, role="another").list(cluster(1), 30).settle() == names(1, 2, 3, 4, 5)
    assert Host(tmp_path, role="a third").list(cluster(1), 3).settle() == names(1)


def test_by_settings_it_is_off(tmp_path: Path) -> None:
    host = Host(tmp_path, limits=Limits(0, 5)).list(cluster(*EIGHT))
    host.settle()
    assert host.list({}, 20).settle() == set()


def test_records_of_folders_that_are_let_go_are_forgotten(eight: Host) -> None:
    eight.guard.forget_all_but([f"{PREFIX}/global", f"{PREFIX}/host/n1"])
    kept = {key: value for key, value in cluster(1).items() if "/rr_v4/" not in key}
    assert eight.guard.settle(kept).items == kept


def test_changes_of_keys_that_say_nothing_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path).list(cluster(*EIGHT) | {f"{PREFIX}/other": "1"})
    host.settle()
    monkeypatch.setattr(host.guard._records, "_effects", pytest.fail)
    host.put({f"{PREFIX}/other": "2"}).settle()
    host.list(cluster(*EIGHT), 20).settle()
    host.put(node(9)).settle()
    host.delete(f"{PREFIX}/host/n9").settle()


def test_writing_the_baseline_takes_a_small_share_of_the_time(
    tmp_path: Path, eight: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic() + 100]
    monkeypatch.setattr("rrwatch.guard.guard.time.monotonic", lambda: clock[0])
    save = StateFolder.save

    def slow(*arguments: Any) -> None:
        save(*arguments)
        clock[0] += 0.1

    monkeypatch.setattr(StateFolder, "save", slow)

    def written() -> int:
        return len(json.loads((tmp_path / "baseline.json").read_text())["roles"]["me"]["items"])

    before = written()
    for number, seconds, more in (9, 0.0, 2), (10, 4.9, 2), (11, 0.2, 6), (12, 4.9, 6), (13, 0.2, 10):
        clock[0] += seconds
        eight.put(node(number)).settle()
        eight.guard.keep()
        assert written() == before + more, number
    eight.put(node(14)).settle()
    assert eight.guard.write_due_in == pytest.approx(5.0)
    eight.guard.close()
    assert written() == before + 12
    assert eight.guard.write_due_in is None


def test_the_index_alone_is_written_every_few_minutes(
    tmp_path: Path, eight: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    eight.list(cluster(*EIGHT), 70).settle()
    assert eight.guard.write_due_in == pytest.approx(300, abs=20)
    monkeypatch.setattr("rrwatch.guard.guard._INDEX_INTERVAL", 0.0)
    eight.guard.keep()
    assert json.loads((tmp_path / "baseline.json").read_text())["roles"]["me"]["index"] == 70


def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    host = Host(tmp_path / "file" / "state").list(cluster(*EIGHT))
    for _ in range(3):
        assert host.settle() == names(*EIGHT)
        host.guard.close()
    assert host.list({}, 20).settle() == names(*EIGHT)
    assert len(host.errors) == 1
    assert "want a folder that rrwatch may write in" in str(host.errors[0])


@pytest.mark.parametrize("ends", [True, False])
def test_a_hold_that_could_not_be_written_is_written_as_soon_as_that_works(
    tmp_path: Path, eight: Host, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    full = tmp_path.with_name("full")
    tmp_path.rename(full)
    tmp_path.write_text("")  # no folder
    eight.delete(f"{PREFIX}/host").settle()
    eight.guard.keep()
    assert len(eight.errors) == 1
    tmp_path.unlink()
    full.rename(tmp_path)
    if ends:
        eight.guard.close()
    else:
        assert eight.guard.write_due_in == pytest.approx(5.0, abs=1)
        later = time.monotonic() + 6
        monkeypatch.setattr("rrwatch.guard.guard.time.monotonic", lambda: later)
        eight.guard.keep()
    assert Host(tmp_path).guard.hold == eight.guard.hold


@pytest.mark.parametrize("restarts", [False, True])
def test_an_exception_while_a_hold_is_written_loses_no_change(
    tmp_path: Path, eight: Host, monkeypatch: pytest.MonkeyPatch, *, restarts: bool
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    host = restarted(eight, tmp_path) if restarts else eight
    host.list(cluster(1, 20), 20)
    with monkeypatch.context() as patch:
        patch.setattr(StateFolder, "save", fail)
        with pytest.raises(MemoryError):
            host.settle()
    assert host.settle() == names(*EIGHT, 20)  # `settle` checks that the keys that differ are told
    assert host.guard.hold


@pytest.mark.parametrize("write", [
    lambda host: host.guard.close(),
    lambda host: host.delete(PREFIX).settle() and host.release(),
])  # fmt: skip
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path, write: Callable[[Host], None]) -> None:
    os.chown(tmp_path, 1234, 1235)
    umask = os.umask(0o077)
    try:
        host = Host(tmp_path).list(cluster(*EIGHT))
        host.settle()
        write(host)
    finally:
        os.umask(umask)
    for path in tmp_path.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (1234, 1235, 0o640), path


def test_another_process_that_hangs_with_the_lock_stops_nothing(tmp_path: Path, eight: Host) -> None:
    with (tmp_path / "baseline.lock").open("r") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        eight.put(node(9)).settle()
        eight.guard.close()
        assert len(eight.errors) == 1
    eight.guard.close()
    assert Host(tmp_path).list(cluster(*EIGHT), 40).settle() == names(*EIGHT)
    assert "/n9/" in (tmp_path / "baseline.json").read_text()


def test_a_folder_that_is_locked_for_another_reason_can_be_used(tmp_path: Path) -> None:
    lock = FolderLock()
    lock.claim([tmp_path / "bird.cfg"])
    host = Host(tmp_path).list(cluster(*EIGHT))
    assert host.settle() == names(*EIGHT)
    host.guard.close()
    lock.release()
    assert host.errors == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged_baselines(draw: st.DrawFn) -> str:
    """A baseline of which one member, at any depth, is another JSON value or is missing."""
    hold = {"id": "1", "since": 1.5, "frozen": "", "reason": "r", "nodes": ["n1"], "sessions": ["S"]}
    mine = {"cluster_id": "c", "index": 1, "items": cluster(1, 2), "hold": hold}
    document: dict[str, Any] = {"format": 2, "roles": {"me": mine}}
    place: Any = document
    for _ in range(draw(st.integers(0, 4))):
        inner = [name for name, value in place.items() if isinstance(value, dict)]
        if not inner:
            break
        place = place[draw(st.sampled_from(inner))]
    name = draw(st.sampled_from(sorted(place)))
    if draw(st.booleans()):
        del place[name]
    else:
        place[name] = draw(_JSON)
    return json.dumps(document)


@settings(max_examples=300)
@given(text=damaged_baselines() | st.text() | _JSON.map(json.dumps))
def test_any_baseline_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("state")
    (folder / "baseline.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    host = Host(folder, running=names(1, 2))
    host.list(cluster(1, 2), 2).settle()
    host.guard.close()
    assert Host(folder).list(cluster(1, 2), 3).settle() == names(1, 2)


def test_a_loss_in_many_steps_is_held_like_one_in_a_single_step(eight: Host) -> None:
    for number in range(1, 9):
        eight.delete(f"{PREFIX}/host/n{number}", expired=True).settle()
    assert eight.settle() == names(*range(5, 9))
    assert eight.reason == "4 of 4 sessions would end that nobody asked to end; 4 others ended so in the last hour"


def test_lists_that_lose_nodes_in_steps_count_together_and_what_is_back_does_not(eight: Host) -> None:
    eight.list(cluster(*range(1, 7)), 20).settle()
    eight.list(cluster(*range(1, 8)), 30).settle()
    assert eight.list(cluster(*range(1, 5)), 40).settle() == names(*range(1, 5))
    assert eight.list(cluster(1, 2, 3), 50).settle() == names(1, 2, 3, 4)


def test_after_an_hour_a_loss_is_a_new_one(eight: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    eight.list(cluster(*range(1, 5)), 20).settle()
    monkeypatch.setattr("rrwatch.guard.guard._LATELY", 0.0)
    assert eight.list(cluster(1, 2, 3), 30).settle() == names(1, 2, 3)

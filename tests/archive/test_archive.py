"""The history and the configurations of it, on disks and clocks that do what they like."""

import errno
import gzip
import itertools
import json
import os
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.statuses import reflector
from rrwatch.archive import archive as module
from rrwatch.archive.archive import Archive
from rrwatch.archive.files import StateFiles
from rrwatch.errors import StateError
from tests.schemas import validate


def text(number: int) -> str:
    return f"# x\ndefine rrwatch_generation = {number};\n\n# {number}\n"


def entry(**fields: Any) -> dict[str, Any]:
    found = {"time": "2026-01-01T00:00:00Z", "daemon": "bird", "state": "confirmed", "cause": ["x"], "causes": 1}
    return found | {"added": 1, "removed": 0, "changed": 0, "took_ms": 1.5} | fields


def record(archive: Archive, *numbers: int) -> None:
    for number in numbers:
        archive.record([entry()], {"bird": text(number)})
        archive.keep()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "state", "me")


def test_what_was_recorded_is_found_again(archive: Archive, tmp_path: Path) -> None:
    archive.record([entry(), entry(daemon="bird6")], {"bird": text(1), "bird6": text(2)})
    archive.keep()
    other = Archive(tmp_path / "state", "me")
    assert [(row.number, row.daemon, row.configuration) for row in other.rows()] == [(1, "bird", 1), (1, "bird6", 1)]
    assert other.rows()[0].generations == {"bird": 1, "bird6": 2}
    assert other.texts(1) == {"bird": text(1), "bird6": text(2)}
    assert other.texts(2) is None
    assert other.is_newest({"bird": text(1), "bird6": text(2)})
    path = tmp_path / "state" / "configs" / "1.cfg.gz"
    assert path.stat().st_mode & 0o777 == 0o600
    assert gzip.decompress(path.read_bytes()).decode().partition("\n")[2] == text(1) + text(2)


def test_the_same_configuration_is_stored_once(archive: Archive, tmp_path: Path) -> None:
    record(archive, 1, 1, 2, 2, 1)
    assert [(row.number, row.configuration) for row in archive.rows()] == [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5)]
    assert {path.name for path in (tmp_path / "state" / "configs").iterdir()} == {"1.cfg.gz", "3.cfg.gz", "5.cfg.gz"}
    assert archive.texts(2) == archive.texts(1)


def test_a_configuration_that_somebody_removed_is_stored_again(archive: Archive, tmp_path: Path) -> None:
    record(archive, 1)
    (tmp_path / "state" / "configs" / "1.cfg.gz").unlink()
    record(archive, 1)
    assert archive.texts(1) is None
    assert archive.texts(2) == {"bird": text(1)}


def test_a_change_without_a_configuration_has_none(archive: Archive) -> None:
    record(archive, 1)
    archive.record([entry(state="refused")], {})
    archive.keep()
    assert archive.rows()[-1].configuration is None
    assert archive.texts(2) is None
    assert archive.is_newest({"bird": text(1)})


def test_fifty_configurations_are_kept(archive: Archive, tmp_path: Path) -> None:
    record(archive, *range(1, 61))
    kept = {int(path.name.partition(".")[0]) for path in (tmp_path / "state" / "configs").iterdir()}
    assert kept == set(range(11, 61))
    assert archive.texts(10) is None
    assert len(archive.rows()) == 60


def test_numbers_grow_without_the_history(archive: Archive, tmp_path: Path) -> None:
    record(archive, 1, 2, 3)
    (tmp_path / "state" / "history.jsonl").unlink()
    other = Archive(tmp_path / "state", "me")
    record(other, 4)
    assert [row.number for row in other.rows()] == [4]


def test_two_roles_share_the_numbers_and_not_the_rows(archive: Archive, tmp_path: Path) -> None:
    other = Archive(tmp_path / "state", "another")
    for number in range(1, 5):
        record((archive, other)[number % 2], number)
    assert [row.number for row in archive.rows()] == [2, 4]
    assert [row.number for row in other.rows()] == [1, 3]
    assert archive.texts(1) is None
    assert other.texts(1) == {"bird": text(1)}


def test_the_history_of_an_older_rrwatch_gets_numbers(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    old = [entry(cause=[name]) | {"generation": 7} for name in "abc"]
    (tmp_path / "state" / "history.jsonl").write_text("".join(json.dumps(one) + "\n" for one in old))
    assert [(row.number, row.cause, row.configuration) for row in archive.rows()] == [
        (1, ("a",), None), (2, ("b",), None), (3, ("c",), None),
    ]  # fmt: skip
    assert archive.newest() is None
    record(archive, 1)
    assert [row.number for row in Archive(tmp_path / "state", "me").rows()] == [1, 2, 3, 4]
    assert archive.texts(2) is None


def test_lines_that_cannot_be_read_are_told_of_once_and_stay(tmp_path: Path) -> None:
    told: list[str] = []
    archive = Archive(tmp_path, "me", told.append)
    record(archive, 1)
    with (tmp_path / "history.jsonl").open("ab") as file:
        file.write(b"\xff\xfe" + b"[" * 2000 + b'\n{"half": ')
    record(archive, 2)
    record(archive, 3)
    assert [row.number for row in archive.rows()] == [1, 2, 3]
    assert len(told) == 1
    assert "2 lines of" in told[0]
    assert b'{"half": ' in (tmp_path / "history.jsonl").read_bytes()


DAMAGE = {
    "empty": b"",
    "no gzip": b"no gzip",
    "no texts": gzip.compress(b"# {}\n"),
    "too short": gzip.compress(b'# {"bird": 9}\nshort'),
    "no document": gzip.compress(b"[" * 9),
    "cut off": gzip.compress(text(1).encode())[:20],
    "nested": gzip.compress(b"# " + b"[" * 100_000 + b"\n"),
    "a bomb": gzip.compress(b"\0" * (1 << 20)) * 256,
    "a bomb of one text": gzip.compress(b'# {"bird": 1000000000000}\n'),
    "negative": gzip.compress(b'# {"bird": -5}\n' + text(1).encode()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_configuration_is_an_error_and_stops_no_change(
    archive: Archive, tmp_path: Path, damage: bytes
) -> None:
    record(archive, 1)
    (tmp_path / "state" / "configs" / "1.cfg.gz").write_bytes(damage)
    with pytest.raises(StateError, match=r"1\.cfg\.gz"):
        archive.texts(1)
    other = Archive(tmp_path / "state", "me")
    assert other.newest() is None
    record(other, 1)
    assert other.texts(2) == {"bird": text(1)}


def test_a_bomb_costs_little_memory(archive: Archive, tmp_path: Path) -> None:
    record(archive, 1)
    (tmp_path / "state" / "configs" / "1.cfg.gz").write_bytes(DAMAGE["a bomb"])
    tracemalloc.start()
    try:
        with pytest.raises(StateError):
            archive.texts(1)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()


def test_a_pipe_in_the_place_of_a_file_does_not_block(archive: Archive, tmp_path: Path) -> None:
    record(archive, 1)
    path = tmp_path / "state" / "configs" / "1.cfg.gz"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StateError, match="not a regular file"):
        archive.texts(1)


def test_what_cannot_be_written_is_kept_in_memory(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")  # no folder
    for number in 1, 2:
        archive.record([entry()], {"bird": text(number)})
        with pytest.raises(StateError, match="want a folder"):
            archive.keep()
    assert archive.is_newest({"bird": text(2)})
    (tmp_path / "state").unlink()
    archive.keep()
    assert [row.number for row in archive.rows()] == [1, 2]
    assert archive.texts(1) == {"bird": text(1)}


def test_a_disk_with_room_for_a_configuration_and_not_for_the_history(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(archive, *range(1, 51))
    configs = tmp_path / "state" / "configs"
    before = {path.name for path in configs.iterdir()}
    real = StateFiles.replace

    def full(files: StateFiles, path: Path, content: bytes, mode: int = 0o640) -> None:
        if path.name == "history.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(files, path, content, mode)

    monkeypatch.setattr(StateFiles, "replace", full)
    archive.record([entry()], {"bird": text(51)})
    for _ in range(3):  # as many passes
        with pytest.raises(StateError, match="No space left"):
            archive.keep()
        assert {path.name for path in configs.iterdir()} == before
    monkeypatch.setattr(StateFiles, "replace", real)
    archive.keep()
    assert archive.rows()[-1].number == 51
    assert {path.name for path in configs.iterdir()} == before - {"1.cfg.gz"} | {"51.cfg.gz"}


def test_a_long_line_that_cannot_be_read_costs_no_row(archive: Archive, tmp_path: Path) -> None:
    record(archive, *range(1, 11))
    with (tmp_path / "state" / "history.jsonl").open("ab") as file:
        file.write(b"x" * 10_000_000 + b"\n")
    record(archive, *range(11, 21))
    assert [row.number for row in archive.rows()] == list(range(1, 21))
    assert (tmp_path / "state" / "history.jsonl").stat().st_size < 1 << 20


def test_a_wild_number_does_not_hide_what_comes_after_it(archive: Archive, tmp_path: Path) -> None:
    record(archive, 1)
    (tmp_path / "state" / "configs" / f"{10**30}.cfg.gz").write_bytes(b"")
    with (tmp_path / "state" / "history.jsonl").open("a") as file:
        file.write(json.dumps(entry(number=(1 << 53) - 1)) + "\n")
    for number in 2, 3:
        record(archive, number)
        assert archive.rows()[-1].number == number
        assert archive.texts(number) == {"bird": text(number)}
    other = Archive(tmp_path / "state", "me")
    assert other.newest() == archive.newest()
    record(other, 4)
    assert (other.rows()[-1].number, other.texts(4)) == (4, {"bird": text(4)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("took_ms", took) for took in (float("nan"), float("inf"), "nan", "1")),
        *(("time", time) for time in ("soon", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-12:00", "\x1b[2J")),
        ("cause", {"a": 1}),
        ("generation", "x"),
        ("cause", "abc"),
    ],
)
def test_a_value_that_nobody_can_show_is_damage(archive: Archive, tmp_path: Path, name: str, value: object) -> None:
    record(archive, 1)
    with (tmp_path / "state" / "history.jsonl").open("a") as file:
        file.write(json.dumps(entry(number=2) | {name: value}) + "\n")
    assert [row.number for row in archive.rows()] == [1]
    assert len(archive.entries(5)) == 1


def test_what_a_row_may_lack_is_there_for_those_who_show_it(archive: Archive) -> None:
    record(archive, 1)
    assert "message" not in entry()
    (shown,) = archive.entries(1)
    assert (shown["message"], shown["generation"], shown["number"]) == (None, None, 1)
    validate("status", {**reflector(3).document(), "recent": [shown]})


def test_the_history_is_bounded(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_MAX", 20)
    record(archive, *range(1, 51))
    assert len(archive.rows()) <= 20
    assert archive.rows()[-1].number == 50
    monkeypatch.setattr(module, "_SIZE_MAX", 1000)
    record(archive, 51)
    assert (tmp_path / "state" / "history.jsonl").stat().st_size < 5000


def test_a_clock_that_is_set_back_changes_no_number(archive: Archive) -> None:
    for time in "2026-01-02T00:00:00Z", "2020-01-01T00:00:00Z":
        archive.record([entry(time=time)], {"bird": text(len(time))})
        archive.keep()
    assert [row.number for row in archive.rows()] == [1, 2]


def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1235)
    record(Archive(tmp_path, "me"), 1)
    for path in tmp_path.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235), path
        assert path.stat().st_mode & 0o007 == 0, path


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_ENTRIES = st.tuples(st.sampled_from(sorted(entry())), _JSON).map(lambda one: entry(number=1) | {one[0]: one[1]})
_LINES = st.binary(max_size=30) | (_JSON | _ENTRIES).map(lambda one: json.dumps(one).encode())
_CONTENT = st.lists(_LINES, max_size=6).map(b"\n".join)


@settings(max_examples=60)
@given(content=_CONTENT)
def test_any_file_is_read_and_added_to(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "history.jsonl").write_bytes(content)
        archive = Archive(folder, "me")
        before = [row.number for row in archive.rows()]
        record(archive, 1)
        last = archive.rows()[-1].number
        assert last > max(before, default=0)
        assert archive.texts(last) == {"bird": text(1)}
        assert Archive(folder, "me").rows() == archive.rows()


def test_bytes_that_are_not_utf8_come_back(archive: Archive) -> None:
    odd = text(1) + "\udcff"
    archive.record([entry()], {"bird": odd})
    archive.keep()
    assert archive.texts(1) == {"bird": odd}


def test_another_process_with_the_lock_only_delays(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    record(archive, 1)
    tries = itertools.count()
    real = StateFiles.locked

    def busy(files: Any, path: Path) -> Any:
        if next(tries) < 3:
            raise BlockingIOError
        return real(files, path)

    monkeypatch.setattr(StateFiles, "locked", busy)
    record(archive, 2)
    assert [row.number for row in archive.rows()] == [1, 2]

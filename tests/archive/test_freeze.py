"""Freezes and rollbacks on disk: after a crash at any step, things stand as before or as they should."""

import itertools
import json
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rrwatch.archive.freeze import FreezeFiles, Frozen, Standing
from rrwatch.archive.requests import Answer, Command, Request, RequestFiles, Result
from rrwatch.errors import RrwatchError, StateError

FROZEN = Frozen("a", 1.0, "why", {"bird": "text \udcff", "bird6": "other"}, 5.0, 3)


def test_it_comes_back(tmp_path: Path) -> None:
    files = FreezeFiles(tmp_path / "state", "me")
    assert files.load() == Standing()
    pending = Standing(FROZEN).begun(replace(FROZEN, id="b"), replace(FROZEN, id="c"), 1.0, 2.0)
    for standing in Standing(FROZEN), pending, Standing(FROZEN), Standing():
        files.save(standing)
        assert FreezeFiles(tmp_path / "state", "me").load() == standing
        assert FreezeFiles(tmp_path / "state", "another").load() == Standing()
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"freeze.lock"}


def test_passwords_are_not_for_everybody(tmp_path: Path) -> None:
    files = FreezeFiles(tmp_path, "me")
    files.save(Standing(FROZEN).begun(FROZEN, FROZEN, 1.0, 2.0))
    assert [path.stat().st_mode & 0o777 for path in (files.frozen, files.pending)] == [0o600, 0o600]
    assert "text" not in repr(FROZEN)


def test_roles_do_not_disturb_each_other(tmp_path: Path) -> None:
    one, other = FreezeFiles(tmp_path, "one"), FreezeFiles(tmp_path, "other")
    one.save(Standing(FROZEN))
    other.save(Standing(replace(FROZEN, id="b")))
    one.save(Standing())
    assert (one.load(), other.load()) == (Standing(), Standing(replace(FROZEN, id="b")))


@pytest.mark.parametrize("name", ["id", "since", "reason", "texts", "until", "number"])
@pytest.mark.parametrize("value", [[], "x", -1, True])
def test_a_damaged_file_is_an_error_or_is_read(tmp_path: Path, name: str, value: object) -> None:
    files = FreezeFiles(tmp_path, "me")
    files.save(Standing(FROZEN))
    document: dict[str, Any] = json.loads(files.frozen.read_text())
    document["roles"]["me"][name] = value
    files.frozen.write_text(json.dumps(document))
    try:
        standing = files.load()
    except StateError:
        files.save(Standing())
        standing = files.load()
        assert standing == Standing()
    else:
        assert standing.frozen


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "\0", '{"format": 2, "roles": {}}', '{"format": 1, "roles": []}',
     '{"format": 1, "roles": {"me": null}}', '{"format": 1, "roles": {"me": []}}'],
    ids=range(8),
)  # fmt: skip
@pytest.mark.parametrize("name", ["frozen", "pending"])
def test_a_file_of_another_shape_does_not_thaw(tmp_path: Path, name: str, text: str) -> None:
    files = FreezeFiles(tmp_path, "me")
    path: Path = getattr(files, name)
    path.write_text(text)
    with pytest.raises(StateError):
        files.load()
    files.save(Standing(FROZEN))
    assert files.load() == Standing(FROZEN)


class _Crash(Exception):
    pass


class OnDisk(RuleBasedStateMachine):
    """Whatever comes, and wherever it is interrupted: the files say what was before, or what should be."""

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.files = FreezeFiles(Path(self._folder.name), "me")
        self.standing = Standing()
        self.ids = itertools.count()

    def frozen(self) -> Frozen:
        return replace(FROZEN, id=f"f{next(self.ids)}")

    def go(self, standing: Standing, crash: int) -> None:
        writes = itertools.count()
        real = self.files._write

        def write(path: Path, entry: Mapping[str, Any] | None) -> None:
            if next(writes) == crash:
                raise _Crash
            real(path, entry)

        self.files._write = write  # type: ignore[method-assign]
        before = self.standing
        try:
            self.files.save(standing)
        except _Crash:
            self.standing = FreezeFiles(self.files.frozen.parent, "me").load()
            # A confirmation that is on disk counts, told or not; the file of an old rollback may remain.
            assert self.standing.frozen in (before.frozen, standing.frozen)
            assert self.standing.in_effect in (before.in_effect, standing.in_effect)
        else:
            self.standing = standing
        finally:
            self.files._write = real  # type: ignore[method-assign]

    crashes = st.integers(0, 3)

    @precondition(lambda self: not self.standing.pending)
    @rule(crash=crashes)
    def freeze(self, crash: int) -> None:
        self.go(Standing(self.frozen()), crash)

    @rule(crash=crashes)
    def roll_back(self, crash: int) -> None:
        self.go(Standing(self.frozen()), crash)

    @precondition(lambda self: not self.standing.pending)
    @rule(crash=crashes)
    def thaw(self, crash: int) -> None:
        self.go(Standing(), crash)

    @precondition(lambda self: not self.standing.pending)
    @rule(crash=crashes)
    def try_out(self, crash: int) -> None:
        self.go(self.standing.begun(self.frozen(), self.frozen(), 1.0, 2.0), crash)

    @rule(crash=crashes)
    def confirm(self, crash: int) -> None:
        self.go(self.standing.confirmed(), crash)

    @rule(crash=crashes)
    def tell(self, crash: int) -> None:
        self.go(self.standing.told(), crash)

    @rule(crash=crashes)
    def undo(self, crash: int) -> None:
        self.go(self.standing.undone(), crash)

    @invariant()
    def is_on_disk(self) -> None:
        loaded = FreezeFiles(self.files.frozen.parent, "me").load()
        assert (loaded.frozen, loaded.pending) == (self.standing.frozen, self.standing.pending)

    def teardown(self) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()


TestOnDisk = OnDisk.TestCase
TestOnDisk.settings = settings(max_examples=30, stateful_step_count=15)


def test_a_request_and_its_answer(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path / "state")
    assert files.asked("me") is None
    request = Request("1", "me", Command.FREEZE, 1.5, "why", 60.0, 7)
    files.ask(request)
    assert files.asked("me") == request
    assert files.asked("another") is None
    assert files.answered("1") is None
    answer = Answer("1", Result.HELD, "held", {"bird": {"added": ["x"]}})
    files.answer(answer)
    assert files.asked("me") is None
    assert files.answered("1") == answer
    assert files.answered("2") is None
    # The answer to one request does not remove another one.
    files.ask(replace(request, id="2"))
    files.answer(answer)
    assert files.asked("me") == replace(request, id="2")


WILD = [
    ("asked_at", float("nan")), ("asked_at", 1e300), ("asked_at", -1.0), ("seconds", float("nan")), ("seconds", 1e12),
    ("seconds", float("inf")), ("seconds", -5), ("number", -3), ("number", "7"), ("number", 1 << 60),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WILD)
def test_a_request_with_a_wild_number_is_none(tmp_path: Path, name: str, value: object) -> None:
    files = RequestFiles(tmp_path)
    files.ask(Request("1", "me", Command.FREEZE, 1.5, "why", 60.0, 7))
    document = json.loads(files.request.read_text())
    files.request.write_text(json.dumps(document | {name: value}))
    assert files.asked("me") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": 1}', b"\xff", b"null"])
def test_a_request_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "request.json").write_bytes(content)
    (tmp_path / "answer.json").write_bytes(content)
    files = RequestFiles(tmp_path)
    assert files.asked("me") is None
    assert files.answered("1") is None
    files.withdraw("1")


def test_one_command_at_a_time_asks(tmp_path: Path) -> None:
    first, second = RequestFiles(tmp_path / "state"), RequestFiles(tmp_path / "state")
    with first.turn(1):
        with pytest.raises(RrwatchError, match="another command waits"), second.turn(0.1):
            pytest.fail("both have the turn")
        asked = threading.Thread(target=_take_a_turn, args=(second,))
        asked.start()
    asked.join(30)
    assert not asked.is_alive()
    with first.turn(1):
        pass


def _take_a_turn(files: RequestFiles) -> None:
    with files.turn(20):
        pass


def test_no_turn_in_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="want a folder"), RequestFiles(tmp_path / "state").turn(1):
        pytest.fail("there is no folder")

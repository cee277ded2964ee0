"""What the commands for history, freezes and rollbacks print where no daemon runs, and how they end."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rrwatch.archive.archive import Archive
from rrwatch.archive.freeze import FreezeFiles, Frozen, Standing
from rrwatch.archive.requests import Command, RequestFiles
from rrwatch.cli.main import main

ROLE = "reflector 172.17.42.40"
Said = tuple[int, str, str]


def text(number: int, *names: str) -> str:
    blocks = "".join(f'\nprotocol bgp {name} {{\n  password "s3cret{number}";\n}}\n' for name in names)
    return f"# x\ndefine rrwatch_generation = {number};\n\nrouter id 1.1.1.1;\n{blocks}"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A history of three changes, of which the third one was refused, and BIRD's file as the second one left it."""
    archive = Archive(tmp_path / "state", ROLE)
    entry: dict[str, object] = {
        "time": "2026-01-01T00:00:00Z",
        "daemon": "bird",
        "state": "confirmed",
        "cause": ["/a\x1b", "/b"],
    }
    entry |= {"causes": 2, "added": 1, "removed": 0, "changed": 0, "took_ms": 1.5}
    for number, names in (1, ["A", "B"]), (2, ["B", "C"]):
        archive.record([entry], {"bird": text(number, *names)})
    archive.record([entry | {"state": "refused", "message": "no"}], {})
    archive.keep()
    (tmp_path / "bird.cfg").write_text(text(2, "B", "C"))
    return tmp_path / "state"


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    variables = {
        "IP": "172.17.42.40",
        "RRWATCH_STATE_DIR": str(tmp_path / "state"),
        "RRWATCH_CONFIG": str(tmp_path / "bird.cfg"),
        "RRWATCH_CONFIG6": str(tmp_path / "bird6.cfg"),
        "ETCD_ENDPOINTS": "http://127.0.0.1:1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def say(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return say


@pytest.mark.usefixtures("state")
def test_the_history_is_a_table(say: Callable[..., Said]) -> None:
    status, out, _ = say("history")
    assert status == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["number", "time", "state", "+", "-", "~", "cause"]
    assert rows[1] == ["1", "2026-01-01T00:00:00Z", "confirmed", "1", "/a\\x1b", "and", "1", "more"]
    assert [row[2] for row in rows[1:]] == ["confirmed", "confirmed", "refused"]
    assert [row["number"] for row in json.loads(say("history", "--json", "-n", "2")[1])] == [2, 3]


def test_no_history(say: Callable[..., Said]) -> None:
    assert say("history") == (0, "no changes are known\n", "")
    assert say("history", "--json") == (0, "[]\n", "")
    assert say("rollback", "1")[0] == 5


ONE_OF_EACH = "bird: 1 session added, 1 session removed, 1 session changed\n"


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["diff", "1", "2", "--summary"], 1, f"{ONE_OF_EACH}+ C\n- A\n~ B\n"),
        (["diff", "2", "1", "--summary"], 1, f"{ONE_OF_EACH}+ A\n- C\n~ B\n"),
        (["diff", "1", "--summary"], 1, f"{ONE_OF_EACH}+ C\n- A\n~ B\n"),
        (["diff", "2", "--summary"], 0, "bird: no difference\n"),
        (["diff", "2", "2"], 0, ""),
        (["diff", "9"], 2, "rrwatch: there is no change 9 in the history; `rrwatch history` lists them\n"),
        (["diff", "3"], 2, "rrwatch: change 3 installed no configuration; `rrwatch history` lists them\n"),
        (["diff", "0"], 2, "0 is not in the range"),
        (["diff", "x"], 2, "'x' is not a valid integer"),
        (["diff", "--timeout", "0.1"], 2, "127.0.0.1:1"),
        (["rollback", "3"], 5, "there is no configuration 3"),
        (["rollback", "4"], 5, "there is no configuration 4"),
        (["freeze"], 2, "--reason"),
        (["freeze", "--reason", " "], 2, "--reason is empty"),
        (["freeze", "--reason", "x", "--for", "4x"], 2, "--for is '4x': want a number of s, m, h or d"),
        (["rollback", "1", "--confirm-within", "0s"], 2, "--confirm-within is '0s'"),
        (["confirm"], 1, "no rollback waits for a confirmation"),
        (["thaw"], 0, "nothing is frozen"),
        (["thaw", "--plan"], 0, "nothing is frozen"),
    ],
)
def test_statuses(say: Callable[..., Said], arguments: list[str], status: int, says: str) -> None:
    found, out, err = say(*arguments)
    assert found == status, err
    assert says in out + err
    assert len(err.splitlines()) <= 1 or status == 2


@pytest.mark.usefixtures("state")
def test_passwords_are_hidden_unless_asked_for(say: Callable[..., Said]) -> None:
    hidden = say("diff", "1", "2")[1]
    assert "s3cret" not in hidden
    assert '-  password "(hidden)";\n+  password "(hidden)";\n' in hidden
    assert hidden.startswith("--- bird (configuration 1)\n+++ bird (configuration 2)\n@@ -1")
    assert '+  password "s3cret2";' in say("diff", "1", "2", "--show-passwords")[1]


def test_without_a_daemon_a_request_stays(say: Callable[..., Said], state: Path) -> None:
    status, out, _ = say("freeze", "--reason", "why", "--for", "4h")
    assert (status, "does not run here" in out) == (0, True)
    request = RequestFiles(state).asked(ROLE)
    assert request
    assert (request.command, request.reason, request.seconds) == (Command.FREEZE, "why", 4 * 3600)
    assert say("thaw")[0] == 4
    assert RequestFiles(state).asked(ROLE) == request
    assert say("rollback", "1", "--confirm-within", "10m")[0] == 0
    request = RequestFiles(state).asked(ROLE)
    assert request
    assert (request.command, request.number, request.seconds) == (Command.ROLLBACK, 1, 600)


def test_a_rollback_that_waits_is_what_runs(say: Callable[..., Said], state: Path) -> None:
    frozen = Frozen("t", 1.0, "why", {"bird": text(1, "A", "B")})
    FreezeFiles(state, ROLE).save(Standing().begun(frozen, frozen, 1.0, 2.0))
    assert say("diff", "1")[0] == 0
    status, out, _ = say("confirm")
    assert (status, "BIRD undoes rollback" in out) == (0, True)


def test_what_may_not_be_read_is_one_line(say: Callable[..., Said], state: Path) -> None:
    (state / "history.jsonl").unlink()
    (state / "history.jsonl").mkdir()
    status, _, err = say("history")
    assert (status, err) == (1, f"rrwatch: {state}/history.jsonl cannot be read: Is a directory\n")
    assert say("rollback", "1") == (status, "", err)  # not "there is no configuration 1"
    (state / "frozen.json").write_text("{")
    assert say("thaw")[0] == 1


OLD_ROW = {  # of rrwatch 0.1
    "time": "2025-12-31T00:00:00Z", "daemon": "bird", "state": "confirmed", "message": None, "cause": ["start"],
    "causes": 1, "added": 3, "removed": 0, "changed": 0, "generation": 7, "took_ms": 12.5,
}  # fmt: skip


def test_what_is_damaged_is_left_out(say: Callable[..., Said], state: Path) -> None:
    history = state / "history.jsonl"
    wild = [
        b"\xff\x00\x1b[2J", b'{"number": 5, "ti', b"[1, 2]", b"null", b'{"number": "6"}', b"[" * 100_000,
        json.dumps(OLD_ROW | {"number": 7, "took_ms": float("nan")}).encode(), b"x" * 10_000_000,
    ]  # fmt: skip
    history.write_bytes(b"\n".join([*wild, history.read_bytes(), *wild]))
    status, out, err = say("history", "--json")
    assert (status, err) == (0, "")
    rows = json.loads(out, parse_constant=pytest.fail)
    assert [row["number"] for row in rows] == [1, 2, 3]
    assert say("history")[0] == 0
    assert say("diff", "2", "--summary")[0] == 0


def test_the_history_of_the_release_before(say: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "history.jsonl").write_text(2 * (json.dumps(OLD_ROW) + "\n"))
    rows = json.loads(say("history", "--json")[1])
    assert [(row["number"], row["configuration"], row["added"]) for row in rows] == [(1, None, 3), (2, None, 3)]
    assert len(say("history")[1].splitlines()) == 3
    assert say("diff", "1") == (
        2, "", "rrwatch: change 1 installed no configuration; `rrwatch history` lists them\n"
    )  # fmt: skip
    assert say("rollback", "1")[0] == 5


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"x" * 99)[:20], gzip.compress(b"# " + b"[" * 99_999)],
    ids=["empty", "no gzip", "cut off", "deeply nested"],
)
def test_a_damaged_configuration_is_one_line(say: Callable[..., Said], state: Path, content: bytes) -> None:
    (state / "configs" / "1.cfg.gz").write_bytes(content)
    for arguments, expected in (["rollback", "1"], 1), (["diff", "1"], 2), (["diff", "1", "2"], 2):
        status, out, err = say(*arguments)
        assert (status, out) == (expected, "")
        assert "1.cfg.gz" in err.splitlines()[-1]
    assert not (state / "request.json").exists()

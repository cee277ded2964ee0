"""What is remembered of sessions from poll to poll, and over restarts."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.process import wait_until
from rrwatch.bird.plan import NOTHING
from rrwatch.bird.protocols import BgpProtocol, bgp_protocols
from rrwatch.daemon import session_store
from rrwatch.daemon.session_store import SessionStore
from rrwatch.daemon.session_table import BIRD_STOPPED, Observation, Remembered, SessionTable, Transitions
from rrwatch.guard.baseline import StateFolder
from rrwatch.report.sessions import Moment, ObservedSession
from tests.fuzz import EXAMPLES

NAME = "Global_10_0_0_2"
WANTED = {NAME, "Global_10_0_0_3"}
SHUTDOWN = "Received: Administrative shutdown"
REFUSED = "Socket: Connection refused"

START = datetime(2026, 11, 29, 12, 0, 0)
UNIX = 1_800_000_000.0
BOOT = 5_000.0  # the monotonic clock at the start


class Host:
    """A BIRD with one session or none, whose clock the test turns; it polls into a table."""

    def __init__(self, remembered: Mapping[str, Remembered] | None = None) -> None:
        self.table = SessionTable(remembered)
        self.seconds, self.wall, self.birth = 0.0, UNIX, 1
        self.known: Mapping[str, BgpProtocol] = {}

    def moment(self) -> Moment:
        return Moment(BOOT + self.seconds, self.wall + self.seconds)

    def clock(self, ago: float = 0.0) -> str:
        return (START + timedelta(seconds=self.seconds - ago)).strftime("%H:%M:%S")

    def poll(self, *lines: str, after: float = 5.0, wanted: set[str] = WANTED, cause: str = "") -> Transitions:
        self.seconds += after
        self.known = bgp_protocols("".join(f" {line}\n" for line in lines), self.known)
        return self.table.take(self.seen(sessions=self.known, causes={NAME: cause} if cause else {}), wanted)

    def seen(
        self,
        *,
        sessions: Mapping[str, BgpProtocol] | None = None,
        causes: Mapping[str, str] | None = None,
        error: str = "",
        stopped: bool = False,
    ) -> Observation:
        now = START + timedelta(seconds=self.seconds)
        return Observation("bird", self.moment(), 0.01, self.birth, sessions, now, causes or {}, error, stopped)

    def fails(self, error: str, *, stopped: bool) -> Transitions:
        self.seconds += 5
        return self.table.take(self.seen(error=error, stopped=stopped), WANTED)

    def up(self, since: str) -> str:
        return f"{NAME} BGP master up {since}  Established   "

    def down(self, since: str, error: str = "", state: str = "Active") -> str:
        return f"{NAME} BGP master start {since}  {state}        {error}"

    @property
    def session(self) -> ObservedSession:
        return self.table.observed["bird"].sessions[NAME]

    @property
    def age(self) -> float:
        return round(BOOT + self.seconds - self.session.since, 1)


@pytest.fixture
def host() -> Host:
    """A BIRD whose session has been up for a minute, polled once."""
    host = Host()
    assert host.poll(host.up(host.clock(55))) == Transitions()
    return host


def test_first_seen(host: Host) -> None:
    assert (host.session.state, host.age, host.session.losses) == ("Established", 60, 0)
    assert host.table.observed["bird"].known


def test_a_loss_its_cause_and_the_return(host: Host) -> None:
    since = host.clock(-3)
    moved = host.poll(host.down(since, REFUSED), cause=SHUTDOWN)
    (lost,) = moved.lost
    assert (lost.name, lost.state, lost.error, lost.up_for) == (NAME, "Active", SHUTDOWN, 63)
    assert (host.age, host.session.last_error, host.session.losses) == (2, SHUTDOWN, 1)

    assert host.poll(host.down(since, REFUSED, "Connect")) == Transitions()
    assert (host.session.state, host.age, host.session.last_error) == ("Connect", 7, SHUTDOWN)
    host.poll(host.down(since, "BGP Error: Bad peer AS"))
    assert host.session.last_error == "BGP Error: Bad peer AS"
    host.poll(host.down(since, REFUSED), cause="Error: Hold timer expired")
    assert host.session.last_error == "Error: Hold timer expired"

    moved = host.poll(host.up(host.clock(-4)))
    assert moved == Transitions(up=(NAME,))
    assert (host.age, host.session.losses, host.session.last_error) == (1, 1, "Error: Hold timer expired")
    assert host.table.observed["bird"].losses == 1


def test_the_error_of_the_poll_counts_where_the_log_told_none(host: Host) -> None:
    (lost,) = host.poll(host.down(host.clock(-3), "Socket: Connection closed")).lost
    assert lost.error == "Socket: Connection closed"
    host.poll(host.down(host.clock(2), REFUSED))
    assert host.session.last_error == "Socket: Connection closed"


def test_the_errors_before_the_first_time_up_are_no_history() -> None:
    host = Host()
    host.poll(host.down(host.clock(5), REFUSED))
    host.poll(host.down(host.clock(5), "Socket: No route to host"))
    assert host.session.last_error == "Socket: No route to host"
    host.poll(host.up(host.clock(-2)))
    assert (host.session.last_error, host.session.losses) == ("", 0)


def test_a_session_that_is_lost_and_back_between_two_polls(host: Host) -> None:
    moved = host.poll(host.up(host.clock(-4)), cause=SHUTDOWN)
    assert [(one.error, one.state) for one in moved.lost] == [(SHUTDOWN, "Established")]
    assert moved.up == (NAME,)
    assert (host.age, host.session.losses) == (1, 1)


@pytest.mark.parametrize("text", ["jitter", "date"])
def test_another_text_for_the_same_moment_is_no_loss(host: Host, text: str) -> None:
    if text == "jitter":
        assert host.poll(host.up(host.clock(59))) == Transitions()
        assert host.age == 65
    else:
        assert host.poll(host.up(host.clock(60)), after=20 * 3600 - 60) == Transitions()
        assert host.poll(host.up("2026-11-29")) == Transitions()
        assert host.age == 20 * 3600 + 5


def test_jitter_of_a_session_that_has_just_come_up_is_no_loss() -> None:
    host = Host()
    host.poll(host.up(host.clock(-4)))
    assert host.poll(host.up(host.clock(0))) == Transitions()
    assert (host.age, host.session.losses) == (6, 0)


def test_a_text_without_a_known_format_counts_from_when_it_was_seen() -> None:
    host = Host()
    host.poll(host.up("29.11."))
    assert host.age == 0
    host.poll(host.up("30.11."))
    assert (host.age, host.session.losses) == (5, 0)


def test_what_rrwatch_removed_is_no_loss(host: Host) -> None:
    host.table.applied("bird", replace(NOTHING, removed=(NAME,)), host.moment().monotonic)
    assert NAME not in host.table.observed["bird"].sessions
    assert host.poll() == Transitions()
    assert host.table.observed["bird"].losses == 0


def test_a_poll_from_before_a_change_does_not_count(host: Host) -> None:
    seen = host.seen(sessions=dict(host.known))
    host.seconds += 1
    host.table.applied("bird", replace(NOTHING, removed=(NAME,)), host.moment().monotonic)
    assert host.table.take(seen, set()) == Transitions()
    assert NAME not in host.table.observed["bird"].sessions
    host.poll(host.up(host.clock()))
    assert host.session.up


def test_what_nobody_wants_any_more_is_no_loss_and_what_is_wanted_is_one(host: Host) -> None:
    other = Host()
    other.poll(other.up(other.clock(5)))
    assert host.poll(wanted=set()) == Transitions()
    assert NAME not in host.table.observed["bird"].sessions
    (lost,) = other.poll().lost
    assert (lost.state, lost.error) == (None, "not in BIRD's configuration")


def test_a_changed_session_says_why_it_was_lost(host: Host) -> None:
    host.table.applied("bird", replace(NOTHING, changed=(NAME,)), host.moment().monotonic)
    (lost,) = host.poll(host.down(host.clock(-1))).lost
    assert lost.error == "its configuration was changed"
    host.poll(host.down(host.clock(4), REFUSED))
    assert host.session.last_error == REFUSED


def test_a_new_session_that_comes_up(host: Host) -> None:
    other = "Global_10_0_0_3 BGP master up 12:00:08  Established  "
    assert host.poll(host.up(host.clock(60)), other).up == ("Global_10_0_0_3",)


def test_bird_stops_and_is_back(host: Host) -> None:
    (lost,) = host.fails("BIRD does not listen", stopped=True).lost
    assert (lost.state, lost.error) == (None, BIRD_STOPPED)
    bird = host.table.observed["bird"]
    assert (bird.known, bird.poll_error, bird.losses) == (True, "BIRD does not listen", 1)
    assert host.fails("BIRD does not listen", stopped=True) == Transitions()
    host.birth = 2
    assert host.poll(host.down(host.clock(-2), REFUSED)) == Transitions()
    assert (host.session.state, host.session.last_error, host.session.losses) == ("Active", REFUSED, 1)
    assert host.table.observed["bird"].poll_error == ""
    assert host.poll(host.up(host.clock(-1))).up == (NAME,)


def test_a_bird_that_was_restarted_between_two_polls(host: Host) -> None:
    host.birth = 2
    moved = host.poll(host.up(host.clock(-4)))
    assert [one.error for one in moved.lost] == [BIRD_STOPPED]
    assert moved.up == (NAME,)


def test_a_bird_that_hangs_loses_nothing(host: Host) -> None:
    line = host.up(host.clock(60))
    assert host.fails("BIRD does not answer", stopped=False) == Transitions()
    bird = host.table.observed["bird"]
    assert (bird.known, bird.poll_error, bird.sessions[NAME].losses) == (False, "BIRD does not answer", 0)
    assert host.poll(line) == Transitions()
    assert (host.age, host.table.observed["bird"].known) == (70, True)


def test_the_last_hour(host: Host) -> None:
    for _ in range(3):
        host.poll(host.down(host.clock(-1)))
        host.poll(host.up(host.clock(-1)))
    assert (host.session.losses, len(host.session.lost_at)) == (3, 3)
    host.poll(host.down(host.clock(-1)), after=3600)
    assert (host.session.losses, len(host.session.lost_at)) == (4, 1)
    assert [number for _, number in host.table.observed["bird"].lost_at] == [1]


def test_a_wall_clock_that_is_set(host: Host) -> None:
    host.wall -= 86_400
    host.poll(host.up(host.clock(60)))
    bird = host.table.observed["bird"]
    assert bird.epoch + host.session.since == pytest.approx(host.moment().unix - 65)
    steady = bird.epoch
    host.wall += 0.5
    host.poll(host.up(host.clock(65)))
    assert host.table.observed["bird"].epoch == steady


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(st.sampled_from(["up", "down", "gone", "stopped", "hangs", "restarted"]), st.floats(0, 9e4))))
def test_any_course_of_events(course: list[tuple[str, float]]) -> None:
    host, changed_at, was = Host(), 0.0, ""
    for kind, after in course:
        if kind in ("stopped", "hangs"):
            host.fails("why", stopped=kind == "stopped")
        else:
            host.birth += kind == "restarted"
            if kind != was:
                changed_at = host.seconds + after
            ago = host.seconds + after - changed_at
            line = host.up(host.clock(ago - after)) if kind in ("up", "restarted") else host.down(host.clock(ago))
            host.poll(*([] if kind == "gone" else [line]), after=after)
        was = kind
        bird = host.table.observed["bird"]
        for seen in bird.sessions.values():
            assert seen.since <= host.moment().monotonic
            assert list(seen.lost_at) == sorted(seen.lost_at)
            assert seen.losses <= bird.losses


ROLE = "reflector"


def entry(**bird: object) -> str:
    return json.dumps({"roles": {ROLE: {"bird": bird}}})


class TestStore:
    def store(self, folder: Path, errors: list[Exception], role: str = ROLE) -> SessionStore:
        return SessionStore(StateFolder(folder), role, errors.append)

    def test_since_and_losses_survive_rrwatch_but_not_bird(
        self, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        errors: list[Exception] = []
        host.poll(host.down(host.clock(-3), REFUSED), cause=SHUTDOWN)
        host.poll(host.up(host.clock(-4)))
        self.store(tmp_path, errors).close(host.table.remembered)

        monkeypatch.setattr(session_store, "_BOOT", tmp_path / "none")
        now = Moment(77.0, Moment.now().unix)  # after a boot, the monotonic clock is another one
        found = self.store(tmp_path, errors).load(now)
        assert not errors
        before, after = host.table.remembered["bird"], found["bird"]
        assert (after.birth, after.observed.losses, after.observed.known) == (before.birth, 1, False)
        seen = after.observed.sessions[NAME]
        assert (seen.state, seen.last_error, seen.losses) == ("Established", SHUTDOWN, 1)
        again = Host({"bird": after})
        again.birth = 2
        assert [one.error for one in again.poll(again.up(again.clock(-1))).lost] == [BIRD_STOPPED]

    def test_a_session_that_was_lost_while_rrwatch_was_away(self, host: Host) -> None:
        again = Host(host.table.remembered)
        again.seconds = host.seconds
        assert again.poll(again.up(again.clock(60)), after=600) == Transitions(), "the same moment, ten minutes later"
        again = Host(host.table.remembered)
        again.seconds = host.seconds
        assert len(again.poll(again.down(again.clock(-300)), after=600).lost) == 1

    def test_other_roles_keep_their_entries(self, host: Host, tmp_path: Path) -> None:
        errors: list[Exception] = []
        self.store(tmp_path, errors).close(host.table.remembered)
        other = self.store(tmp_path, errors, "node")
        assert other.load(Moment.now()) == {}
        other.close(host.table.remembered)
        for role in ("node", ROLE):
            assert self.store(tmp_path, errors, role).load(Moment.now()).keys() == {"bird"}
        assert not errors

    @pytest.mark.parametrize("seconds", [-86400.0, 31_536_000.0], ids=["back by a day", "forward by a year"])
    def test_a_clock_that_was_set_while_rrwatch_was_away(self, host: Host, tmp_path: Path, seconds: float) -> None:
        errors: list[Exception] = []
        before = host.table.remembered["bird"].observed.sessions[NAME]
        self.store(tmp_path, errors).close(host.table.remembered)
        now = Moment(host.moment().monotonic + 5, Moment.now().unix + seconds)
        found = self.store(tmp_path, errors).load(now)
        seen = found["bird"].observed.sessions[NAME]
        assert seen.since == pytest.approx(before.since, abs=1)
        assert found["bird"].heard_at == pytest.approx(host.table.remembered["bird"].heard_at, abs=1)
        assert not errors

    def test_times_in_the_future_are_not_believed(
        self, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        errors: list[Exception] = []
        self.store(tmp_path, errors).close(host.table.remembered)
        monkeypatch.setattr(session_store, "_BOOT", tmp_path / "none")
        now = Moment(50.0, 1000.0)  # the wall clock was set back by decades
        seen = self.store(tmp_path, errors).load(now)["bird"].observed.sessions[NAME]
        assert seen.since == now.monotonic

    @pytest.mark.parametrize(
        "text",
        [
            "", "{", "[]", "null", '{"roles": 1}', f'{{"roles": {{"{ROLE}": []}}}}', entry(), entry(birth=-1),
            entry(birth=1, heard_at=float("nan"), losses=0, lost_at=[], sessions={}),
            entry(birth=1, heard_at=1, losses=0, lost_at=[], sessions={"a": [1, 2, 3, 4, 5]}),
            entry(birth=1, heard_at=1, losses=0, lost_at=[], sessions={"a": ["Idle", 2, "", -3, []]}),
            "[" * 100_000, "\udcff",
        ],
        ids=range(13),
    )  # fmt: skip
    def test_an_unreadable_file_is_told_once(self, host: Host, tmp_path: Path, text: str) -> None:
        (tmp_path / "sessions.json").write_bytes(text.encode(errors="surrogateescape"))
        errors: list[Exception] = []
        store = self.store(tmp_path, errors)
        assert store.load(Moment.now()) == {}
        assert len(errors) == 1
        store.close(host.table.remembered)
        assert self.store(tmp_path, errors).load(Moment.now()).keys() == {"bird"}

    def test_a_folder_that_cannot_be_written_is_told_once(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        errors: list[Exception] = []
        store = self.store(tmp_path / "file", errors)
        for _ in range(3):
            store.close(host.table.remembered)
        assert len(errors) == 1

    def test_what_could_not_be_written_is_written_when_there_is_room(
        self, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session_store, "SAVE_INTERVAL", 0.0)
        folder, errors = tmp_path / "state", list[Exception]()
        folder.write_text("")  # no folder
        store = self.store(folder, errors)
        store.save(host.table.remembered)
        wait_until(lambda: not saving(), "the attempt")
        folder.unlink()
        store.save(host.table.remembered)
        wait_until(lambda: not saving(), "the next attempt")
        assert len(errors) == 1
        assert self.store(folder, errors).load(Moment.now()).keys() == {"bird"}

    def test_sessions_that_flap_do_not_make_a_file_without_measure(self, host: Host, tmp_path: Path) -> None:
        for _ in range(300):
            host.poll(host.down(host.clock(0)))
            host.poll(host.up(host.clock(0)))
        assert host.session.losses == 300
        errors: list[Exception] = []
        self.store(tmp_path, errors).close(host.table.remembered)
        saved = json.loads((tmp_path / "sessions.json").read_text())["roles"][ROLE]["bird"]["sessions"][NAME]
        assert len(saved[4]) == 100
        seen = self.store(tmp_path, errors).load(Moment(host.moment().monotonic, Moment.now().unix))["bird"].observed
        assert (seen.losses, seen.sessions[NAME].losses, errors) == (300, 300, [])

    def test_it_is_written_once_a_minute_if_it_changed(
        self, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        errors: list[Exception] = []
        file = tmp_path / "sessions.json"
        self.store(tmp_path, errors).save(host.table.remembered)
        assert not file.exists()
        monkeypatch.setattr(session_store, "SAVE_INTERVAL", 0.0)
        store = self.store(tmp_path, errors)
        store.save(host.table.remembered)
        wait_until(lambda: file.exists() and not saving(), "the file")
        file.unlink()
        host.poll(host.up(host.clock(60)))
        store.save(host.table.remembered)
        assert not saving(), "nothing but the time of the poll has changed"
        host.poll(host.down(host.clock(-1)))
        store.save(host.table.remembered)
        wait_until(lambda: file.exists() and not saving(), "the file")
        assert json.loads(file.read_text())["roles"][ROLE]["bird"]["losses"] == 1


def saving() -> bool:
    return any(thread.name == "saves sessions" for thread in threading.enumerate())

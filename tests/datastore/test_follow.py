"""List, watch, list again: which answer leads to which call."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from lab.process import wait_until
from rrwatch.datastore.follow import LIST_INTERVAL_MIN, Alarm, DatastoreEvent, Follower, Unreachable, UpToDate
from rrwatch.datastore.port import Change, Changes, Snapshot, WatchResponse
from rrwatch.errors import Resync, TransportError

P = "/calico/bgp/v1"

Answer = Snapshot | WatchResponse | str | bool | Exception | None


class Script:
    """A datastore that gives the answers of a script, records the calls, and then waits as etcd does."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.calls: list[str] = []
        self.endpoint = "http://one"
        self._interrupted = threading.Event()

    def list(self, prefix: str) -> Snapshot:
        answer = self._answer(f"list {prefix}")
        assert isinstance(answer, Snapshot)
        return answer

    def watch(self, prefix: str, index: int, timeout: float | None = None) -> WatchResponse | None:
        answer = self._answer(f"{'watch' if timeout is None else 'history'} {prefix} {index}")
        assert answer is None or isinstance(answer, WatchResponse)
        return answer

    def probe(self, prefix: str) -> str:
        answer = self._answer(f"probe {prefix}")
        assert isinstance(answer, str)
        return answer

    def deletes_below(self, prefixes: Sequence[str], index: int) -> bool:
        answer = self._answer(f"deletes {' '.join(prefixes)} {index}")
        assert isinstance(answer, bool)
        return answer

    def swap(self, key: str, before: str | None, after: str | None) -> bool:
        raise AssertionError(f"a follower writes nothing: {key}={after} instead of {before}")

    def rotate(self) -> None:
        self.calls.append("rotate")

    def interrupt(self) -> None:
        self._interrupted.set()

    def _answer(self, call: str) -> Answer:
        self.calls.append(call)
        if not self.answers:
            self._interrupted.wait(10)
            self._interrupted.clear()
            raise TransportError("interrupted")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


Follow = Callable[..., list[DatastoreEvent]]


def listed(index: int, cluster_id: str = "c", **items: str) -> Snapshot:
    return Snapshot(P, {f"{P}/{name}": value for name, value in items.items()}, index, cluster_id, "http://one")


def quiet(index: int, cluster_id: str = "c") -> WatchResponse:
    return WatchResponse(index, cluster_id, timed_out=True)


def event(index: int, *names: str, cluster_id: str = "c") -> WatchResponse:
    return WatchResponse(index, cluster_id, changed(index, *names).changes)


def changed(index: int, *names: str) -> Changes:
    return Changes(P, tuple(Change(f"{P}/{name}", "v") for name in names or ["k"]), index)


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Follows a script to its end; returns the events."""
    followers: list[Follower] = []

    def follow(
        script: Script, *, resync_interval: float = 300, spread: float = 0, beside: Sequence[str] = ()
    ) -> list[DatastoreEvent]:
        events: list[DatastoreEvent] = []
        follower = Follower(script, P, events.append, resync_interval, spread, beside)
        followers.append(follower)
        follower.start()
        wait_until(lambda: not script.answers, "the end of the script")
        asked = len(script.calls)
        wait_until(
            lambda: len(script.calls) > asked or script.calls[-1][:4] in ("watc", "list", "prob", "hist"), "rest"
        )
        return events

    yield follow
    for follower in followers:
        assert follower.end(5)


@pytest.mark.parametrize("deletes_beside", [True, False])
def test_a_deletion_tells_whether_its_revision_deletes_elsewhere(follow: Follow, deletes_beside: bool) -> None:
    deletion = WatchResponse(7, "c", (Change(f"{P}/a", None),))
    script = Script(listed(5), event(6, "a"), deletion, TransportError("gone"), deletion, deletes_beside, event(8, "b"))
    events = follow(script, beside=["/x", "/y"])
    assert [call for call in script.calls if call.startswith("deletes")] == ["deletes /x /y 7"] * 2
    told = [one for one in events if isinstance(one, Changes)]
    assert told == [changed(6, "a"), Changes(P, deletion.changes, 7, deletes_beside), changed(8, "b")]


def test_the_watch_starts_after_the_list(follow: Follow) -> None:
    script = Script(listed(7, a="1"), event(8), event(9, "l"))
    assert follow(script) == [listed(7, a="1"), changed(8), changed(9, "l")]
    assert script.calls == [f"list {P}", f"watch {P} 8", f"watch {P} 9", f"watch {P} 10"]


def test_a_watch_that_timed_out_moves_on_and_is_followed_by_a_probe(follow: Follow) -> None:
    script = Script(listed(7), quiet(1500), "c")
    assert follow(script) == [listed(7), UpToDate(P, 1500, "http://one")]
    assert script.calls[1:] == [f"watch {P} 8", f"probe {P}", f"watch {P} 1501"]


def test_no_response_at_all_moves_nothing(follow: Follow) -> None:
    script = Script(listed(7), None, "c", None, "c", event(8))
    assert follow(script) == [listed(7), UpToDate(P, 7, "http://one"), UpToDate(P, 7, "http://one"), changed(8)]
    assert script.calls[1:6] == [f"watch {P} 8", f"probe {P}", f"watch {P} 8", f"probe {P}", f"watch {P} 8"]


def test_all_changes_of_a_revision_are_one_event(follow: Follow) -> None:
    script = Script(listed(7), event(8, "a", "b", "c"))
    assert follow(script) == [listed(7), changed(8, "a", "b", "c")]
    assert script.calls[-1] == f"watch {P} 9"


def test_a_response_without_changes_moves_on_and_needs_no_probe(follow: Follow) -> None:
    script = Script(listed(7), WatchResponse(9, "c"), WatchResponse(9, "c"))
    assert follow(script) == [listed(7)]
    assert script.calls[1:] == [f"watch {P} 8", f"watch {P} 10", f"watch {P} 10"]


@pytest.mark.parametrize(
    "answer",
    [
        Resync("history cleared"),
        quiet(5),
        event(5),
        event(7),
        quiet(8, "another cluster"),
        event(8, cluster_id="another cluster"),
    ],
)
def test_broken_continuity_lists_again(follow: Follow, answer: Answer) -> None:
    script = Script(listed(7), answer, listed(9), Resync("history cleared"))
    assert follow(script) == [listed(7), listed(9)]
    assert script.calls[2:] == [f"list {P}", f"history {P} 8", f"watch {P} 10"]


def test_a_probe_from_another_cluster_lists_again(follow: Follow) -> None:
    script = Script(listed(7), quiet(8), "another", listed(9), quiet(9))
    assert follow(script) == [listed(7), listed(9)]
    assert script.calls[3:] == [f"list {P}", f"history {P} 9", f"watch {P} 10"]


def test_a_failed_list_goes_to_the_next_endpoint(follow: Follow) -> None:
    script = Script(TransportError("gone"), TransportError("gone too"), listed(9))
    assert follow(script) == [Unreachable(P, "http://one", "gone"), Unreachable(P, "http://one", "gone too"), listed(9)]
    assert script.calls == [f"list {P}", "rotate", f"list {P}", "rotate", f"list {P}", f"watch {P} 10"]


@pytest.mark.parametrize("before", [[listed(7)], [listed(7), quiet(7)]], ids=["watch", "probe"])
def test_a_lost_watch_continues_where_it_was(follow: Follow, before: list[Answer]) -> None:
    script = Script(*before, TransportError("gone"), TransportError("gone too"), event(8), event(9))
    lost = [Unreachable(P, "http://one", "gone"), Unreachable(P, "http://one", "gone too")]
    assert follow(script) == [listed(7), *lost, changed(8), changed(9)]
    assert script.calls[-6:] == ["rotate", f"watch {P} 8", "rotate", f"watch {P} 8", f"watch {P} 9", f"watch {P} 10"]


def test_after_an_outage_the_history_is_read_before_the_list_is_published(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rrwatch.datastore.follow.LIST_INTERVAL_MIN", 0.0)
    gone = TransportError("gone")
    script = Script(
        listed(7), gone, gone, listed(12, b="v"), event(8, "a", "b"), WatchResponse(9, "c"), event(11), quiet(12)
    )
    lost = Unreachable(P, "http://one", "gone")
    assert follow(script) == [listed(7), lost, lost, changed(8, "a", "b"), changed(11), listed(12, b="v")]
    reads = [f"history {P} {index}" for index in (8, 9, 10, 12)]
    assert script.calls[-6:] == [f"list {P}", *reads, f"watch {P} 13"]


@pytest.mark.parametrize(
    "answers",
    [
        [Resync("history cleared")],
        [TransportError("cut off")],
        [None],
        [event(8, cluster_id="another cluster")],
        [event(13)],  # after the list: the next watch starts there
        [WatchResponse(7, "c")],
        [event(12)],
    ],
)
def test_the_history_is_read_up_to_the_list_and_no_further(follow: Follow, answers: list[Answer]) -> None:
    script = Script(listed(7), Resync("x"), listed(12), *answers)
    events = follow(script)
    assert events == [listed(7), *([changed(12)] if answers == [event(12)] else []), listed(12)]
    assert script.calls[2:] == [f"list {P}", f"history {P} 8", f"watch {P} 13"]


def test_an_unexpected_error_does_not_end_the_thread(follow: Follow, caplog: pytest.LogCaptureFixture) -> None:
    script = Script(RuntimeError("a bug"), listed(8), RuntimeError("another"), event(9))
    events = follow(script)
    own = "an error of rrwatch's own, which the log has in full"
    assert events == [
        Unreachable(P, "http://one", f"{own}: a bug"),
        listed(8),
        Unreachable(P, "http://one", f"{own}: another"),
        changed(9),
    ]
    assert "unexpected" in caplog.text


def test_a_lower_index_is_accepted_with_an_alarm(follow: Follow) -> None:
    script = Script(listed(700), quiet(900), "c", Resync("x"), listed(3))
    events = follow(script)
    assert events[-1] == listed(3)
    assert isinstance(events[-2], Alarm)
    assert "from index 900 to 3" in events[-2].reason
    assert script.calls[-1] == f"watch {P} 4"


def test_another_cluster_is_accepted_with_an_alarm(follow: Follow) -> None:
    script = Script(listed(7), Resync("x"), listed(9, "d"), Resync("x"), listed(9, "d"))
    alarms = [alarm for alarm in follow(script) if isinstance(alarm, Alarm)]
    assert len(alarms) == 1
    assert "is another cluster than before: d, it was c" in alarms[0].reason


class Quiet(Script):
    """A datastore in which nothing happens, and whose watches may fail."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self._fails = fails

    def _answer(self, call: str) -> Answer:
        self.calls.append(call)
        if call.startswith("list"):
            return listed(7)
        if self._fails:
            raise TransportError("503")
        self._interrupted.wait(0.01)
        return "c" if call.startswith("probe") else quiet(7)


def run_for(datastore: Script, seconds: float, resync_interval: float) -> list[DatastoreEvent]:
    """Follows a datastore for some seconds; returns the events."""
    events: list[DatastoreEvent] = []
    follower = Follower(datastore, P, events.append, resync_interval)
    follower.start()
    follower.join(seconds)
    assert follower.end(5)
    return events


def test_lists_again_after_the_resync_interval() -> None:
    events = run_for(Quiet(), 1.8, 0.5)
    assert events.count(listed(7)) in (3, 4)
    assert sum(isinstance(event, UpToDate) for event in events) > 10


def test_lists_and_retries_back_off_if_only_watches_fail() -> None:
    datastore = Quiet(fails=True)
    events = run_for(datastore, 4, 300)
    # After 0.5, 1 and 2 s; without a limit there are four a second.
    assert 3 <= events.count(listed(7)) <= 4
    assert datastore.calls.count("rotate") < 40


def test_lists_are_limited_in_rate(follow: Follow) -> None:
    began = time.monotonic()
    overflow: list[Answer] = [listed(7), Resync("x")]
    follow(Script(*overflow * 4, listed(8)))
    assert time.monotonic() - began >= 4 * LIST_INTERVAL_MIN


class LateWatch(Script):
    """A datastore whose watch begins just after an interruption, and so misses it."""

    def _answer(self, call: str) -> Answer:
        if call.startswith("watch"):
            self._interrupted.wait(10)
            self._interrupted.clear()
        return super()._answer(call)


def test_ends_a_watch_that_begins_as_the_follower_is_stopped() -> None:
    script = LateWatch(listed(7))
    events: list[DatastoreEvent] = []
    follower = Follower(script, P, events.append, 300)
    follower.start()
    wait_until(lambda: events, "the list")
    assert follower.end(5)
    assert f"watch {P} 8" in script.calls


def test_relist_interrupts_a_watch() -> None:
    script = Script(listed(7))
    events: list[DatastoreEvent] = []
    follower = Follower(script, P, events.append, 300)
    follower.start()
    wait_until(lambda: f"watch {P} 8" in script.calls, "the watch")
    follower.relist()
    wait_until(lambda: script.calls.count(f"list {P}") == 2, "the second list")
    assert follower.end(5)
    assert events == [listed(7)]


def test_lists_at_the_start_and_after_an_outage_are_spread(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    monkeypatch.setattr("rrwatch.datastore.follow.random.uniform", uniform)
    follow(Script(listed(7), Resync("cleared"), listed(7), TransportError("cut off"), event(8)), spread=3)
    assert [drawing for drawing in drawn if drawing == (0, 3)] == [(0, 3), (0, 3)]

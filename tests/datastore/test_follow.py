"""List, watch, list again: which answer leads to which question."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lab.process import wait_until
from rrwatch.datastore.follow import LIST_INTERVAL_MIN, Alarm, Follower, Heard, Lost, News, Watched
from rrwatch.datastore.mirror import Change, Snapshot
from rrwatch.errors import Resync, TransportError

P = "/calico/bgp/v1"

Answer = Snapshot | Watched | str | Exception | None


class Script:
    """A datastore that answers by a script, notes the questions, and then waits as etcd does."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.questions: list[str] = []
        self.endpoint = "http://one"
        self._interrupted = threading.Event()

    def list(self, prefix: str) -> Snapshot:
        answer = self._answer(f"list {prefix}")
        assert isinstance(answer, Snapshot)
        return answer

    def watch(self, prefix: str, index: int) -> Watched | None:
        answer = self._answer(f"watch {prefix} {index}")
        assert answer is None or isinstance(answer, Watched)
        return answer

    def probe(self, prefix: str) -> str:
        answer = self._answer(f"probe {prefix}")
        assert isinstance(answer, str)
        return answer

    def rotate(self) -> None:
        self.questions.append("rotate")

    def interrupt(self) -> None:
        self._interrupted.set()

    def _answer(self, question: str) -> Answer:
        self.questions.append(question)
        if not self.answers:
            self._interrupted.wait(10)
            self._interrupted.clear()
            raise TransportError("interrupted")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


Follow = Callable[..., list[News]]


def listed(index: int, cluster_id: str = "c", **items: str) -> Snapshot:
    return Snapshot(P, {f"{P}/{name}": value for name, value in items.items()}, index, cluster_id, "http://one")


def quiet(index: int, cluster_id: str = "c") -> Watched:
    return Watched(index, cluster_id)


def event(opened: int, at: int, name: str = "k", cluster_id: str = "c") -> Watched:
    return Watched(opened, cluster_id, at, changed(at, name))


def changed(at: int, name: str = "k") -> Change:
    return Change(P, f"{P}/{name}", "v", False, at)


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Follows a script until it waits for more; -> the news of it."""
    followers: list[Follower] = []

    def follow(script: Script, *, resync_interval: float = 300, spread: float = 0) -> list[News]:
        news: list[News] = []
        follower = Follower(script, P, news.append, resync_interval, spread)
        followers.append(follower)
        follower.start()
        wait_until(lambda: not script.answers, "the end of the script")
        asked = len(script.questions)
        wait_until(
            lambda: len(script.questions) > asked or script.questions[-1][:4] in ("watc", "list", "prob"), "rest"
        )
        return news

    yield follow
    for follower in followers:
        follower.stop()
        follower.join(5)
        assert not follower.is_alive()


def test_the_watch_begins_behind_the_list(follow: Follow) -> None:
    script = Script(listed(7, a="1"), event(8, 8), event(9, 9, "l"))
    assert follow(script) == [listed(7, a="1"), changed(8), changed(9, "l")]
    assert script.questions == [f"list {P}", f"watch {P} 8", f"watch {P} 9", f"watch {P} 10"]


def test_a_quiet_watch_goes_on_behind_the_index_of_its_headers(follow: Follow) -> None:
    script = Script(listed(7), quiet(1500), "c")
    assert follow(script) == [listed(7), Heard(P, 1500, "http://one")]
    assert script.questions[1:] == [f"watch {P} 8", f"probe {P}", f"watch {P} 1501"]


def test_a_silence_without_an_index_moves_nothing(follow: Follow) -> None:
    script = Script(listed(7), None, "c", None, "another", listed(9))
    assert follow(script) == [listed(7), Heard(P, 7, "http://one"), listed(9)]
    assert script.questions[1:6] == [f"watch {P} 8", f"probe {P}", f"watch {P} 8", f"probe {P}", f"list {P}"]


def test_a_live_event_is_only_a_doorbell(follow: Follow) -> None:
    script = Script(listed(7), event(7, 10), event(10, 9, "skipped by the live watch"), event(10, 10))
    assert follow(script) == [listed(7), changed(9, "skipped by the live watch"), changed(10)]
    assert script.questions[1:] == [f"watch {P} 8", f"watch {P} 8", f"watch {P} 10", f"watch {P} 11"]


def test_an_event_without_bearing_moves_on(follow: Follow) -> None:
    script = Script(listed(7), Watched(9, "c", 9, None))
    assert follow(script) == [listed(7)]
    assert script.questions[-1] == f"watch {P} 10"


@pytest.mark.parametrize(
    "answer",
    [
        Resync("history cleared"),
        quiet(5),
        event(5, 5),
        quiet(8, "another cluster"),
        event(8, 8, cluster_id="another cluster"),
    ],
)
def test_broken_continuity_lists_again(follow: Follow, answer: Answer) -> None:
    script = Script(listed(7), answer, listed(9))
    assert follow(script) == [listed(7), listed(9)]
    assert script.questions[2:] == [f"list {P}", f"watch {P} 10"]


def test_a_probe_from_another_cluster_lists_again(follow: Follow) -> None:
    script = Script(listed(7), quiet(8), "another", listed(9))
    assert follow(script) == [listed(7), listed(9)]


@pytest.mark.parametrize("failing", ["list", "watch", "probe"])
def test_a_lost_connection_goes_to_the_next_endpoint(follow: Follow, failing: str) -> None:
    before: dict[str, list[Answer]] = {"list": [], "watch": [listed(7)], "probe": [listed(7), quiet(8)]}
    script = Script(*before[failing], TransportError("gone"), TransportError("gone too"), listed(9))
    news = follow(script)
    assert news[-3:] == [Lost(P, "http://one", "gone"), Lost(P, "http://one", "gone too"), listed(9)]
    assert script.questions[-5:] == ["rotate", f"list {P}", "rotate", f"list {P}", f"watch {P} 10"]


def test_an_unexpected_error_is_survived(follow: Follow, caplog: pytest.LogCaptureFixture) -> None:
    script = Script(listed(7), RuntimeError("a bug"), listed(8), RuntimeError("another"), listed(9))
    news = follow(script)
    assert Lost(P, "http://one", "RuntimeError: a bug") in news
    assert news[-1] == listed(9)
    assert "unexpected" in caplog.text


def test_a_lower_index_is_taken_and_told(follow: Follow) -> None:
    script = Script(listed(700), quiet(900), "c", Resync("x"), listed(3))
    news = follow(script)
    assert news[-1] == listed(3)
    assert isinstance(news[-2], Alarm)
    assert "from index 900 to 3" in news[-2].reason
    assert script.questions[-1] == f"watch {P} 4"


def test_another_cluster_is_taken_and_told(follow: Follow) -> None:
    script = Script(listed(7), Resync("x"), listed(9, "d"), Resync("x"), listed(10, "d"))
    alarms = [alarm for alarm in follow(script) if isinstance(alarm, Alarm)]
    assert len(alarms) == 1
    assert "is another cluster than before: d, it was c" in alarms[0].reason


def test_lists_again_after_the_resync_interval(follow: Follow) -> None:
    script = Script(listed(7), quiet(8), "c", listed(9))
    assert follow(script, resync_interval=0)[-1] == listed(9)


def test_lists_are_not_its_only_answer(follow: Follow) -> None:
    began = time.monotonic()
    overflow: list[Answer] = [listed(7), Resync("x")]
    follow(Script(*overflow * 4, listed(8)))
    assert time.monotonic() - began >= 4 * LIST_INTERVAL_MIN


def test_relist_interrupts_a_watch() -> None:
    script = Script(listed(7))
    news: list[News] = []
    follower = Follower(script, P, news.append, 300)
    follower.start()
    wait_until(lambda: f"watch {P} 8" in script.questions, "the watch")
    follower.relist()
    wait_until(lambda: script.questions.count(f"list {P}") == 2, "the second list")
    follower.stop()
    follower.join(5)
    assert not follower.is_alive()
    assert news == [listed(7)]


def test_a_start_and_an_outage_are_spread_and_a_gap_is_not(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    monkeypatch.setattr("rrwatch.datastore.follow.random.uniform", uniform)
    follow(Script(listed(7), Resync("cleared"), listed(8), TransportError("cut off"), listed(9)), spread=3)
    assert [drawing for drawing in drawn if drawing == (0, 3)] == [(0, 3), (0, 3)]

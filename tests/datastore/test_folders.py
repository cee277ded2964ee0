"""Which folders are followed, and what they hold together."""

from rrwatch.datastore.folders import Folders
from rrwatch.datastore.follow import Follower
from rrwatch.datastore.mirror import Change, Snapshot


class Silent(Follower):
    """A follower that follows nothing, and notes what it is told."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.told = prefix, list[str]()

    def start(self) -> None:
        self.told.append("start")

    def stop(self) -> None:
        self.told.append("stop")

    def relist(self) -> None:
        self.told.append("relist")

    def join(self, timeout: float | None = None) -> None:
        self.told.append(f"join {timeout}")


def listed(prefix: str, **items: str) -> Snapshot:
    return Snapshot(prefix, {f"{prefix}/{name}": value for name, value in items.items()}, 1, "c", "http://e")


def test_widening_and_narrowing_leave_no_gap() -> None:
    made: dict[str, Silent] = {}

    def make(prefix: str) -> Silent:
        made[prefix] = Silent(prefix)
        return made[prefix]

    following = Folders(make)
    following.want(["/global", "/host/n1"])
    assert not following.is_complete()
    assert following.take(listed("/global", mesh="on")) == {"/global/mesh"}
    assert not following.is_complete()
    assert following.narrow() == set()
    following.take(listed("/host/n1", ip="1"))
    assert dict(following.items) == {"/global/mesh": "on", "/host/n1/ip": "1"}

    following.want(["/global", "/host"])
    assert made["/host"].told == ["start"]
    assert made["/global"].told == ["start"]
    assert following.narrow() == set()
    assert made["/host/n1"].told == ["start"]
    assert dict(following.items) == {"/global/mesh": "on", "/host/n1/ip": "1"}

    following.take(listed("/host", **{"n1/ip": "1", "n2/ip": "2"}))
    assert following.narrow() == {"/host/n1/ip"}
    assert made["/host/n1"].told == ["start", "stop"]
    assert dict(following.items) == {"/global/mesh": "on", "/host/n1/ip": "1", "/host/n2/ip": "2"}

    following.want(["/global", "/host/n1"])
    following.take(listed("/host/n1", ip="1"))
    assert following.narrow() == {"/host/n1/ip", "/host/n2/ip"}
    assert dict(following.items) == {"/global/mesh": "on", "/host/n1/ip": "1"}


def test_the_last_word_of_a_folder_that_was_let_go_counts_no_more() -> None:
    following = Folders(Silent)
    following.want(["/a", "/b"])
    following.take(listed("/a", x="1"))
    following.take(listed("/b", x="1"))
    following.want(["/a"])
    following.narrow()
    assert following.take(listed("/b", x="2")) == set()
    assert following.take(Change("/b", "/b/x", "3", False, 2)) == set()
    assert dict(following.items) == {"/a/x": "1"}


def test_all_are_told() -> None:
    following = Folders(Silent)
    following.want(["/a"])
    following.relist()
    following.stop()
    (follower,) = following._followers.values()
    assert isinstance(follower, Silent)
    assert follower.told[:3] == ["start", "relist", "stop"]
    assert float(follower.told[3].removeprefix("join ")) <= 1

"""Which prefixes are followed, and the keys that they hold together."""

from rrwatch.datastore.folders import Folders
from rrwatch.datastore.follow import Follower
from rrwatch.datastore.port import Change, Changes, Snapshot


class Silent(Follower):
    """A follower that follows nothing and records its calls."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.calls = prefix, list[str]()

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def relist(self) -> None:
        self.calls.append("relist")

    def end(self, timeout: float) -> bool:
        self.calls.append(f"end {timeout}")
        return True


def listed(prefix: str, **items: str) -> Snapshot:
    return Snapshot(prefix, {f"{prefix}/{name}": value for name, value in items.items()}, 1, "c", "http://e")


def test_widening_and_narrowing_leave_no_gap() -> None:
    made: dict[str, Silent] = {}

    def make(prefix: str) -> Silent:
        made[prefix] = Silent(prefix)
        return made[prefix]

    folders = Folders(make)
    folders.want(["/global", "/host/n1"])
    assert not folders.is_complete()
    assert folders.take(listed("/global", mesh="on")) == {"/global/mesh"}
    assert not folders.is_complete()
    assert folders.narrow() == set()
    folders.take(listed("/host/n1", ip="1"))
    assert dict(folders.items) == {"/global/mesh": "on", "/host/n1/ip": "1"}

    folders.want(["/global", "/host"])
    assert made["/host"].calls == ["start"]
    assert made["/global"].calls == ["start"]
    assert folders.narrow() == set()
    assert made["/host/n1"].calls == ["start"]
    assert dict(folders.items) == {"/global/mesh": "on", "/host/n1/ip": "1"}

    folders.take(listed("/host", **{"n1/ip": "1", "n2/ip": "2"}))
    assert folders.narrow() == {"/host/n1/ip"}
    assert made["/host/n1"].calls == ["start", "stop"]
    assert dict(folders.items) == {"/global/mesh": "on", "/host/n1/ip": "1", "/host/n2/ip": "2"}

    folders.want(["/global", "/host/n1"])
    folders.take(listed("/host/n1", ip="1"))
    assert folders.narrow() == {"/host/n1/ip", "/host/n2/ip"}
    assert dict(folders.items) == {"/global/mesh": "on", "/host/n1/ip": "1"}


def test_events_of_a_stopped_follower_are_ignored() -> None:
    folders = Folders(Silent)
    folders.want(["/a", "/b"])
    folders.take(listed("/a", x="1"))
    folders.take(listed("/b", x="1"))
    folders.want(["/a"])
    folders.narrow()
    assert folders.take(listed("/b", x="2")) == set()
    assert folders.take(Changes("/b", (Change("/b/x", "3"),), 2)) == set()
    assert dict(folders.items) == {"/a/x": "1"}


def test_all_followers_are_called() -> None:
    follower = Silent("/a")
    folders = Folders(lambda _: follower)
    folders.want(["/a"])
    folders.relist()
    folders.stop()
    assert follower.calls[:3] == ["start", "relist", "stop"]
    assert float(follower.calls[3].removeprefix("end ")) <= 1

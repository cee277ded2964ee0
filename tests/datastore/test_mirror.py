"""Snapshots and changes -> key -> value."""

from hypothesis import given
from hypothesis import strategies as st

from rrwatch.datastore.mirror import Change, Mirror, Snapshot, is_below, is_hidden

P = "/calico/bgp/v1"


def mirror(**items: str) -> Mirror:
    made = Mirror(P)
    made.replace(snapshot(**items))
    return made


def snapshot(**items: str) -> Snapshot:
    return Snapshot(P, {f"{P}/{name}": value for name, value in items.items()}, 1, "c", "http://e")


def change(key: str, value: str | None = None, *, subtree: bool = False) -> Change:
    return Change(P, key, value, subtree, 2)


def test_a_snapshot_tells_what_differs() -> None:
    made = mirror(a="1", b="2", c="3")
    assert made.replace(snapshot(a="1", b="x", d="4")) == {f"{P}/b", f"{P}/c", f"{P}/d"}
    assert made.items == snapshot(a="1", b="x", d="4").items


def test_set() -> None:
    made = mirror(a="1")
    assert made.apply(change(f"{P}/a", "1")) == set()
    assert made.apply(change(f"{P}/a", "")) == {f"{P}/a"}
    assert made.apply(change(f"{P}/b/c", "3")) == {f"{P}/b/c"}
    assert made.items == {f"{P}/a": "", f"{P}/b/c": "3"}


def test_what_is_outside_is_left_out() -> None:
    made = mirror(a="1")
    assert made.apply(change("/calico/bgp/v10/a", "1")) == set()
    assert made.apply(change(P, "1")) == set()
    assert made.items == {f"{P}/a": "1"}


def test_delete() -> None:
    made = mirror(a="1", ab="2")
    assert made.apply(change(f"{P}/a", subtree=True)) == {f"{P}/a"}
    assert made.apply(change(f"{P}/a", subtree=True)) == set()
    assert made.items == {f"{P}/ab": "2"}


def test_delete_a_folder_by_whole_names() -> None:
    made = mirror(**{"host/n1/x": "1", "host/n1/y/z": "2", "host/n10/x": "3", "host/n1": "4"})
    del made.items[f"{P}/host/n1"]
    assert made.apply(change(f"{P}/host/n1", subtree=True)) == {f"{P}/host/n1/x", f"{P}/host/n1/y/z"}
    assert made.items == {f"{P}/host/n10/x": "3"}


def test_delete_the_prefix_or_a_folder_above_it() -> None:
    for key in (P, "/calico/bgp", "/calico", "/"):
        made = mirror(a="1", b="2")
        assert made.apply(change(key, subtree=True)) == {f"{P}/a", f"{P}/b"}
    made = mirror(a="1")
    assert made.apply(change("/cal", subtree=True)) == set()


def test_a_folder_in_the_place_of_a_value_and_a_folder_touched() -> None:
    made = mirror(**{"a": "1", "b/c": "2"})
    assert made.apply(change(f"{P}/a")) == {f"{P}/a"}
    assert made.apply(change(f"{P}/b")) == set()
    assert made.items == {f"{P}/b/c": "2"}


def test_names() -> None:
    assert is_below("/a/b", "/a")
    assert is_below("/a", "/")
    assert not is_below("/ab", "/a")
    assert not is_below("/a", "/a")
    assert is_hidden(f"{P}/_x", P)
    assert is_hidden(f"{P}/a/_x/b", P)
    assert not is_hidden(f"{P}/a_b", P)


_values = st.tuples(st.sampled_from([f"{P}/a", f"{P}/b/c", f"{P}/b/d", f"{P}0/a"]), st.sampled_from(["1", "2"]))
_removals = st.tuples(st.sampled_from([f"{P}/a", f"{P}/b/c", f"{P}/b", P, "/calico", f"{P}0/a"]), st.none())


@given(st.lists(_values | _removals))
def test_what_it_says_has_changed_is_what_has_changed(events: list[tuple[str, str | None]]) -> None:
    made = Mirror(P)
    for key, value in events:
        before = dict(made.items)
        told = made.apply(change(key, value, subtree=value is None))
        assert told == {item for item in before.keys() | made.items.keys() if before.get(item) != made.items.get(item)}
        assert all(is_below(item, P) for item in made.items)
        assert value is not None or not any(item == key or is_below(item, key) for item in made.items)

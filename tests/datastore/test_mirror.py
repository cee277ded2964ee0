"""What snapshots and changes make of a mirror."""

from hypothesis import given
from hypothesis import strategies as st

from rrwatch.datastore.mirror import Mirror, is_below
from rrwatch.datastore.port import Change, Changes, Snapshot

P = "/calico/bgp/v1"


def mirror(**items: str) -> Mirror:
    made = Mirror(P)
    made.replace(snapshot(**items))
    return made


def snapshot(**items: str) -> Snapshot:
    return Snapshot(P, {f"{P}/{name}": value for name, value in items.items()}, 1, "c", "http://e")


def change(key: str, value: str | None = None, *, subtree: bool = False) -> Changes:
    return Changes(P, (Change(key, value, subtree),), 2)


def test_a_snapshot_replaces_everything() -> None:
    made = mirror(a="1", b="2", c="3")
    assert made.replace(snapshot(a="1", b="x", d="4")) == {f"{P}/b", f"{P}/c", f"{P}/d"}
    assert made.items == snapshot(a="1", b="x", d="4").items


def test_set_a_value() -> None:
    made = mirror(a="1")
    assert made.apply(change(f"{P}/a", "1")) == set()
    assert made.apply(change(f"{P}/a", "")) == {f"{P}/a"}
    assert made.apply(change(f"{P}/b/c", "3")) == {f"{P}/b/c"}
    assert made.items == {f"{P}/a": "", f"{P}/b/c": "3"}


def test_keys_outside_the_prefix_are_ignored() -> None:
    made = mirror(a="1")
    assert made.apply(change("/calico/bgp/v10/a", "1")) == set()
    assert made.apply(change(P, "1")) == set()
    assert made.items == {f"{P}/a": "1"}


def test_delete_a_key() -> None:
    made = mirror(a="1", ab="2")
    assert made.apply(change(f"{P}/a", subtree=True)) == {f"{P}/a"}
    assert made.apply(change(f"{P}/a", subtree=True)) == set()
    assert made.items == {f"{P}/ab": "2"}


def test_delete_a_folder() -> None:
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


def test_a_folder_replaces_a_value() -> None:
    made = mirror(**{"a": "1", "b/c": "2"})
    assert made.apply(change(f"{P}/a")) == {f"{P}/a"}
    assert made.apply(change(f"{P}/b")) == set()
    assert made.items == {f"{P}/b/c": "2"}


def test_folders_are_compared_by_whole_names() -> None:
    assert is_below("/a/b", "/a")
    assert is_below("/a", "/")
    assert not is_below("/ab", "/a")
    assert not is_below("/a", "/a")


def test_one_revision_is_applied_as_a_whole() -> None:
    made = mirror(a="1", b="2", c="3")
    revision = Changes(
        P,
        (
            Change(f"{P}/a", None),
            Change(f"{P}/d", "4"),
            Change(f"{P}/b", None),
            Change(f"{P}/b", "2"),
            Change(f"{P}/c", "x"),
            Change(f"{P}/c", None),
        ),
        2,
    )
    assert made.apply(revision) == {f"{P}/a", f"{P}/c", f"{P}/d"}
    assert made.items == {f"{P}/b": "2", f"{P}/d": "4"}


_keys = st.sampled_from([f"{P}/a", f"{P}/b/c", f"{P}/b/d", f"{P}0/a"])
_folders = st.sampled_from([f"{P}/b", P, "/calico", f"{P}0/a"])
_changes = st.builds(Change, _keys, st.sampled_from(["1", "2"])) | st.builds(
    Change, _keys | _folders, st.none(), st.booleans()
)


@given(st.lists(st.lists(_changes, max_size=4).map(tuple)))
def test_the_keys_that_it_returns_are_those_that_differ(revisions: list[tuple[Change, ...]]) -> None:
    made = Mirror(P)
    for index, changes in enumerate(revisions):
        before = dict(made.items)
        differing = made.apply(Changes(P, changes, index))
        assert differing == {
            item for item in before.keys() | made.items.keys() if before.get(item) != made.items.get(item)
        }
        assert all(is_below(item, P) for item in made.items)
        for change in changes[-1:]:
            if change.value is not None:
                assert made.items.get(change.key, change.value) == change.value
            else:
                assert change.key not in made.items
                assert not change.subtree or not any(is_below(item, change.key) for item in made.items)

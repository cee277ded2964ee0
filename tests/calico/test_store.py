"""The record store parses each key once, when it changes."""

from rrwatch.calico.store import RecordStore
from rrwatch.calico.v1 import V1
from tests.keys import CLUSTER, PREFIX


def test_it_tells_whether_anything_says_something_else() -> None:
    items = CLUSTER.copy()
    store = RecordStore.of(items, V1)
    assert not store.update(items, items)

    items[f"{PREFIX}/global/as_num"] = "0.65100"
    items[f"{PREFIX}/of/no/interest"] = "1"
    assert not store.update([f"{PREFIX}/global/as_num", f"{PREFIX}/of/no/interest"], items)

    items[f"{PREFIX}/global/as_num"] = "x"
    assert store.update([f"{PREFIX}/global/as_num"], items)
    assert list(store.topology().rejected) == [f"{PREFIX}/global/as_num"]

    del items[f"{PREFIX}/global/as_num"]
    assert store.update([f"{PREFIX}/global/as_num"], items)
    assert not store.topology().rejected

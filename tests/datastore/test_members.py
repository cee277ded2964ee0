"""One proof that a member is in touch with a majority serves all datastores of a process."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from lab.etcd import Etcd
from rrwatch.datastore.access import Access
from rrwatch.datastore.factory import open_datastore
from rrwatch.datastore.members import Members
from rrwatch.errors import TransportError

ONE, OTHER = "http://one:2379", "http://other:2379"


class Asked:
    """A quorum read that counts its calls, and can be made to wait."""

    def __init__(self, answer: str | Exception = "cluster") -> None:
        self.times = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self._answer = answer

    def __call__(self) -> str:
        self.times += 1
        assert self.go_on.wait(10)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def together(*calls: Callable[[], object]) -> list[object]:
    """The results of calls that run at the same time."""
    results: list[object] = []

    def record(call: Callable[[], object]) -> None:
        try:
            results.append(call())
        except TransportError as error:
            results.append(str(error))

    threads = [threading.Thread(target=record, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return results


def test_the_order_is_random() -> None:
    endpoints = [f"http://{number}:2379" for number in range(20)]
    assert sorted(Members(endpoints).order) == sorted(endpoints)
    assert len({Members(endpoints).order for _ in range(10)}) > 1


def test_a_recent_proof_is_used_again() -> None:
    members, asked = Members([ONE, OTHER]), Asked()
    assert [members.prove(ONE, asked) for _ in range(3)] == ["cluster"] * 3
    assert asked.times == 1


def test_a_proof_is_for_one_member() -> None:
    members, asked = Members([ONE, OTHER]), Asked()
    members.prove(ONE, asked)
    members.prove(OTHER, asked)
    assert asked.times == 2


def test_a_proof_expires() -> None:
    members, asked = Members([ONE], proof_lifetime=0), Asked()
    for _ in range(3):
        members.prove(ONE, asked)
    assert asked.times == 3


@pytest.mark.parametrize("answer", ["cluster", TransportError("cut off")], ids=["proven", "failed"])
def test_callers_that_wait_share_the_answer(answer: str | Exception) -> None:
    members, asked = Members([ONE]), Asked(answer)
    asked.go_on.clear()
    waiting = 0

    def prove() -> str:
        nonlocal waiting
        waiting += 1
        if waiting == 3:
            threading.Timer(0.1, asked.go_on.set).start()
        return members.prove(ONE, asked)

    assert together(prove, prove, prove) == [str(answer)] * 3
    assert asked.times == 1


def test_a_failure_is_not_kept() -> None:
    members, asked = Members([ONE]), Asked(TransportError("cut off"))
    for _ in range(2):
        with pytest.raises(TransportError, match="cut off"):
            members.prove(ONE, asked)
    assert asked.times == 2
    assert members.prove(ONE, Asked("again")) == "again"


def test_a_failure_ends_an_earlier_proof() -> None:
    members = Members([ONE], proof_lifetime=0)
    members.prove(ONE, Asked("before"))
    with pytest.raises(TransportError):
        members.prove(ONE, Asked(TransportError("cut off")))
    assert members.prove(ONE, Asked("after")) == "after"


def test_datastores_of_one_process_ask_etcd_once(etcd: Etcd) -> None:
    access = Access((etcd.url,))
    etcd.put("/calico/some", "thing")
    cluster_id = open_datastore(access).probe("/calico")
    before = etcd.reads()
    members = Members(access.endpoints)
    datastores = [open_datastore(access, members) for _ in range(4)]
    assert together(*(partial(datastore.probe, "/calico") for datastore in datastores)) == [cluster_id] * 4
    assert etcd.reads() == before + 1

"""Random histories of etcd, against a small model of the promise: a session ends only where somebody asked for it."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.guard.clusters import GLOBAL, LIMITS, PEER, Host, cluster, names, node, sessions
from tests.keys import PREFIX

_NODES = st.integers(1, 8)
_SOME = st.sets(_NODES)


class Promise(RuleBasedStateMachine):
    """The model knows what etcd holds, what was asked for since the last pass, and what BIRD was told."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.host = Host(self.folder)
        self.etcd: dict[str, str] = {}
        self.in_force: dict[str, str] = {}
        self.told: set[str] = set()
        self.asked: set[str] = set()
        self.alarm = self.released = self.asked_for_all = False

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(numbers=_SOME)
    def begin(self, numbers: set[int]) -> None:
        self.host.index = 1 << 50
        self._list(cluster(*numbers))

    # What somebody asks for.

    @rule(number=_NODES)
    def write_a_node(self, number: int) -> None:
        self._put(node(number))
        self.asked -= names(number)

    @rule()
    def write_everything_again(self) -> None:
        self._put(dict(self.etcd))

    @rule(number=_NODES)
    def delete_a_node(self, number: int) -> None:
        self._drop(f"{PREFIX}/host/n{number}")
        self.asked |= names(number)

    @rule(number=_NODES)
    def empty_a_node(self, number: int) -> None:
        self._put({f"{PREFIX}/host/n{number}/ip_addr_v4": ""})
        self.asked |= names(number)

    @rule()
    def delete_the_peer(self) -> None:
        self._drop(PEER)
        self.asked_for_all = True

    @rule()
    def write_the_global_records(self) -> None:
        self._put(GLOBAL)
        self.asked_for_all = False

    # What nobody asks for.

    @rule(folder=st.sampled_from([f"{PREFIX}/host", f"{PREFIX}/global", f"{PREFIX}/global/peer_v4", PREFIX, "/calico"]))
    def delete_a_folder(self, folder: str) -> None:
        self._drop(folder)
        self.alarm |= folder in (PREFIX, "/calico")

    @rule(number=_NODES)
    def expire_a_node(self, number: int) -> None:
        self._drop(f"{PREFIX}/host/n{number}", expired=True)

    @rule(numbers=_SOME)
    def miss_events(self, numbers: set[int]) -> None:
        self._list({key: value for key, value in self.etcd.items() if not self._is_of(key, numbers)})

    @rule(numbers=_SOME)
    def restore_a_backup(self, numbers: set[int]) -> None:
        self.host.alarm()
        self.alarm = True
        self._list(cluster(*numbers))

    @rule(
        key=st.sampled_from([PEER, f"{PREFIX}/global/as_num", *(f"{PREFIX}/host/n{n}/ip_addr_v4" for n in range(1, 9))])
    )
    def write_nonsense(self, key: str) -> None:
        self._put({key: "nonsense"})

    @rule(numbers=_SOME, restored=st.booleans())
    def restart(self, numbers: set[int], restored: bool) -> None:
        self.settle()
        self.host.guard.close()
        index = self.host.index
        self.host = Host(self.folder)
        self.host.index = index >> restored
        self.alarm |= restored
        self._list({key: value for key, value in self.etcd.items() if not self._is_of(key, numbers)})

    @precondition(lambda self: self.host.guard.hold)
    @rule()
    def release(self) -> None:
        self.host.release()
        self.released = True

    @rule()
    def settle(self) -> None:
        """Runs a pass, and holds it against the promise."""
        had_hold = self.host.guard.hold is not None
        now = self.host.settle()
        hold = self.host.guard.hold
        asked = self.told if self.asked_for_all else self.asked
        unasked = self.told - now - asked
        if unasked and not self.released:
            known = len(self.told - asked)
            few = known < LIMITS.minimum or len(unasked) * 100 <= LIMITS.percent * known
            assert few, f"{unasked} of {known}"
            assert not self.alarm, unasked
            assert not had_hold, unasked
        # A record that cannot be read keeps the value that it had in force.
        wanted = sessions(
            {key: self.in_force.get(key, value) if value == "nonsense" else value for key, value in self.etcd.items()}
        )
        if hold is None:
            assert now == wanted
        elif not hold.frozen:
            assert now >= wanted
        else:
            assert now == self.told
        self.told, self.asked, self.asked_for_all = now, set(), False
        self.released, self.in_force = False, self.host.in_force
        if hold is None:
            self.alarm = False

    @invariant()
    def what_is_held_would_end(self) -> None:
        hold = self.host.guard.hold
        assert hold is None or set(hold.loss.sessions)

    def _put(self, items: dict[str, str]) -> None:
        self.host.put(items)
        self.etcd = self.etcd | items

    def _drop(self, key: str, **kind: Any) -> None:
        self.host.delete(key, **kind)
        self.etcd = {one: value for one, value in self.etcd.items() if one != key and not one.startswith(key + "/")}

    def _list(self, items: dict[str, str]) -> None:
        self.host.list(items, self.host.index + 1)
        self.alarm |= not items
        self.etcd = items

    def _is_of(self, key: str, numbers: set[int]) -> bool:
        return any(f"/host/n{number}/" in key for number in numbers)


TestPromise = Promise.TestCase
TestPromise.settings = settings(max_examples=150, stateful_step_count=30)

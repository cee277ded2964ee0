"""What is held and what is not, rule by rule; on etcd and BIRD in `faults/test_guard.py`."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrwatch.bgp.topology import Family, Host, HostAddress
from rrwatch.guard.rule import Held, Limits, Nodes, judge

LIMITS = Limits(percent=50, minimum=5)


def node(name: str, address: str) -> Host:
    return Host(name, {Family.IPV4: HostAddress("", name, Family.IPV4, IPv4Address(address))})


def nodes(*numbers: int, prefix: str = "n") -> Nodes:
    return {f"{prefix}{number}": node(f"{prefix}{number}", f"10.0.0.{number}") for number in numbers}


def weigh(
    known: Nodes, now: Nodes, *, limits: Limits = LIMITS, held: bool = False, alarm: str = "", ending: int = 1
) -> Held | None:
    return judge(known, now, limits, held=held, alarm=alarm, ending=lambda: [f"S{number}" for number in range(ending)])


TEN = nodes(*range(1, 11))


@pytest.mark.parametrize(("left", "held"), [(5, False), (4, True), (0, True), (10, False)])
def test_more_than_half(left: int, held: bool) -> None:
    assert (weigh(TEN, nodes(*range(1, left + 1))) is not None) is held


def test_fewer_than_the_minimum_are_no_share() -> None:
    assert weigh(nodes(1, 2, 3, 4), {}) is None
    assert weigh(nodes(1, 2, 3, 4, 5), {}) is not None


def test_what_is_held_stays_until_all_are_back() -> None:
    assert weigh(TEN, nodes(*range(1, 10))) is None
    held = weigh(TEN, nodes(*range(1, 10)), held=True)
    assert held
    assert held.nodes == ("n10",)
    assert weigh(TEN, TEN, held=True) is None


def test_after_an_alarm_no_session_ends_by_itself() -> None:
    held = weigh(nodes(1), nodes(1), alarm="an older backup")
    assert held == Held("an older backup", (), ("S0",))
    assert weigh(nodes(1), nodes(1), alarm="an older backup", ending=0) is None


def test_where_no_session_ends_nothing_is_held() -> None:
    assert weigh(TEN, {}, ending=0) is None


def test_other_names_for_the_same_addresses() -> None:
    assert weigh(TEN, nodes(*range(1, 11), prefix="renamed")) is None
    some = weigh(TEN, nodes(1, 2, prefix="renamed"))
    assert some
    assert len(some.nodes) == 8


def test_off() -> None:
    assert weigh(TEN, {}, limits=Limits(0, 5), alarm="an older backup", held=True) is None


def test_nobody_is_asked_for_sessions_where_nothing_vanished() -> None:
    def never() -> list[str]:
        raise AssertionError

    assert judge(TEN, TEN, LIMITS, held=False, alarm="", ending=never) is None


_NODES = st.sets(st.integers(1, 200)).map(lambda numbers: nodes(*numbers))


@given(_NODES, _NODES, st.integers(1, 100), st.integers(0, 50))
def test_the_share_is_what_it_says(known: Nodes, now: Nodes, percent: int, minimum: int) -> None:
    gone = len(known.keys() - now.keys())
    held = weigh(known, now, limits=Limits(percent, minimum))
    assert (held is not None) is (len(known) >= minimum and gone * 100 > percent * len(known))

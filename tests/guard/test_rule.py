"""The rule, case by case; on a real etcd and BIRD in `faults/test_guard.py`."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrwatch.bgp.sessions import Kind, Session, session_name
from rrwatch.bgp.topology import AsNumber, Family
from rrwatch.guard.rule import Effects, Limits, Loss, judge

LIMITS = Limits(percent=50, minimum=5)


def session(number: int, kind: Kind = Kind.GLOBAL) -> Session:
    neighbor = IPv4Address(f"10.0.0.{number}")
    as_number = AsNumber(65100)
    return Session(
        session_name(kind, neighbor), kind, Family.IPV4, neighbor, as_number, as_number, True, None, f"n{number}", "/k"
    )


def effects(*numbers: int, kind: Kind = Kind.GLOBAL, routes: int = 0) -> Effects:
    sessions = [session(number, kind) for number in numbers]
    return Effects({one.name: one for one in sessions}, frozenset(f"/block/{number}" for number in range(routes)))


TEN = effects(*range(1, 11))


def weigh(
    before: Effects, after: Effects, limits: Limits = LIMITS, *, alarm: str = "", held: bool = False
) -> Loss | None:
    return judge(before, before, after, limits, alarm=alarm, held=held)


@pytest.mark.parametrize(("left", "held"), [(5, False), (4, True), (0, True), (10, False)])
def test_more_than_half_is_held(left: int, held: bool) -> None:
    assert (weigh(TEN, effects(*range(1, left + 1))) is not None) is held


def test_below_the_minimum_no_share_is_held() -> None:
    assert weigh(effects(1, 2, 3, 4), effects()) is None
    assert weigh(effects(1, 2, 3, 4, 5), effects()) is not None


def test_a_loss_names_nodes_and_sessions() -> None:
    loss = weigh(TEN, effects(1, 2, 3, 4))
    assert loss
    assert loss.nodes == ("n10", "n5", "n6", "n7", "n8", "n9")
    assert loss.sessions[:2] == ("Global_10_0_0_10", "Global_10_0_0_5")
    assert loss.reason == "6 of 10 sessions would end that nobody asked to end"


def test_what_is_held_stays_held_until_nothing_is_lost() -> None:
    almost = effects(*range(1, 10))
    assert weigh(TEN, almost) is None
    assert weigh(TEN, almost, held=True) is not None
    assert weigh(TEN, TEN, held=True) is None


def test_after_an_alarm_no_session_ends() -> None:
    loss = weigh(effects(1), effects(), alarm="an older backup")
    assert loss == Loss(
        "an older backup; 1 of 1 sessions would end that nobody asked to end", ("n1",), ("Global_10_0_0_1",)
    )
    assert weigh(effects(1), effects(1, 2), alarm="an older backup") is None


def test_a_session_under_another_name_is_not_lost() -> None:
    assert weigh(TEN, effects(*range(1, 11), kind=Kind.NODE), alarm="an older backup") is None


@pytest.mark.parametrize(
    "change", [{"remote_as": 1}, {"local_as": 1}, {"rr_client": False}, {"cluster_id": IPv4Address(1)}]
)
def test_a_session_that_restarts_as_something_else_is_lost(change: dict[str, object]) -> None:
    after = Effects({name: one and replace(one, **change) for name, one in TEN.sessions.items()})  # type: ignore[arg-type]  # by name
    loss = weigh(TEN, after)
    assert loss
    assert len(loss.sessions) == 10


def test_a_session_whose_name_alone_is_known_is_lost_if_the_name_is() -> None:
    running = Effects({"Global_10_0_0_1": None, "handmade": None})
    loss = weigh(running, TEN, alarm="no baseline")
    assert loss
    assert (loss.sessions, loss.nodes) == (("handmade",), ())
    assert weigh(Effects({"Global_10_0_0_1": None}), TEN, alarm="no baseline") is None


def test_what_was_asked_for_does_not_count_and_neither_does_what_is_new() -> None:
    # Four went on request, one hundred are new: of the six that are left, four would go.
    safe = effects(*range(1, 7), *range(100, 200))
    after = effects(5, 6, *range(100, 200))
    assert judge(TEN, safe, after, LIMITS) is not None
    assert judge(TEN, safe, effects(3, 4, 5, 6), LIMITS) is None


def test_routes_count_like_sessions() -> None:
    loss = weigh(effects(1, routes=6), effects(1, routes=2))
    assert loss
    assert (loss.reason, loss.sessions) == ("4 of 6 blocks and pools are gone that nobody deleted", ())
    assert weigh(effects(1, routes=6), effects(1, routes=3)) is None
    assert weigh(effects(1, routes=1), effects(1), alarm="it is empty") is not None
    # Four of the six were deleted on request.
    assert judge(effects(1, routes=6), effects(1, routes=2), effects(1, routes=2), LIMITS, alarm="it is empty") is None


def test_off() -> None:
    assert weigh(TEN, effects(), Limits(0, 5), alarm="an older backup", held=True) is None


_NUMBERS = st.sets(st.integers(1, 200))


@given(_NUMBERS, _NUMBERS, st.integers(1, 100), st.integers(0, 50))
def test_the_share_is_what_it_says(known: set[int], now: set[int], percent: int, minimum: int) -> None:
    lost = len(known - now)
    loss = weigh(effects(*known), effects(*now), Limits(percent, minimum))
    expected = lost and len(known) >= minimum and lost * 100 > percent * len(known)
    assert (loss is not None) is bool(expected)

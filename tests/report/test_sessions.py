"""The joined table of sessions, its totals, and the query that filters, sorts and pages it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwatch.bgp.sessions import Derived, Kind, Session, session_document
from rrwatch.bgp.topology import AsNumber, Family
from rrwatch.bird.apply import Applied, State
from rrwatch.bird.render import Rendered
from rrwatch.bird.version import Grammar
from rrwatch.guard.baseline import Hold
from rrwatch.guard.rule import Loss
from rrwatch.report.outcome import Outcome, Result
from rrwatch.report.sessions import (
    FLAPPING,
    LIMIT_MAX,
    SORTS,
    Moment,
    ObservedBird,
    ObservedSession,
    Query,
    SessionRow,
    down_longest,
    rows,
    states,
    totals,
    totals_document,
)
from tests.fuzz import EXAMPLES
from tests.report.values import TARGET

NOW = Moment(monotonic=10_000.0, unix=1_800_000_000.0)
EPOCH = NOW.unix - NOW.monotonic


def session(number: int) -> Session:
    return Session(
        name=f"Global_10_0_0_{number}",
        kind=Kind.GLOBAL,
        family=Family.IPV4,
        neighbor=ip_address(f"10.0.0.{number}"),
        local_as=AsNumber(64512),
        remote_as=AsNumber(64512),
        rr_client=True,
        cluster_id=None,
        node=f"node-{number}",
        key=f"/calico/bgp/v1/{number}",
    )


SESSIONS = tuple(session(number) for number in (1, 2, 9, 10))
NAMES = tuple(one.name for one in SESSIONS)


def outcome(derived: tuple[Session, ...] = SESSIONS, wanted: tuple[str, ...] = NAMES) -> Outcome:
    rendered = Rendered("x", 7, Grammar.BIRD1, dict.fromkeys(wanted, ""))
    result = Result.of(rendered, Applied(State.CONFIRMED), None, unprompted=False)
    return Outcome(derived=Derived(derived, (), ()), results={TARGET: result})


def observed(sessions: Mapping[str, ObservedSession], *, known: bool = True) -> dict[str, ObservedBird]:
    return {"bird": ObservedBird(sessions, known, EPOCH, NOW.monotonic - 1, 0.01)}


UP = ObservedSession("Established", since=NOW.monotonic - 60)
SEEN = {
    NAMES[0]: UP,
    NAMES[1]: ObservedSession("Active", NOW.monotonic - 30, "Error: Hold timer expired", 2,
                              (NOW.monotonic - 3601, NOW.monotonic - 30)),
    NAMES[2]: ObservedSession("Idle", NOW.monotonic - 300, "Socket: No route to host"),
}  # fmt: skip


def table() -> tuple[SessionRow, ...]:
    return rows(outcome(), observed(SEEN), NOW)


def names(query: str) -> list[str]:
    return [row.name.removeprefix("Global_10_0_0_") for row in Query.parse(query).select(table()).rows]


class TestRows:
    def test_wanted_and_actual(self) -> None:
        up, lost, idle, absent = table()
        assert (up.name, up.daemon, up.state, up.since, up.up, up.down) == (
            NAMES[0], "bird", "Established", NOW.unix - 60, True, False,
        )  # fmt: skip
        assert (up.node, up.neighbor, up.family, up.derived) == ("node-1", ip_address("10.0.0.1"), Family.IPV4, True)
        assert (lost.last_error, lost.losses, lost.losses_last_hour) == ("Error: Hold timer expired", 2, 1)
        assert (idle.state, idle.losses, idle.down) == ("Idle", 0, True)
        assert (absent.state, absent.since, absent.known, absent.down) == (None, None, True, True)

    def test_document(self) -> None:
        document = table()[1].document()
        assert document.items() >= session_document(SESSIONS[1]).items()
        assert document["since"] == "2027-01-15T07:59:30Z"
        assert (document["daemon"], document["state"], document["losses"]) == ("bird", "Active", 2)
        assert (document["last_error"], document["losses_last_hour"]) == ("Error: Hold timer expired", 1)
        json.dumps(document)

    def test_a_bird_that_was_not_asked_or_does_not_answer(self) -> None:
        for seen in ({}, observed(SEEN, known=False)):
            found = rows(outcome(), seen, NOW)
            assert {(row.state, row.since, row.up, row.down) for row in found} == {(None, None, False, False)}
            assert len(Query(state="unknown").select(found).rows) == 4

    def test_a_session_that_nobody_wants(self) -> None:
        found = rows(outcome(), observed({**SEEN, "Global_old": UP, "Global_gone": replace(UP, state=None)}), NOW)
        assert [row.name for row in found] == [*NAMES, "Global_old"]
        assert (found[-1].derived, found[-1].up, found[-1].node) == (False, True, None)
        nothing = found[-1].document()
        assert (nothing["name"], nothing["neighbor"], nothing["kind"]) == ("Global_old", None, None)
        assert nothing.keys() == found[0].document().keys()

    def test_a_held_session(self) -> None:
        hold = Hold(Loss("why", ("node-1",), (NAMES[0],)), "id", 0.0)
        found = rows(replace(outcome(), hold=hold), observed(SEEN), NOW)
        assert [row.derived for row in found] == [False, True, True, True]
        assert found[0].node == "node-1"

    def test_a_clock_that_was_set_back_gives_no_time_in_the_future(self) -> None:
        found = rows(outcome(), observed(SEEN), replace(NOW, unix=NOW.unix - 1000))
        assert {row.since for row in found if row.since} == {NOW.unix - 1000}
        found = rows(outcome(), observed({NAMES[0]: replace(UP, since=-1e12)}), NOW)
        assert found[0].document()["since"] == "1970-01-01T00:00:00Z"

    def test_before_the_first_pass(self) -> None:
        assert rows(None, observed(SEEN), NOW) == ()
        assert totals(None, observed(SEEN), NOW) == {}


class TestTotals:
    def test_numbers(self) -> None:
        bird = replace(observed(SEEN)["bird"], losses=7, lost_at=((NOW.monotonic - 3601, 5), (NOW.monotonic - 1, 2)))
        found = totals(outcome(), {"bird": bird}, NOW)["bird"]
        assert (found.wanted, found.up, found.down, found.unknown) == (4, 1, 3, 0)
        assert (found.losses_total, found.losses_last_hour) == (7, 2)
        assert totals_document(found) == {
            "wanted": 4, "up": 1, "down": 3, "losses_total": 7, "losses_last_hour": 2,
        }  # fmt: skip

    def test_what_is_not_wanted_does_not_count(self) -> None:
        found = totals(outcome(wanted=NAMES[1:]), observed(SEEN), NOW)["bird"]
        assert (found.wanted, found.up, found.down) == (3, 0, 3)

    def test_unknown(self) -> None:
        found = totals(outcome(), observed(SEEN, known=False), NOW)["bird"]
        assert (found.wanted, found.up, found.down, found.unknown) == (4, 0, 0, 4)
        assert totals_document(found)["up"] is None

    def test_states(self) -> None:
        assert states(observed(SEEN)["bird"]) == {"Established": 1, "Active": 1, "Idle": 1}
        assert states(observed(SEEN, known=False)["bird"]) == {"Established": 0}

    def test_down_longest(self) -> None:
        assert [row.name for row in down_longest(table())] == [NAMES[2], NAMES[1], NAMES[3]]
        assert [row.name for row in down_longest(table(), 1)] == [NAMES[2]]


class TestQuery:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", ["1", "2", "9", "10"]),
            ("state=up", ["1"]),
            ("state=down", ["2", "9", "10"]),
            ("state=Idle", ["9"]),
            ("state=flapping", []),
            ("state=unknown", []),
            ("node=node-1", ["1"]),
            ("text=HOLD+timer", ["2"]),
            ("text=10.0.0.1", ["1", "10"]),
            ("text=NODE-1", ["1", "10"]),
            ("text=idle&state=down", ["9"]),
            ("sort=name", ["1", "2", "9", "10"]),
            ("sort=node", ["1", "2", "9", "10"]),
            ("sort=state", ["10", "2", "9", "1"]),
            ("sort=since", ["9", "1", "2", "10"]),
            ("sort=losses", ["2", "1", "9", "10"]),
            ("sort=name&limit=3&page=2", ["10"]),
            ("limit=2&page=9", []),
            ("state=&node=&text=&sort=&limit=&page=", ["1", "2", "9", "10"]),
        ],
    )
    def test_selections(self, query: str, found: list[str]) -> None:
        assert names(query) == found

    def test_flapping(self) -> None:
        times = tuple(NOW.monotonic - second for second in range(FLAPPING))
        found = rows(outcome(), observed({NAMES[0]: replace(UP, losses=FLAPPING, lost_at=times)}), NOW)
        assert [row.name for row in Query(state="flapping").select(found).rows] == [NAMES[0]]

    def test_pages(self) -> None:
        page = Query(limit=3).select(table())
        assert (page.total, page.page, page.pages, page.limit, len(page.rows)) == (4, 1, 2, 3, 3)
        assert Query(state="Close").select(table()).document() == {
            "total": 0, "page": 1, "pages": 1, "limit": 100, "sessions": [],
        }  # fmt: skip
        assert Query(limit=4).select(table()).pages == 1

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("state=wrong", "state is 'wrong': want one of up, down, flapping, unknown, Established"),
            ("sort=state%20desc", "sort is 'state desc': want one of name, node, state, since, losses"),
            ("limit=0", "limit is 0: want a number from 1 to"),
            (f"limit={LIMIT_MAX + 1}", f"limit is {LIMIT_MAX + 1}: want a number from 1 to {LIMIT_MAX}"),
            ("limit=-1", "limit is '-1': want a number"),
            ("limit=1e3", "limit is '1e3': want a number"),
            ("limit=%D9%A3", "want a number"),
            (f"page={'9' * 5000}", "page is '9999"),
            ("page=0", "page is 0"),
            ("nodes=a", "unknown parameter 'nodes': want some of state, node, text, sort, limit, page"),
            ("node=a&node=b", "node is given twice"),
            ("text=%ff", "in UTF-8"),
            ("text=%00", "text has characters that cannot be printed"),
            (f"text={'x' * 257}", "text is too long"),
            ("&".join("state=up" for _ in range(100)), "the query cannot be read"),
        ],
    )
    def test_wild_input(self, query: str, words: str) -> None:
        with pytest.raises(ValueError, match=r"^[^\n]{1,400}\Z") as caught:
            Query.parse(query)
        assert words in str(caught.value)

    @settings(max_examples=EXAMPLES)
    @given(
        st.text()
        | st.lists(st.tuples(st.sampled_from(["state", "sort", "page", "limit", "text"]), st.text())).map(
            lambda pairs: "&".join("=".join(pair) for pair in pairs)
        )
    )
    def test_any_text(self, query: str) -> None:
        try:
            message, parsed = "", Query.parse(query)
        except ValueError as error:
            message, parsed = str(error), Query()
        assert message.isprintable()
        assert len(parsed.select(table()).rows) <= parsed.limit

    @given(st.sampled_from(sorted(SORTS)), st.integers(1, 5))
    def test_the_pages_together_are_the_table(self, sort: str, limit: int) -> None:
        first = Query(sort=sort, limit=limit).select(table())
        pages = [Query(sort=sort, limit=limit, page=number + 1).select(table()) for number in range(first.pages)]
        assert sorted(row.name for page in pages for row in page.rows) == sorted(NAMES)

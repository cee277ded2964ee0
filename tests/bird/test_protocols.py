"""What BIRD says about its protocols, in the texts of BIRD 1.6.8 and 2.0.12."""

from datetime import datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rrwatch.bird.protocols import BgpProtocol, Cause, age, bgp_protocols, causes, server_time
from tests.fuzz import EXAMPLES

BIRD1 = """\
2002-name     proto    table    state  since       info
1002-device1  Device   master   up     12:52:36    \n\
 Global_10_0_0_2 BGP      master   up     12:52:40    Established   \n\
 Global_10_0_0_3 BGP      master   start  12:52:36    Active        Socket: No route to host
 Global_10_0_0_4 BGP      master   down   2026-11-20  \n\
 Global_10_0_0_5 BGP      master   down   2026-11-20  Error: Hold timer expired
 Global_10_0_0_6 BGP      master   start  12:52:36    Idle          BGP Error: Bad peer AS
0000 \n\
"""
BIRD2 = """\
2002-Name       Proto      Table      State  Since         Info
1002-Global_10_0_0_2 BGP        ---        up     12:53:10.180  Established   \n\
 device1    Device     ---        up     12:53:06.010  \n\
 Global_fd00__3_port_180 BGP        ---        start  2026-11-28 12:53:06.010  OpenSent      \
Received: Administrative shutdown
 Global_10_0_0_4 BGP        ---        start  12:53:06.010  Passive       \n\
0000 \n\
"""
NOW = datetime(2026, 11, 29, 12, 53, 0)


def rows(reply: str) -> list[BgpProtocol]:
    return list(bgp_protocols(reply, {}).values())


def test_bird_1() -> None:
    assert rows(BIRD1) == [
        BgpProtocol("Global_10_0_0_2", "Established", "12:52:40", ""),
        BgpProtocol("Global_10_0_0_3", "Active", "12:52:36", "Socket: No route to host"),
        BgpProtocol("Global_10_0_0_4", "Down", "2026-11-20", ""),
        BgpProtocol("Global_10_0_0_5", "Down", "2026-11-20", "Error: Hold timer expired"),
        BgpProtocol("Global_10_0_0_6", "Idle", "12:52:36", "BGP Error: Bad peer AS"),
    ]


def test_bird_2_and_3() -> None:
    assert rows(BIRD2) == [
        BgpProtocol("Global_10_0_0_2", "Established", "12:53:10.180", ""),
        BgpProtocol("Global_fd00__3_port_180", "OpenSent", "2026-11-28 12:53:06.010",
                    "Received: Administrative shutdown"),
        BgpProtocol("Global_10_0_0_4", "Passive", "12:53:06.010", ""),
    ]  # fmt: skip


def test_a_line_that_is_the_same_gives_the_same_value() -> None:
    before = bgp_protocols(BIRD1, {})
    after = bgp_protocols(BIRD1.replace("Active ", "Connect"), before)
    changed = [line for line, one in after.items() if one is not before.get(line)]
    assert [after[line].state for line in changed] == ["Connect"]


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("1000-BIRD 1.6.8\n1011-Router ID is 10.0.0.1\n Current server time is 2026-11-29 12:53:00\n", NOW),
        ("1000-BIRD 2.0.12\n Current server time is 2026-11-29 12:53:00.250\n", NOW + timedelta(seconds=0.25)),
        (" Current server time is 29-11-2026 12:53:00\n", None),
        (" Current server time is 12:53:00\n", None),
        ("0013 Daemon is up and running\n", None),
    ],
)
def test_the_time_of_the_server(reply: str, found: datetime | None) -> None:
    assert server_time(reply) == found


@pytest.mark.parametrize(
    ("since", "seconds"),
    [
        ("12:52:40", 20),
        ("12:52:40.500", 19.5),
        ("12:53:00.800", 0),
        ("12:53:02", 0),
        ("12:54:30", 86400 - 90),
        ("2026-11-29 11:53:00", 3600),
        ("2026-11-28", 20 * 3600),
        ("2026-11-27", 12 * 3600 + 53 * 60 + 86400),
        ("2026-11-30", 0),
        ("9999-12-31", None),
        ("Nov29", None),
        ("29-11-2026", None),
        ("", None),
        ("99:99", None),
    ],
)
def test_how_long_ago(since: str, seconds: float | None) -> None:
    assert age(since, NOW) == seconds


@pytest.mark.parametrize("error", ["Received: Administrative shutdown", "Error: Hold timer expired",
                                   "BGP Error: Bad peer AS",
                                   "Automatic shutdown: Route limit exceeded"])  # fmt: skip
def test_a_cause(error: str) -> None:
    text = f"+Reconfigured\n+Global_10_0_0_2: {error}\n+Global_10_0_0_3: Socket error: bind: No such device\n"
    assert causes(text) == [Cause("Global_10_0_0_2", error)]


@pytest.mark.parametrize(
    "line",
    [
        "+Reconfiguring",
        "+Disabling protocol Global_10_0_0_2",
        "+Global_10_0_0_2: Received: Connection collision resolution",
        "+Global_10_0_0_2: Invalid NEXT_HOP attribute in route 10.9.0.0/16",
        "+Global_10_0_0_2: State changed to up",
        "0016 Access restricted",
        "",
    ],
)
def test_no_cause(line: str) -> None:
    assert causes(line) == []


def test_what_a_peer_sends_with_its_shutdown_is_made_printable_and_short() -> None:
    (found,) = causes('+Global_10_0_0_2: Received: Administrative shutdown: "\x1b[31m' + "x" * 5000)
    assert found.error.isprintable()
    assert len(found.error) < 1100


@settings(max_examples=EXAMPLES)
@given(st.text())
@example("1002-" + " BGP" * 9)
@example(" a BGP b c d")
@example(" a BGP --- down 12:00:00")
@example(" a BGP --- up 12:00:00")
@example(" a BGP --- up ١٢:00:00  Established")
@example("0001-01-01")
@example("9999-12-31 99:99:99")
def test_any_text(text: str) -> None:
    for reply in (text, f"1002-{text}", f" a BGP --- up {text}", f" a BGP --- start 12:00:00  {text}"):
        for found in rows(reply):
            assert found.state
            assert found.error.isprintable()
            age(found.since, NOW)
    for now in (NOW, datetime.min, datetime.max):
        age(text, now)
    server_time(f" Current server time is {text}")
    for one in (*causes(text), *causes(f"+a: Error: {text}")):
        assert one.error.isprintable()

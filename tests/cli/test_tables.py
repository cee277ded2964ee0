"""Tables and messages have no control characters, whatever the texts in them are."""

import io
from ipaddress import IPv4Address
from typing import Any

import pytest

from rrwatch.bgp.sessions import Derived, Kind, Session
from rrwatch.bgp.topology import AsNumber, Family, Rejected, Remark
from rrwatch.cli import tables
from rrwatch.cli.columns import Size
from rrwatch.cli.exits import USAGE
from rrwatch.cli.main import main
from rrwatch.cli.session_screen import remark_lines, session_lines
from rrwatch.cli.status_screen import screen
from rrwatch.commands.check import Finding
from rrwatch.commands.derived_sessions import derived_list
from tests.cli.statuses import STATES

ODD = "a\x1b[2Jb\x07\u202e\x9b"
SHOWN = "a\\x1b[2Jb\\x07\\u202e\\x9b"

_AS = AsNumber(65100)
_NEIGHBOR = IPv4Address("10.0.0.1")
SESSION = Session("S", Kind.NODE, Family.IPV4, _NEIGHBOR, _AS, _AS, False, None, ODD, f"/{ODD}")
DERIVED = Derived((SESSION,), (Rejected(ODD, ODD),), (Remark(ODD, ODD),))


def printed_sessions(stream: io.StringIO) -> None:
    document = derived_list(DERIVED, {}, "etcd")
    rows = [row | {"state": ODD, "last_error": ODD} for row in document["sessions"]]
    for source in "daemon", "etcd":
        for wide in False, True:
            odd = document | {"source": source, "sessions": rows}
            stream.write("\n".join([*session_lines(odd, None, wide=wide), *remark_lines(odd, 80)]))


def printed_status(stream: io.StringIO) -> None:
    document = STATES["all-at-once"]().document()
    odd_daemon = document["daemons"]["bird"] | {"version": ODD, "poll_error": ODD, "state": "confirmed"}
    odd = document | {
        "reason": ODD, "viewer": ODD, "held": None, "daemons": {"bird": odd_daemon}, "template_error": ODD,
        "etcd": document["etcd"] | {"endpoint": ODD, "trouble": ODD},
        "down_longest": [row | {"name": ODD, "node": ODD, "last_error": ODD} for row in document["down_longest"]],
        "frozen": {"since": document["now"], "reason": ODD, "until": None, "waiting": None},
        "recent": [entry | {"cause": [ODD], "state": ODD} for entry in document["recent"]],
        "rejected": [{"key": ODD, "reason": ODD}],
    }  # fmt: skip
    lines = [*screen(odd, None), *screen(odd, Size(80, 60))]
    stream.write("\n".join(line.text for line in lines))


def printed_findings(stream: io.StringIO) -> None:
    tables.print_findings([Finding(ODD, False, ODD, ODD)], stream)


def printed_records(stream: io.StringIO) -> None:
    tables.print_records([{"node": ODD, "address": "10.0.0.1"}], stream, as_json=False)


def printed_history(stream: io.StringIO) -> None:
    change = {
        "number": 1,
        "time": "t",
        "state": ODD,
        "added": 1,
        "removed": 0,
        "changed": 0,
        "cause": [ODD],
        "causes": 1,
    }
    tables.print_history([change], stream)


@pytest.mark.parametrize(
    "print_it", [printed_sessions, printed_findings, printed_status, printed_records, printed_history]
)
def test_no_control_character_is_printed(print_it: Any) -> None:
    stream = io.StringIO()
    print_it(stream)
    text = stream.getvalue()
    assert SHOWN in text
    assert [char for char in text if not char.isprintable() and char != "\n"] == []


def test_the_history_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "size_of", lambda _: Size(60, 24))
    stream = io.StringIO()
    change = {
        "number": 7,
        "time": "2026-11-24T08:40:13.871Z",
        "state": "confirmed",
        "added": 12,
        "removed": 0,
        "changed": 0,
    }
    tables.print_history([change | {"cause": ["/calico/bgp/v1/host/kube-node3/ip_addr_v4"], "causes": 1}], stream)
    title, row = stream.getvalue().splitlines()
    assert title.split() == ["number", "time", "UTC", "state", "+", "-", "~", "cause"]
    assert row.split()[:5] == ["7", "11-24", "08:40", "confirmed", "12"]
    assert row.endswith("/ip_addr_v4")
    assert len(row) == 60


def test_nor_in_an_error_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sessions", "--ip", "10.0.0.1", "--keys", f"/no/{ODD}"])
    assert ended.value.code == USAGE
    assert capsys.readouterr().err == f"rrwatch: /no/{SHOWN} cannot be read: No such file or directory\n"

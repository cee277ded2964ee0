"""Tables and messages have no control characters, whatever the texts in them are."""

import io
from ipaddress import IPv4Address
from typing import Any

import pytest

from rrwatch.bgp.sessions import Derived, Kind, Session
from rrwatch.bgp.topology import AsNumber, Family, Rejected, Remark
from rrwatch.cli import tables
from rrwatch.cli.exits import USAGE
from rrwatch.cli.main import main
from rrwatch.commands.check import Finding

ODD = "a\x1b[2Jb\x07\u202e\x9b"
SHOWN = "a\\x1b[2Jb\\x07\\u202e\\x9b"

_AS = AsNumber(65100)
_NEIGHBOR = IPv4Address("10.0.0.1")
SESSION = Session("S", Kind.NODE, Family.IPV4, _NEIGHBOR, _AS, _AS, False, None, ODD, f"/{ODD}")

STATUS: dict[str, Any] = {
    "ready": False,
    "reason": ODD,
    "not_ready_since": "2026-11-24T11:00:00Z",
    "etcd": {"endpoint": f"http://{ODD}", "index": 1, "keys": 1, "last_answer_age_s": 1.0, "trouble": ODD},
    "held": {"reason": ODD, "since": "2026-11-24T11:00:00Z", "sessions": ["S"]},
    "daemons": {
        "bird": {"version": ODD, "state": "failed", "sessions": 1, "wanted_generation": 1, "installed_generation": 1,
                 "confirmed_generation": 1, "config": f"/{ODD}"},
    },
    "recent": [{"time": "t", "daemon": "bird", "state": "failed", "added": 1, "removed": 0, "changed": 0, "took_ms": 1,
                "cause": [f"/{ODD}"], "causes": 1}],
    "rejected": [{"key": f"/{ODD}", "reason": ODD}],
    "warnings": [{"key": f"/{ODD}", "reason": ODD}],
}  # fmt: skip


def printed_derived(stream: io.StringIO) -> None:
    tables.print_derived(Derived((SESSION,), (Rejected(ODD, ODD),), (Remark(ODD, ODD),)), stream)


def printed_findings(stream: io.StringIO) -> None:
    tables.print_findings([Finding(ODD, False, ODD, ODD)], stream)


def printed_status(stream: io.StringIO) -> None:
    tables.print_status(STATUS, stream)


def printed_records(stream: io.StringIO) -> None:
    tables.print_records([{"node": ODD, "address": "10.0.0.1"}], stream, as_json=False)


@pytest.mark.parametrize("print_it", [printed_derived, printed_findings, printed_status, printed_records])
def test_no_control_character_is_printed(print_it: Any) -> None:
    stream = io.StringIO()
    print_it(stream)
    text = stream.getvalue()
    assert SHOWN in text
    assert [char for char in text if not char.isprintable() and char != "\n"] == []


def test_nor_in_an_error_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sessions", "--ip", "10.0.0.1", "--keys", f"/no/{ODD}"])
    assert ended.value.code == USAGE
    assert capsys.readouterr().err == f"rrwatch: /no/{SHOWN} cannot be read: No such file or directory\n"

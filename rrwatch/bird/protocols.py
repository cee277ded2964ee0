"""What BIRD says about its protocols: the brief `show protocols`, and the lines of its log that `echo` sends. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from rrwatch.bird.messages import quoted

_FIRST = "1002-"
_ROW = re.compile(
    r"(\S+) +BGP +\S+ +(\S+)"  # name, protocol, table, state of the protocol
    r"(?: +([0-9][0-9:.-]*(?: [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)?)(?= |$))?"  # since
    r" *([A-Z][A-Za-z]*)?(.*)"  # state of the session, error
)
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,6})?")
_SERVER_TIME = re.compile(r"Current server time is (.+)")
_CAUSE = re.compile(
    r"^\+?([A-Za-z_][A-Za-z0-9_]*): ((?:Received|Error|BGP Error|Automatic shutdown): .+)$", re.MULTILINE
)

_DAY = timedelta(days=1)
_DATE_AFTER = timedelta(hours=20)  # BIRD shows a date for what is older (BIRD's manual, "timeformat")
_SLACK = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class BgpProtocol:
    """A BGP session as BIRD shows it.

    Attributes:
        name: the name of the protocol.
        state: BIRD's word for the state of the session, such as Established, Active or Idle.
        since: when BIRD's protocol came into its state (up, start or down), as BIRD writes it. It has no date, or
            nothing but a date.
        error: why it is not Established, such as `Socket: Connection refused`; empty if BIRD names no error.
    """

    name: str
    state: str
    since: str
    error: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a session ended, or did not come up, as BIRD logged it.

    Attributes:
        name: the name of the protocol.
        error: such as `Received: Administrative shutdown` or `Error: Hold timer expired`.
    """

    name: str
    error: str


def bgp_protocols(reply: str, known: Mapping[str, BgpProtocol]) -> dict[str, BgpProtocol]:
    """Reads the reply to `show protocols`, with its codes, of any release of BIRD.

    Args:
        reply: all of it.
        known: what this function returned for the reply before. Lines that are the same give the same values, which
            saves most of the time.

    Returns:
        The BGP sessions by the line that shows them, in BIRD's order; other protocols are left out.
    """
    found = {}
    for line in _lines(reply):
        one = known.get(line) or _bgp_protocol(line)
        if one:
            found[line] = one
    return found


def server_time(reply: str) -> datetime | None:
    """Returns the local time that the reply to `show status` has; None if it has none in ISO's format."""
    found = _SERVER_TIME.search(reply)
    try:
        return datetime.fromisoformat(found[1].strip()).replace(tzinfo=None) if found else None
    except ValueError:
        return None


def age(since: str, now: datetime) -> float | None:
    """Returns how long ago something was, in seconds.

    Args:
        since: as BIRD writes it. A date without a time counts as late on that day, since the time is not known.
        now: BIRD's own time, see `server_time`.

    Returns:
        None if the text is in a format that only an operator's `timeformat` gives.
    """
    try:
        return max(0.0, (now - _moment(since, now)).total_seconds())
    except (ValueError, OverflowError):
        return None


def causes(text: str) -> list[Cause]:
    """Reads lines that BIRD sends after `echo all`; returns those that tell why a session ended.

    If both ends connect at once, one of the connections is closed with an error, and the session comes up all the same.
    """
    found = (Cause(name, quoted(error)) for name, error in _CAUSE.findall(text))
    return [one for one in found if "collision" not in one.error]


def _lines(reply: str) -> Iterator[str]:
    """Yields the lines of protocols without their codes, as they are in the reply."""
    for line in reply.split("\n"):
        if line.startswith(" "):
            yield line[1:]
        elif line.startswith(_FIRST):
            yield line[len(_FIRST) :]


def _bgp_protocol(line: str) -> BgpProtocol | None:
    found = _ROW.match(line)
    if not found:
        return None
    name, protocol_state, since, word, error = found.groups(default="")
    if protocol_state == "down":
        # BIRD does not name the state of a session whose protocol is down, only the error.
        state, error = "Down", word + error
    else:
        state = word or protocol_state
    return BgpProtocol(name, state, since, _error(error) if error else "")


@lru_cache(maxsize=256)
def _error(text: str) -> str:
    """Returns an error as it may be shown; thousands of sessions have the same few."""
    return quoted(text)


def _moment(since: str, now: datetime) -> datetime:
    time = _TIME.fullmatch(since)
    if not time:
        then = datetime.fromisoformat(since).replace(tzinfo=None)
        is_date = len(since) == len("2026-01-31")
        return max(then, min(then + _DAY, now - _DATE_AFTER)) if is_date else then
    hours, minutes, seconds = (int(time[number]) for number in (1, 2, 3))
    of_day = timedelta(hours=hours, minutes=minutes, seconds=seconds + float(time[4] or 0))
    then = datetime(now.year, now.month, now.day) + of_day  # BIRD's local time, which has no zone
    # BIRD tells its own time first, and in whole seconds: the session may have changed a little later.
    return then if then - now < _SLACK else then - _DAY

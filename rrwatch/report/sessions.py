"""Wanted and actual sessions in one table: what the records ask for, joined with what the BIRDs say. No I/O."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from itertools import islice
from math import ceil
from re import compile as pattern
from typing import Any
from urllib.parse import parse_qsl

from rrwatch.bgp.sessions import Session, session_document
from rrwatch.bgp.topology import Address, AsNumber, Family
from rrwatch.report.outcome import Outcome
from rrwatch.report.text import iso

ESTABLISHED = "Established"
"""BIRD's word for a session that is up."""

FLAPPING = 3
"""Losses within the last hour from which on a session counts as flapping."""

HOUR = 3600.0
"""Seconds for which single losses are remembered."""

LIMIT_MAX = 10_000
"""Rows that one page may have."""

_STATES = ("Established", "Active", "Connect", "Idle", "OpenSent", "OpenConfirm", "Passive", "Close", "Down")
_PAGE_MAX = 1_000_000
_TEXT_MAX = 256  # characters of a filter

_NO_SESSION = dict.fromkeys(
    ("kind", "family", "neighbor", "local_as", "remote_as", "rr_client", "cluster_id", "node", "key", "port",
     "password", "passive", "ttl_security", "source_address", "graceful_restart_time", "keepalive_time"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on both clocks.

    Attributes:
        monotonic: seconds on the monotonic clock; durations are computed with it.
        unix: Unix time, which may be set back or forward at any time.
    """

    monotonic: float
    unix: float

    @classmethod
    def now(cls) -> "Moment":
        """Reads both clocks."""
        return cls(time.monotonic(), time.time())


@dataclass(frozen=True, slots=True)
class ObservedSession:
    """What a BIRD has said about one session so far.

    Attributes:
        state: BIRD's word; None if BIRD does not have the session, or does not answer.
        since: when it came into this state, on the monotonic clock.
        last_error: why the session was lost, or does not come up; empty if BIRD named no error.
        losses: how often the session was Established and then was not, since it was first seen.
        lost_at: times of the latest losses, at most an hour old, on the monotonic clock.
    """

    state: str | None
    since: float
    last_error: str = ""
    losses: int = 0
    lost_at: tuple[float, ...] = ()

    @property
    def up(self) -> bool:
        """Whether the session is Established."""
        return self.state == ESTABLISHED


@dataclass(frozen=True, slots=True)
class Lost:
    """A session that was Established and then was not.

    Attributes:
        name: the name of the session.
        state: BIRD's word for its state now, Established if it is back already; None if BIRD does not have it.
        error: why, empty if BIRD named no error.
        up_for: for how many seconds it was Established.
    """

    name: str
    state: str | None
    error: str
    up_for: float


@dataclass(frozen=True, slots=True)
class ObservedBird:
    """What is known of the sessions of one BIRD from that BIRD itself.

    Attributes:
        sessions: by name; those that BIRD has, and those that it had.
        known: whether BIRD's last answer tells how the sessions are. It does not before the first answer, and while
            BIRD hangs. If BIRD does not run, it is known that no session is up.
        epoch: the Unix time at which the monotonic clock was 0; it only changes when the wall clock was set.
        polled_at: when BIRD answered last, on the monotonic clock; None if it has not answered yet.
        poll_seconds: how long that answer took.
        poll_error: why the last poll failed; empty if it did not.
        losses: number of losses of all sessions, those of removed sessions included.
        losses_before: how many of them were remembered when rrwatch started. A counter for monitoring leaves them out:
            what is remembered may be a minute old, and a counter must not go back.
        lost_at: times of the losses of the last hour on the monotonic clock, each with a number of sessions.
    """

    sessions: Mapping[str, ObservedSession] = field(default_factory=dict, repr=False)
    known: bool = False
    epoch: float = 0.0
    polled_at: float | None = None
    poll_seconds: float | None = None
    poll_error: str = ""
    losses: int = 0
    losses_before: int = 0
    lost_at: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session of one BIRD, wanted and actual.

    Attributes:
        name: BIRD's name for the session.
        daemon: the name of the BIRD, `bird` or `bird6`; empty if that is not known.
        session: what is configured; None if that is not known, as for a BIRD that keeps an installed file.
        derived: whether the records in etcd ask for it. False for a session that is held, and for one that BIRD runs
            although nothing asks for it.
        kept_by: what keeps a session that the records no longer ask for: `hold`, the guard's, or `freeze`; None if
            nothing needs to.
        known: whether it is known how the session is; if it is not, `state` is None.
        state: BIRD's word; None if BIRD does not have the session, does not answer, or was not asked yet.
        since: Unix time since when it is in this state, None if not known.
        last_error: why it was lost or does not come up, None if BIRD named no error.
        losses: how often it was lost since it was first seen.
        losses_last_hour: how often in the last hour.
    """

    name: str
    daemon: str
    session: Session | None = None
    derived: bool = True
    known: bool = False
    state: str | None = None
    since: float | None = None
    last_error: str | None = None
    losses: int = 0
    losses_last_hour: int = 0
    kept_by: str | None = None

    @property
    def up(self) -> bool:
        """Whether it is Established."""
        return self.state == ESTABLISHED

    @property
    def down(self) -> bool:
        """Whether it is known that it is not Established."""
        return self.known and not self.up

    @property
    def flapping(self) -> bool:
        """Whether it was lost several times within the last hour."""
        return self.losses_last_hour >= FLAPPING

    @property
    def family(self) -> Family | None:
        """The address family, None if not known."""
        return self.session.family if self.session else None

    @property
    def neighbor(self) -> Address | None:
        """The address of the other end, None if not known."""
        return self.session.neighbor if self.session else None

    @property
    def node(self) -> str | None:
        """The Calico node at the other end, None if it is not known to be one."""
        return self.session.node if self.session else None

    @property
    def local_as(self) -> AsNumber | None:
        """The AS number of this end, None if not known."""
        return self.session.local_as if self.session else None

    @property
    def remote_as(self) -> AsNumber | None:
        """The AS number of the other end, None if not known."""
        return self.session.remote_as if self.session else None

    @property
    def key(self) -> str | None:
        """The key in etcd that asks for it, None if not known."""
        return self.session.key if self.session else None

    def document(self) -> dict[str, Any]:
        """Returns the row as a JSON object: the members of `session_document`, and how the session is."""
        configured = session_document(self.session) if self.session else {"name": self.name, **_NO_SESSION}
        return {
            **configured,
            "daemon": self.daemon or None,
            "derived": self.derived,
            "kept_by": self.kept_by,
            "state": self.state,
            "since": None if self.since is None else iso(round(self.since, 3)),  # sums of clocks are not exact
            "last_error": self.last_error,
            "losses": self.losses,
            "losses_last_hour": self.losses_last_hour,
        }


_FILTERS: Mapping[str, Callable[[SessionRow], bool]] = {
    "up": lambda row: row.up,
    "down": lambda row: row.down,
    "flapping": lambda row: row.flapping,
    "unknown": lambda row: not row.known,
}


@dataclass(frozen=True, slots=True)
class Totals:
    """The sessions of one BIRD in numbers.

    Attributes:
        daemon: the name of the BIRD.
        wanted: sessions that it should run, held ones included.
        up: wanted sessions that are Established.
        down: wanted sessions that are known not to be.
        unknown: wanted sessions of which BIRD has not told how they are.
        losses_total: sessions lost since the first one was seen.
        losses_last_hour: sessions lost within the last hour.
    """

    daemon: str
    wanted: int
    up: int
    down: int
    unknown: int
    losses_total: int
    losses_last_hour: int


def rows(
    outcome: Outcome | None, observed: Mapping[str, ObservedBird], now: Moment, *, is_frozen: bool = False
) -> tuple[SessionRow, ...]:
    """Joins wanted and actual sessions.

    Args:
        outcome: of the last pass, None if there was none yet.
        observed: what is known from each BIRD, by its name.
        is_frozen: whether the BIRDs keep a configuration whatever the records ask for.

    Returns:
        One row for each session, those of the first BIRD first, in the order of its configuration; then the sessions
        that this BIRD runs although they are not in its configuration.
    """
    if outcome is None:
        return ()
    sessions = {one.name: one for one in outcome.derived.sessions} if outcome.derived else {}
    held = frozenset(outcome.hold.loss.sessions) if outcome.hold else frozenset[str]()
    found = []
    for target, result in outcome.results.items():
        daemon, bird = target.name, observed.get(target.name) or ObservedBird()
        wanted = result.wanted.blocks
        more = (name for name, seen in bird.sessions.items() if seen.state is not None and name not in wanted)
        for name in (*wanted, *more):
            derived = name in sessions and name in wanted and name not in held
            kept_by = "hold" if name in held else "freeze" if is_frozen and name in wanted and not derived else None
            found.append(_row(name, daemon, sessions.get(name), bird, now, derived=derived, kept_by=kept_by))
    return tuple(found)


def totals(outcome: Outcome | None, observed: Mapping[str, ObservedBird], now: Moment) -> dict[str, Totals]:
    """Counts the sessions of each BIRD, by the name of the BIRD. The arguments are those of `rows`."""
    found = {}
    for target, result in outcome.results.items() if outcome else ():
        bird = observed.get(target.name) or ObservedBird()
        wanted = result.wanted.blocks
        up = sum(name in wanted for name, seen in bird.sessions.items() if seen.up) if bird.known else 0
        rest = len(wanted) - up
        found[target.name] = Totals(
            daemon=target.name,
            wanted=len(wanted),
            up=up,
            down=rest if bird.known else 0,
            unknown=0 if bird.known else rest,
            losses_total=bird.losses,
            losses_last_hour=sum(number for at, number in bird.lost_at if at > now.monotonic - HOUR),
        )
    return found


def states(bird: ObservedBird) -> Counter[str]:
    """Counts the sessions that a BIRD has by their state; Established is always there.

    A BIRD that does not answer counts as one without sessions.
    """
    found = Counter({ESTABLISHED: 0})
    if bird.known:
        found.update(seen.state for seen in bird.sessions.values() if seen.state is not None)
    return found


def down_longest(found: Iterable[SessionRow], number: int = 10) -> tuple[SessionRow, ...]:
    """Returns the rows of the sessions that are down for the longest time, the longest first."""
    return tuple(islice(sorted((row for row in found if row.down), key=_since), number))


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows to show, and in which order.

    Attributes:
        state: `up`, `down`, `flapping`, `unknown`, or a state of BIRD's; empty for all.
        node: the name of a Calico node; empty for all.
        text: a part of name, node, neighbor, state, last error or key, in upper or lower case; empty for all.
        sort: the name of an order in `SORTS`; empty for the order of BIRD's configuration.
        limit: rows of a page.
        page: its number; the first one is 1.
    """

    state: str = ""
    node: str = ""
    text: str = ""
    sort: str = ""
    limit: int = 100
    page: int = 1

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: one cannot be used; the message says what would be right.
        """
        for name in ("node", "text"):
            if len(getattr(self, name)) > _TEXT_MAX:
                raise ValueError(f"{name} is too long: want at most {_TEXT_MAX} characters")
        if self.state and self.state not in (*_FILTERS, *_STATES):
            raise ValueError(f"state is {_shown(self.state)}: want one of {', '.join((*_FILTERS, *_STATES))}")
        if self.sort and self.sort not in SORTS:
            raise ValueError(f"sort is {_shown(self.sort)}: want one of {', '.join(SORTS)}")
        for name, most in (("limit", LIMIT_MAX), ("page", _PAGE_MAX)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}: want a number from 1 to {most}")

    @classmethod
    def parse(cls, query: str) -> "Query":
        """Reads the query string of a URL, such as `state=down&sort=since`; a member that is empty counts as absent.

        Raises:
            ValueError: it cannot be used; the message, of one line, says what would be right.
        """
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=20)
        except ValueError as error:
            names = ", ".join(f"{one.name}=" for one in fields(cls))
            raise ValueError(f"the query cannot be read: want some of {names}, joined by &, in UTF-8") from error
        values: dict[str, Any] = {}
        known = {one.name: one.type for one in fields(cls)}
        for name, text in pairs:
            if name not in known:
                raise ValueError(f"unknown parameter {_shown(name)}: want some of {', '.join(known)}")
            if name in values:
                raise ValueError(f"{name} is given twice: want it once")
            if text:
                values[name] = _number(name, text) if known[name] is int else _word(name, text)
        return cls(**values)

    def select(self, found: Iterable[SessionRow]) -> "Page":
        """Filters and sorts rows, and returns those of one page."""
        text = self.text.casefold()
        chosen = [row for row in found if self._is_chosen(row, text)]
        if self.sort:
            chosen.sort(key=SORTS[self.sort])
        first = (self.page - 1) * self.limit
        pages = ceil(len(chosen) / self.limit) or 1
        return Page(tuple(chosen[first : first + self.limit]), len(chosen), self.page, pages, self.limit)

    def _is_chosen(self, row: SessionRow, text: str) -> bool:
        if self.state and not (_FILTERS[self.state](row) if self.state in _FILTERS else row.state == self.state):
            return False
        if self.node and row.node != self.node:
            return False
        return not text or any(text in part.casefold() for part in _texts(row))


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a table.

    Attributes:
        rows: the rows of this page; empty if there is no such page.
        total: number of rows of all pages.
        page: the number of this page; the first one is 1.
        pages: number of pages, at least 1.
        limit: rows of a full page.
    """

    rows: Sequence[SessionRow]
    total: int
    page: int
    pages: int
    limit: int

    def document(self) -> dict[str, Any]:
        """Returns the page as a JSON object."""
        return {
            "total": self.total,
            "page": self.page,
            "pages": self.pages,
            "limit": self.limit,
            "sessions": [row.document() for row in self.rows],
        }


def totals_document(found: Totals) -> dict[str, int | None]:
    """Returns totals as members of a JSON object; `up` and `down` are null as long as BIRD has not told."""
    document: dict[str, Any] = asdict(found)
    if found.unknown:
        document |= {"up": None, "down": None}
    return {name: document[name] for name in ("wanted", "up", "down", "losses_total", "losses_last_hour")}


def _row(
    name: str,
    daemon: str,
    session: Session | None,
    bird: ObservedBird,
    now: Moment,
    *,
    derived: bool,
    kept_by: str | None,
) -> SessionRow:
    seen = bird.sessions.get(name)
    if seen is None:
        return SessionRow(name, daemon, session, derived, bird.known, kept_by=kept_by)
    hour_ago = now.monotonic - HOUR
    return SessionRow(
        name=name,
        daemon=daemon,
        session=session,
        derived=derived,
        known=bird.known,
        state=seen.state if bird.known else None,
        # A wall clock that was just set back must not give a time in the future.
        since=max(0.0, min(bird.epoch + seen.since, now.unix)) if bird.known else None,
        last_error=seen.last_error or None,
        losses=seen.losses,
        losses_last_hour=sum(at > hour_ago for at in seen.lost_at),
        kept_by=kept_by,
    )


_DIGITS = pattern(r"[0-9]+")


@lru_cache(maxsize=1 << 16)
def _natural(text: str) -> str:
    """Returns the key that sorts `node-10` after `node-9`."""
    return _DIGITS.sub(lambda found: found[0].zfill(10), text)


def _since(row: SessionRow) -> tuple[float, str]:
    return float("inf") if row.since is None else row.since, _natural(row.name)


SORTS: Mapping[str, Callable[[SessionRow], Any]] = {
    "name": lambda row: _natural(row.name),
    "node": lambda row: (row.node is None, _natural(row.node or ""), _natural(row.name)),
    "state": lambda row: (row.up, row.state or "", _natural(row.name)),
    "since": _since,
    "losses": lambda row: (-row.losses_last_hour, -row.losses, _natural(row.name)),
}
"""Orders of rows: by name; by node; what is down first; the longest in its state first; the most losses first."""


def _texts(row: SessionRow) -> Iterable[str]:
    return row.name, row.node or "", str(row.neighbor or ""), row.state or "", row.last_error or "", row.key or ""


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f"{name} is {_shown(text)}: want a number")
    return int(text)


def _word(name: str, text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{name} has characters that cannot be printed: want text")
    return text


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")

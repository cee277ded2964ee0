"""The status as a page for people, rendered from the value that the loop published."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import rrwatch
from rrwatch.report.headline import STARTING, headline
from rrwatch.report.sessions import Moment, Query, SessionRow, Totals
from rrwatch.report.status import Status
from rrwatch.report.text import visible

LIMIT_MAX = 500
"""Rows of sessions that one page may have; the JSON page has no such limit."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""HTTP headers of the page and of what belongs to it."""

_ASSETS = Path(__file__).parent / "assets"
_KINDS = {"/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8"}
_HTML = "text/html; charset=utf-8"

PATHS = ("/", *_KINDS)
"""The paths that are answered here."""

_REMARKS_MAX = 20  # rejected records, and warnings, that are shown

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request.

    Attributes:
        body: empty if the client has it already.
        kind: its media type.
        etag: names this body.
    """

    code: HTTPStatus
    body: str
    kind: str
    etag: str

    def headers(self) -> dict[str, str]:
        """Returns the HTTP headers, but for those that every answer has."""
        return {**HEADERS, "ETag": self.etag}


class StatusPage:
    """Answers requests for the page. It remembers what it found out about the last status; threads may share it."""

    def __init__(self) -> None:
        self._facts: _Facts | None = None

    def answer(self, path: str, query: str, known: str | None, status: Status | None) -> Reply:
        """Answers a request.

        Args:
            path: one of `PATHS`.
            query: the query string, as `Query.parse` takes it.
            known: the header `If-None-Match`: the names of the bodies that the client has, None if it has none.
            status: how things stand, None if that is not known yet.
        """
        if path in _KINDS:
            return _reply(HTTPStatus.OK, _asset(path), _KINDS[path], known)
        now = Moment.now()
        if status is None:
            return _reply(HTTPStatus.SERVICE_UNAVAILABLE, _render("starting.html.j2", now, head=STARTING), _HTML, None)
        facts = self._facts
        if facts is None or facts.status is not status:
            facts = self._facts = _Facts.of(status)
        query_error, chosen = "", Query()
        try:
            chosen = _query(query)
        except ValueError as error:
            query_error = str(error)
        body = _render(
            "page.html.j2",
            now,
            head=headline({**facts.document, "stalled": status.stalled()}),
            query=chosen,
            query_error=query_error,
            page=None if query_error else chosen.select(facts.rows),
            document=facts.document,
            counts=facts.counts,
            totals=facts.totals,
            changes=_changes(facts.document["recent"]),
            remarks_max=_REMARKS_MAX,
        )
        return _reply(HTTPStatus.BAD_REQUEST if query_error else HTTPStatus.OK, body, _HTML, known)


@dataclass(frozen=True, slots=True)
class _Counts:
    """Numbers of sessions that the links to parts of the table show."""

    all: int
    up: int
    down: int
    flapping: int
    unknown: int

    @classmethod
    def of(cls, rows: Sequence[SessionRow]) -> "_Counts":
        up, down = sum(row.up for row in rows), sum(row.down for row in rows)
        return cls(len(rows), up, down, sum(row.flapping for row in rows), len(rows) - up - down)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the page needs of one status, whatever part of it somebody looks at."""

    status: Status
    document: Mapping[str, Any]
    rows: Sequence[SessionRow]
    counts: _Counts
    totals: Mapping[str, Totals]

    @classmethod
    def of(cls, status: Status) -> "_Facts":
        rows = status.session_rows()
        return cls(status, status.document(), rows, _Counts.of(rows), status.session_totals())


@dataclass(frozen=True, slots=True)
class _Change:
    """One of the latest changes.

    Attributes:
        diff: the command that shows what it changed; empty if the history does not have both configurations.
    """

    entry: Mapping[str, Any]
    diff: str


def _changes(recent: Sequence[Mapping[str, Any]]) -> list[_Change]:
    """Returns the latest changes, the latest one first."""
    found, before = [], dict[str, int]()
    for entry in recent:
        daemon, number = entry["daemon"], entry.get("configuration")
        known = before.get(daemon)
        found.append(_Change(entry, f"rrwatch diff {known} {number}" if number and known not in (None, number) else ""))
        if number:
            before[daemon] = number
    return found[::-1]


def _query(text: str) -> Query:
    """Reads a query string.

    Raises:
        ValueError: it cannot be used; the message, of one line, says what would be right.
    """
    query = Query.parse(text)
    if query.limit > LIMIT_MAX:
        raise ValueError(f"limit is {query.limit}: want a number from 1 to {LIMIT_MAX}; /sessions gives more, as JSON")
    return query


def _url(query: Query, **changes: object) -> str:
    """Returns the URL of the page with another query; what is as by default is left out."""
    values = {one.name: (changes.get(one.name, getattr(query, one.name)), one.default) for one in fields(Query)}
    query_string = urlencode({name: value for name, (value, default) in values.items() if value != default})
    return f"/?{query_string}" if query_string else "/"


def _reply(code: HTTPStatus, body: str, kind: str, known: str | None) -> Reply:
    etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    if known and code is HTTPStatus.OK and etag in {one.strip().removeprefix("W/") for one in known.split(",")}:
        return Reply(HTTPStatus.NOT_MODIFIED, "", kind, etag)
    return Reply(code, body, kind, etag)


@cache
def _asset(path: str) -> str:
    return (_ASSETS / path.removeprefix("/")).read_text(encoding="utf-8")


def _render(name: str, now: Moment, **values: object) -> str:
    return _templates().get_template(name).render(now=now.unix, version=rrwatch.__version__, **values)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_shown,
    )
    environment.filters |= {"time": _time, "age": _age, "minute": _minute, "number": "{:,}".format, "code": _code}
    environment.globals |= {"url": _url}
    return environment


def _shown(value: object) -> object:
    """Returns what the page shows of a value; texts of others get no control characters."""
    if value is None:
        return ""
    return visible(value) if type(value) is str else value


def _time(value: float | str | None, now: float) -> Markup:
    """Returns a time, Unix or ISO 8601, as an element of HTML; without the date if it is of today."""
    if value is None or value == "":
        return Markup()
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)
    except ValueError:  # a line of the history may have been written by another program
        return escape(visible(str(value)))
    today = moment.date() == datetime.fromtimestamp(now, UTC).date()
    shown = moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")
    exact = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{}</time>').format(exact, shown)


def _age(value: float | str, now: float) -> str:
    """Returns how long ago a time was, so roughly that the text seldom changes."""
    seconds = now - (datetime.fromisoformat(value).timestamp() if isinstance(value, str) else value)
    for unit, length, until in (("min", _MINUTE, 2 * _HOUR), ("h", _HOUR, 2 * _DAY)):
        if seconds < until:
            return f"{int(seconds // length)} {unit}" if seconds >= length else f"under 1 {unit}"
    return f"{int(seconds // _DAY):,} d"


def _minute(value: float) -> str:
    """Returns a Unix time without its seconds, so that a page at which nothing happens is another one once a minute."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")


def _code(text: str) -> Markup:
    """Returns a text as HTML in which what is between backticks is code."""
    parts = text.split("`")
    parts[1::2] = [Markup("<code>{}</code>").format(visible(part)) for part in parts[1::2]]
    return Markup().join(part if isinstance(part, Markup) else visible(part) for part in parts)

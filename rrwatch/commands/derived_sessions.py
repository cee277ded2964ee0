"""Sessions that follow from keys as `rrwatch sessions` prints them where no daemon says how they are."""

from dataclasses import asdict
from typing import Any

from rrwatch.bgp.sessions import Derived
from rrwatch.commands.session_list import Document, SelectedBy, session_list
from rrwatch.errors import UsageError
from rrwatch.report.sessions import Query, SessionRow


def derived_list(derived: Derived, query: SelectedBy, source: str) -> dict[str, Any]:
    """Returns the sessions that a query selects, without states.

    Args:
        derived: what follows from the keys.
        query: which sessions.
        source: where the keys are from, `etcd` or `keys`.

    Raises:
        UsageError: the query cannot be used.
    """
    rows = [SessionRow(session.name, "", session) for session in derived.sessions]

    def page_of(selected: SelectedBy) -> Document:
        return query_of(selected).select(rows).document()

    remarks = {
        "rejected": [asdict(remark) for remark in derived.rejected],
        "warnings": [asdict(remark) for remark in derived.warnings],
    }
    return session_list(source, page_of, remarks, query)


def query_of(selected: SelectedBy) -> Query:
    """Returns a query.

    Raises:
        UsageError: it cannot be used; the message says what would be right.
    """
    try:
        return Query(**selected)  # type: ignore[arg-type]  # the command gives each member its type
    except ValueError as error:
        raise UsageError(str(error)) from None

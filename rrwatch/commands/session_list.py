"""The document of `rrwatch sessions`, from the running daemon or from what follows from the keys."""

from collections.abc import Callable, Mapping
from typing import Any

from rrwatch.report.document import heading

Document = Mapping[str, Any]

SelectedBy = Mapping[str, str | int]
"""The members of `rrwatch.report.sessions.Query` that were given."""

PAGE_ROWS = 10_000
"""Sessions that a page has at most."""


def session_list(
    source: str, page_of: Callable[[SelectedBy], Document], remarks: Document, query: SelectedBy
) -> dict[str, Any]:
    """Returns the sessions that a query selects: all of them, unless it names a limit or a page.

    Args:
        source: who knows of them: the running `daemon`; or the keys in `etcd` or a file (`keys`) that ask for them.
        page_of: returns one page, in the form of `rrwatch.report.sessions.Page.document`.
        remarks: has the records that are left out as `rejected`, and those with a warning as `warnings`.
        query: which sessions.
    """
    is_whole = not query.keys() & {"limit", "page"}
    page = page_of({**query, "limit": PAGE_ROWS} if is_whole else query)
    rows = [*page["sessions"]]
    for number in range(2, page["pages"] + 1) if is_whole else ():
        rows += page_of({**query, "limit": PAGE_ROWS, "page": number})["sessions"]
    return {
        **heading("session_list"),
        "source": source,
        "total": len(rows) if is_whole else page["total"],
        "page": 1 if is_whole else page["page"],
        "pages": 1 if is_whole else page["pages"],
        "sessions": rows,
        "rejected": remarks["rejected"],
        "warnings": remarks["warnings"],
    }
